"""Key proofs of type `jwt` (OpenID4VCI 1.0, appendix F.1 and F.4)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from credentials.errors import AlgorithmNotAllowed, CredentialError, HeaderNotAllowed
from credentials.jws import PublicKey, UnverifiedJws, parse_jws
from credentials.keys import thumbprint
from wallet_adapters.openid4vci.errors import (
    ProofAlgorithm,
    ProofAudience,
    ProofInFuture,
    ProofInvalid,
    ProofKey,
    ProofKeyRepeated,
    ProofMissing,
    ProofNonceMissing,
    ProofTooOld,
)
from wallet_adapters.wire import optional_text, parse_json_object

PROOF_TYPE: Final = "openid4vci-proof+jwt"
MAX_PROOF: Final = 8_192
MAX_AGE: Final = 300
SKEW: Final = 60
_WHAT: Final = "the key proof"
_ERROR: Final = "invalid_proof"
# RFC 7518, section 6 and RFC 8037: the members that hold a private or symmetric key.
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


@dataclass(frozen=True)
class KeyProof:
    """A verified proof: the holder has the private key of `holder_jwk` (public members only).

    `thumbprint` is the key's RFC 7638 thumbprint, `issued_at` is in Unix seconds. Whether `nonce`
    is live is the caller's to check, once per batch.
    """

    holder_jwk: dict[str, Any]
    thumbprint: str
    nonce: str
    issued_at: int


def verify_key_proofs(
    proofs: Sequence[str],
    *,
    issuer_url: str,
    now: int,
    algorithms: Collection[str] = ("ES256",),
    client_id: str | None = None,
) -> tuple[KeyProof, ...]:
    """Verify a batch; every proof has a key of its own, else two copies would be linkable.

    The caller then spends every distinct `nonce` of the result and answers `ProofNonceInvalid`
    when one is not live. Raises leaves of `WalletProtocolError`.
    """
    if not proofs:
        raise ProofMissing("the credential request needs proofs, with one jwt for each copy")
    verified = tuple(
        verify_key_proof(
            proof, issuer_url=issuer_url, now=now, algorithms=algorithms, client_id=client_id
        )
        for proof in proofs
    )
    if len({proof.thumbprint for proof in verified}) != len(verified):
        raise ProofKeyRepeated("two proofs have the same key; make a new key for each copy")
    return verified


def verify_key_proof(
    jwt: str,
    *,
    issuer_url: str,
    now: int,
    algorithms: Collection[str] = ("ES256",),
    client_id: str | None = None,
) -> KeyProof:
    """Verify one key proof. The order of the checks is that of their cost.

    1. Size, compact form, `typ` openid4vci-proof+jwt, `alg` among `algorithms`.
    2. The header names the key by one public `jwk` and by nothing else.
    3. `aud` is `issuer_url`; `iss`, where given, is `client_id` (absent for anonymous wallets).
    4. `iat` is at most 300 seconds old and at most 60 seconds ahead of `now`.
    5. `nonce` is there.
    6. The signature verifies under the key of the header.
    7. Owed by the caller: that the nonce is live, and spending it.

    Raises leaves of `WalletProtocolError` whose `error` is `invalid_proof`.
    """
    # 1.
    jws = _parse(jwt, algorithms)
    # 2.
    key = _holder_key(jws)
    # 3.
    claims = parse_json_object(jws.payload, what=_WHAT, error=_ERROR)
    if claims.get("aud") != issuer_url:
        raise ProofAudience(f"aud of {_WHAT} must be the credential issuer, as a string")
    issuer = optional_text(claims, "iss", what=_WHAT, error=_ERROR)
    if issuer is not None and issuer != client_id:
        raise ProofInvalid(f"iss of {_WHAT} must be the client id, and absent without one")
    # 4.
    issued_at = _issued_at(claims.get("iat"))
    if issued_at < now - MAX_AGE:
        raise ProofTooOld(f"{_WHAT} is older than {MAX_AGE} seconds; make a new one")
    if issued_at > now + SKEW:
        raise ProofInFuture(f"iat of {_WHAT} is in the future; set the clock")
    # 5.
    nonce = optional_text(claims, "nonce", what=_WHAT, max_length=512, error=_ERROR)
    if not nonce:
        raise ProofNonceMissing(f"{_WHAT} needs a nonce from the nonce endpoint")
    # 6.
    try:
        jws.verify(key)
        return KeyProof(
            holder_jwk=key.jwk, thumbprint=thumbprint(key.jwk), nonce=nonce, issued_at=issued_at
        )
    except CredentialError as problem:
        raise ProofInvalid(f"the signature of {_WHAT} does not verify by its jwk") from problem


def _parse(jwt: str, algorithms: Collection[str]) -> UnverifiedJws:
    if len(jwt) > MAX_PROOF:
        raise ProofInvalid(f"{_WHAT} has more than {MAX_PROOF} characters")
    try:
        return parse_jws(jwt, typ=PROOF_TYPE, algs=algorithms, permit=("jwk",))
    except AlgorithmNotAllowed as problem:
        allowed = ", ".join(algorithms)
        raise ProofAlgorithm(f"alg of {_WHAT} must be one of: {allowed}") from problem
    except HeaderNotAllowed as problem:
        raise ProofKey(f"{_WHAT} must bring its key as jwk and nothing else") from problem
    except CredentialError as problem:
        raise ProofInvalid(f"{_WHAT} is no JWT of type {PROOF_TYPE}") from problem


def _holder_key(jws: UnverifiedJws) -> PublicKey:
    others = {"kid", "x5c", "trust_chain", "key_attestation"}.intersection(jws.header)
    if others:
        # Appendix F.1: jwk excludes kid and x5c; the others are of trust models not offered here.
        raise ProofKey(f"{_WHAT} must name its key by jwk alone, without {min(others)}")
    jwk = jws.header.get("jwk")
    if not isinstance(jwk, dict):
        raise ProofKey(f"{_WHAT} needs the holder's public key as jwk in its header")
    if _PRIVATE.intersection(jwk):
        raise ProofKey(f"jwk of {_WHAT} holds a private key; it is burnt, make a new one")
    try:
        return PublicKey(jwk)
    except CredentialError as problem:
        raise ProofKey(f"jwk of {_WHAT} is no usable public key") from problem


def _issued_at(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ProofInvalid(f"{_WHAT} needs iat, a number of seconds")
    return int(value)
