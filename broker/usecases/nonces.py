"""Nonces for key proofs (OpenID4VCI 1.0, section 7): made without a row, spent with one.

    nonce = base64url(expiry (8 bytes) || random (16) || HMAC-SHA256(expiry || random || use))
    use   = tenant, or tenant || NUL || "dpop" for the nonces of DPoP proofs

The nonce endpoint is open to anybody, so it must not write: the broker recognises its own nonces
by their MAC, and only a nonce that came back inside a proof of a token's holder gets a row.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.store import used_once
from broker.usecases.context import Context
from credentials.errors import Malformed
from credentials.jcs import b64url, b64url_decode
from wallet_adapters.openid4vci.errors import ProofNonceInvalid

NONCE_SECONDS = 300
KIND = "c_nonce"
_EXPIRY_BYTES = 8
_RANDOM_BYTES = 16
_BODY_BYTES = _EXPIRY_BYTES + _RANDOM_BYTES


@dataclass(frozen=True)
class Nonce:
    """A nonce of this broker that is still good for its age; whether it was spent, a row says."""

    value: str
    expires_at: int


def new_nonce(ctx: Context, tenant_id: str, purpose: str = "") -> str:
    """A fresh nonce for one credential request, or another `purpose`, within 300 seconds."""
    expires_at = ctx.now() + NONCE_SECONDS
    body = expires_at.to_bytes(_EXPIRY_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
    return b64url(body + _mac(ctx, tenant_id, purpose, body))


def read_nonce(ctx: Context, tenant_id: str, value: str, purpose: str = "") -> Nonce:
    """Recognise a nonce of this tenant. Raises `ProofNonceInvalid` when unknown or too old."""
    try:
        raw = b64url_decode(value)
    except Malformed:
        raise ProofNonceInvalid("the nonce is not one of this issuer; fetch one") from None
    body = raw[:_BODY_BYTES]
    if not hmac.compare_digest(raw[_BODY_BYTES:], _mac(ctx, tenant_id, purpose, body)):
        raise ProofNonceInvalid("the nonce is not one of this issuer; fetch one")
    expires_at = int.from_bytes(body[:_EXPIRY_BYTES], "big")
    if expires_at <= ctx.now():
        raise ProofNonceInvalid("the nonce has expired; fetch a new one and repeat")
    return Nonce(value, expires_at)


def spend_nonce(tx: Connection, nonce: Nonce, now: int) -> None:
    """Use a nonce for the one time that it is good for. Raises `ProofNonceInvalid`."""
    value_hash = b64url(hashlib.sha256(nonce.value.encode()).digest())
    if not used_once.spend(tx, KIND, value_hash, expires_at=nonce.expires_at, now=now):
        raise ProofNonceInvalid("the nonce was used already; fetch a new one and repeat")


def _mac(ctx: Context, tenant_id: str, purpose: str, body: bytes) -> bytes:
    # A tenant's id holds no NUL, so that no nonce of one purpose is one of another.
    use = f"{tenant_id}\x00{purpose}" if purpose else tenant_id
    return hmac.digest(ctx.keys.hmac_key("nonce"), body + use.encode(), hashlib.sha256)
