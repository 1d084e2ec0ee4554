"""What a signature suite is: everything that is particular to one algorithm.

Its JOSE name, the shape of its JWK, how it signs and verifies, and how certificates and did:key
spell it. Nothing else in this package names an algorithm, so a national suite (SM2 with SM3,
say) joins by `credentials.suites.register` alone.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from credentials.errors import KeyInvalid, Malformed
from credentials.jcs import b64url_decode_ascii

Jwk: TypeAlias = dict[str, Any]


class Suite(Protocol):
    """One signature algorithm. Keys are opaque to everyone but their suite."""

    @property
    def alg(self) -> str:
        """The fully-specified JOSE name that signatures made here carry."""

    @property
    def accepted(self) -> frozenset[str]:
        """All JOSE names under which signatures of this suite are accepted."""

    @property
    def jwk_type(self) -> tuple[str, str]:
        """`kty` and `crv` of its JWKs."""

    @property
    def thumbprint_members(self) -> tuple[str, ...]:
        """The required JWK members that RFC 7638, section 3.2 hashes."""

    @property
    def multicodec(self) -> bytes:
        """The varint prefix of its public keys in did:key."""

    @property
    def signature_algorithm(self) -> bytes:
        """The DER AlgorithmIdentifier of its certificate signatures (RFC 5280, 4.1.1.2)."""

    def generate(self) -> Jwk:
        """Make a new private JWK."""

    def load_private(self, jwk: Mapping[str, Any]) -> Any:  # noqa: ANN401  opaque by design
        """Load a private JWK. Raises `KeyInvalid`."""

    def load_public(self, jwk: Mapping[str, Any]) -> Any:  # noqa: ANN401  opaque by design
        """Load the public part of a JWK, checking every thumbprint member. Raises `KeyInvalid`."""

    def public_jwk(self, public_key: Any) -> Jwk:  # noqa: ANN401  opaque by design
        """Give the public JWK of a loaded public key, with no other members."""

    def sign(self, private_key: Any, data: bytes) -> bytes:  # noqa: ANN401  opaque by design
        """Sign `data`; the signature in its JOSE form (RFC 7518, section 3.4; RFC 8037)."""

    def verify(self, public_key: Any, data: bytes, signature: bytes) -> None:  # noqa: ANN401
        """Verify a JOSE signature. Raises `SignatureInvalid`."""

    def encode_point(self, public_key: Any) -> bytes:  # noqa: ANN401  opaque by design
        """Give the public key bytes that follow `multicodec` in did:key."""

    def decode_point(self, data: bytes) -> Any:  # noqa: ANN401  opaque by design
        """Read what `encode_point` wrote. Raises `KeyInvalid`."""

    def encode_spki(self, public_key: Any) -> bytes:  # noqa: ANN401  opaque by design
        """Give the DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7)."""

    def decode_spki(self, spki: bytes) -> Any | None:  # noqa: ANN401  opaque by design
        """Load a DER SubjectPublicKeyInfo; `None` if it is of another suite.

        Raises `KeyInvalid` if it is of this one and broken.
        """

    def signature_to_x509(self, signature: bytes) -> bytes:
        """Convert a JOSE signature to the certificate form of the same algorithm."""

    def signature_from_x509(self, signature: bytes) -> bytes:
        """Convert a certificate signature to its JOSE form. Raises `SignatureInvalid`."""


def jwk_bytes(jwk: Mapping[str, Any], name: str, length: int) -> bytes:
    """Decode a JWK member of a known length in bytes. Raises `KeyInvalid`."""
    value = jwk.get(name)
    if not isinstance(value, str):
        raise KeyInvalid(f"JWK member {name} is missing or not a string")
    try:
        data = b64url_decode_ascii(value.encode("ascii"))
    except (Malformed, UnicodeEncodeError):
        raise KeyInvalid(f"JWK member {name} is not base64url") from None
    if len(data) != length:
        raise KeyInvalid(f"JWK member {name} is not {length} bytes")
    return data
