"""JWTs that bring their own key: whoever sends one shows that they hold what it is signed by.

DPoP proofs (RFC 9449) and key proofs (OpenID4VCI 1.0, appendix F.1) have the same form: one public
`jwk` in the header, `iat` among the claims. What else they say is their protocol's to check.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from typing import Final

from credentials.errors import AlgorithmNotAllowed, CredentialError, HeaderNotAllowed
from credentials.jws import PublicKey, UnverifiedJws, parse_jws
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.wire import parse_json_object

MAX_CHARACTERS: Final = 8_192
# RFC 7518, section 6, RFC 8037 and the AKP draft: the members of private and symmetric keys.
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


@dataclass(frozen=True)
class Kind:
    """A kind of these JWTs: its `typ`, what messages call it, the errors of its protocol.

    `invalid` is raised for its form, `algorithm` for its `alg`, `key` for how it names its key;
    `others` are the names of a key that may not stand beside `jwk`.
    """

    typ: str
    what: str
    invalid: type[WalletProtocolError]
    algorithm: type[WalletProtocolError]
    key: type[WalletProtocolError]
    others: frozenset[str] = frozenset()


@dataclass(frozen=True)
class KeyJwt:
    """Such a JWT taken apart; until `verify` has returned nothing in it is believed."""

    kind: Kind
    key: PublicKey
    claims: dict[str, object]
    jws: UnverifiedJws

    @property
    def issued_at(self) -> int:
        """`iat` in Unix seconds; raises the kind's `invalid`."""
        value = self.claims.get("iat")
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self.kind.invalid(f"{self.kind.what} needs iat, a number of seconds")
        return int(value)

    def verify(self) -> None:
        """Check the signature by the key of the header; raises the kind's `invalid`."""
        try:
            self.jws.verify(self.key)
        except CredentialError as problem:
            raise self.kind.invalid(
                f"the signature of {self.kind.what} does not verify by its jwk"
            ) from problem


def read_key_jwt(text: str, kind: Kind, algorithms: Collection[str]) -> KeyJwt:
    """Take one apart, without believing it.

    1. Size, compact form, `typ`, an asymmetric `alg` among `algorithms`.
    2. The header names the key by one public `jwk`, without private members, and by no other name.
    3. The payload is a JSON object.

    Raises the errors of `kind`; for step 3 other leaves of `WalletProtocolError`.
    """
    # 1.
    what = kind.what
    if len(text) > MAX_CHARACTERS:
        raise kind.invalid(f"{what} has more than {MAX_CHARACTERS} characters")
    try:
        jws = parse_jws(text, typ=kind.typ, algs=algorithms, permit=("jwk",))
    except AlgorithmNotAllowed as problem:
        raise kind.algorithm(f"alg of {what} must be one of: {', '.join(algorithms)}") from problem
    except HeaderNotAllowed as problem:
        raise kind.key(f"{what} must bring its key as jwk and nothing else") from problem
    except CredentialError as problem:
        raise kind.invalid(f"{what} is no JWT of type {kind.typ}: {problem}") from problem
    # 2.
    if others := kind.others.intersection(jws.header):
        raise kind.key(f"{what} must name its key by jwk alone, without {min(others)}")
    jwk = jws.header.get("jwk")
    if not isinstance(jwk, dict):
        raise kind.key(f"{what} needs the public key as jwk in its header")
    if _PRIVATE.intersection(jwk):
        raise kind.key(f"jwk of {what} holds a private key; it is burnt, make a new one")
    try:
        key = PublicKey(jwk)
    except CredentialError as problem:
        raise kind.key(f"jwk of {what} is no usable public key") from problem
    # 3.
    claims = parse_json_object(jws.payload, what=what, error=kind.invalid.default_error)
    return KeyJwt(kind, key, claims, jws)
