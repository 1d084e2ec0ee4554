"""Keys: software keys, thumbprints, and the one way to check a bare signature."""

import hashlib
from collections.abc import Mapping
from typing import Any, Self

import orjson

from credentials.jcs import b64url
from credentials.json_reader import read_json_object
from credentials.jws import PublicKey, Signer, parse_jws, sign_jws, verify_jws
from credentials.sealing import MasterKey
from credentials.suites import ALGORITHMS, Jwk, Suite, public_part, register, suite_named, suite_of

__all__ = [
    "ALGORITHMS",
    "Jwk",
    "PublicKey",
    "Signer",
    "SoftwareKey",
    "Suite",
    "parse_jws",
    "register",
    "sign_jws",
    "thumbprint",
    "verify_jws",
    "verify_signature",
]


class SoftwareKey:
    """A private key in this process's memory; a `Signer`. Immutable, safe from several threads.

    At rest it exists only sealed under a master key (`sealed`, `from_sealed`).
    """

    __slots__ = ("_private", "_private_jwk", "_public_jwk", "_suite")

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        """Load a private JWK. Raises `KeyInvalid`."""
        self._suite = suite_of(jwk)
        self._private = self._suite.load_private(jwk)
        members = self._suite.thumbprint_members
        self._public_jwk = public_part(jwk)
        self._private_jwk: Jwk = {
            name: value for name, value in jwk.items() if name in {*members, "d"}
        }

    @classmethod
    def generate(cls, alg: str = "ES256") -> Self:
        """Make a new key of a registered algorithm. Raises `AlgorithmNotAllowed`."""
        return cls(suite_named(alg).generate())

    @classmethod
    def from_private_jwk(cls, jwk: Mapping[str, Any]) -> Self:
        """Load a private JWK. Raises `KeyInvalid`."""
        return cls(jwk)

    @classmethod
    def from_sealed(cls, master: MasterKey, sealed: bytes, context: str) -> Self:
        """Open what `sealed` gave for the same context. Raises `SealBroken` or `KeyInvalid`."""
        return cls(read_json_object(master.open(sealed, context)))

    def sealed(self, master: MasterKey, context: str) -> bytes:
        """Give the private key encrypted under the master key, bound to `context`."""
        return master.seal(orjson.dumps(self._private_jwk), context)

    @property
    def alg(self) -> str:
        """The JOSE name of its algorithm."""
        return self._suite.alg

    def public_jwk(self) -> Jwk:
        """Give the public JWK."""
        return dict(self._public_jwk)

    def private_jwk(self) -> Jwk:
        """Give the private JWK, unencrypted. For handing a key to its owner, not for storing."""
        return dict(self._private_jwk)

    def sign(self, data: bytes) -> bytes:
        """Sign `data`; the signature in JOSE form."""
        return self._suite.sign(self._private, data)

    def __repr__(self) -> str:
        """Name the key without its private part."""
        return f"SoftwareKey({self.alg}, {thumbprint(self._public_jwk)})"


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Give the JWK thumbprint: base64url SHA-256 over the required members (RFC 7638).

    Raises `KeyInvalid` if the JWK is not of a registered kind or lacks a required member.
    """
    # Section 3.2: the required members in lexicographic order, without spaces.
    required = orjson.dumps(public_part(jwk), option=orjson.OPT_SORT_KEYS)
    return b64url(hashlib.sha256(required).digest())


def verify_signature(jwk: Mapping[str, Any], alg: str, data: bytes, signature: bytes) -> None:
    """Verify one JOSE signature under a public JWK.

    Raises `KeyInvalid`, `AlgorithmNotAllowed` or `SignatureInvalid`.
    """
    PublicKey(jwk).verify(alg, data, signature)
