"""Keys of BBS: a scalar, and its multiple of G2's generator ("Key Generation Operations")."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from zkp.curve import (
    G2_GENERATOR,
    ZERO,
    G2Point,
    Scalar,
    g2_from_bytes,
    hash_to_scalar,
    random_scalar,
    scalar_from_bytes,
)
from zkp.errors import KeyInvalid, PointInvalid, ScalarInvalid
from zkp.suite import BLS12_381_SHA_256, Suite

_SHORTEST_MATERIAL, _LONGEST_INFO = 32, 65_535


@dataclass(frozen=True)
class PublicKey:
    """W = SK BP2; `data` is its 96 bytes, as they enter every domain."""

    data: bytes
    point: G2Point = field(compare=False, repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """`octets_to_pubkey`: a point of G2 other than the identity. Raises `KeyInvalid`."""
        return cls(data, _point(data))


@lru_cache(maxsize=256)
def _point(data: bytes) -> G2Point:
    try:
        return g2_from_bytes(data)
    except PointInvalid as error:
        raise KeyInvalid(f"not a public key of BBS: {error}") from None


class SecretKey:
    """An issuer's key, 0 < SK < r. Never shown; `to_bytes` is for the one place that seals it."""

    def __init__(self, scalar: Scalar) -> None:
        """Raises `KeyInvalid` for zero."""
        if scalar == ZERO:
            raise KeyInvalid("zero is no secret key")
        self.scalar = scalar
        point = G2_GENERATOR * scalar
        self.public = PublicKey(bytes(point.to_compressed_bytes()), point)

    @classmethod
    def generate(cls) -> Self:
        """A new random key."""
        return cls(random_scalar())

    @classmethod
    def from_material(
        cls,
        material: bytes,
        info: bytes = b"",
        *,
        tag: bytes = b"",
        suite: Suite = BLS12_381_SHA_256,
    ) -> Self:
        """`KeyGen`: derive a key from at least 32 secret bytes. Raises `KeyInvalid`."""
        if len(material) < _SHORTEST_MATERIAL or len(info) > _LONGEST_INFO:
            raise KeyInvalid("a key is derived from at least 32 bytes and at most 65,535 of info")
        told = material + len(info).to_bytes(2) + info
        return cls(hash_to_scalar(told, tag or suite.id + b"KEYGEN_DST_", suite.expand))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read 32 bytes, big-endian. Raises `KeyInvalid`."""
        try:
            return cls(scalar_from_bytes(data))
        except ScalarInvalid as error:
            raise KeyInvalid(f"not a secret key of BBS: {error}") from None

    def to_bytes(self) -> bytes:
        """The 32 bytes of the key."""
        return bytes(self.scalar.to_be_bytes())

    def __repr__(self) -> str:
        """Name the key by its public part alone."""
        return f"SecretKey(of {self.public.data.hex()[:16]})"
