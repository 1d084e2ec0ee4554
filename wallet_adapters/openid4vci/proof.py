"""Key proofs of type `jwt` (OpenID4VCI 1.0, appendix F.1 and F.4)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wallet_adapters.key_jwt import MAX_CHARACTERS, Kind, read_key_jwt
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
from wallet_adapters.wire import optional_text

PROOF_TYPE: Final = "openid4vci-proof+jwt"
MAX_PROOF: Final = MAX_CHARACTERS
MAX_AGE: Final = 300
SKEW: Final = 60
_WHAT: Final = "the key proof"
_ERROR: Final = "invalid_proof"
# Appendix F.1: jwk excludes kid and x5c; the others are of trust models not offered here.
_OTHERS: Final = frozenset({"kid", "x5c", "trust_chain", "key_attestation"})
_KIND: Final = Kind(PROOF_TYPE, _WHAT, ProofInvalid, ProofAlgorithm, ProofKey, _OTHERS)


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
    # 1. and 2.
    read = read_key_jwt(jwt, _KIND, algorithms)
    claims = read.claims
    # 3.
    if claims.get("aud") != issuer_url:
        raise ProofAudience(f"aud of {_WHAT} must be the credential issuer, as a string")
    issuer = optional_text(claims, "iss", what=_WHAT, error=_ERROR)
    if issuer is not None and issuer != client_id:
        raise ProofInvalid(f"iss of {_WHAT} must be the client id, and absent without one")
    # 4.
    issued_at = read.issued_at
    if issued_at < now - MAX_AGE:
        raise ProofTooOld(f"{_WHAT} is older than {MAX_AGE} seconds; make a new one")
    if issued_at > now + SKEW:
        raise ProofInFuture(f"iat of {_WHAT} is in the future; set the clock")
    # 5.
    nonce = optional_text(claims, "nonce", what=_WHAT, max_length=512, error=_ERROR)
    if not nonce:
        raise ProofNonceMissing(f"{_WHAT} needs a nonce from the nonce endpoint")
    # 6.
    read.verify()
    return KeyProof(
        holder_jwk=read.key.jwk,
        thumbprint=read.key.thumbprint(),
        nonce=nonce,
        issued_at=issued_at,
    )
