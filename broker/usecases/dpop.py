"""Tokens that are good with their holder's key alone (DPoP, RFC 9449), and how tokens are found.

    row of a bearer token = SHA-256(token)
    row of a bound token  = SHA-256("dpop" || NUL || thumbprint of the key || NUL || token)
                            and beside it SHA-256(token), by which it is revoked and never found

A bound token has no row under its own hash: whoever presents it without a proof, or with a proof
by another key, looks for a row that is not there. No check of a binding can be forgotten, since
there is none to make.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.errors import Unauthorized
from broker.store import access_tokens, used_once
from broker.usecases.context import Context
from broker.usecases.nonces import new_nonce, read_nonce
from credentials.jcs import b64url
from wallet_adapters.oauth import DpopProof, verify_dpop_proof
from wallet_adapters.oauth.errors import DpopNonceRequired, DpopProofMissing, DpopProofUsed
from wallet_adapters.openid4vci.errors import ProofNonceInvalid

KIND = "dpop_jti"
NONCE_PURPOSE = "dpop"
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1 (`b64token`)."""


class TokenHashes(NamedTuple):
    """What is kept of a token; `revocation_hash` where it is bound to a key."""

    token_hash: str
    revocation_hash: str | None


def token_row(token: str, proof: DpopProof | None) -> str:
    """The hash under which a token is kept, bound to the key of `proof` if there is one."""
    text = token if proof is None else f"dpop\x00{proof.thumbprint}\x00{token}"
    return b64url(hashlib.sha256(text.encode("utf-8", "replace")).digest())


def kept_as(token: str, proof: DpopProof | None) -> TokenHashes:
    """The hashes under which a new token is kept."""
    own = token_row(token, None)
    return TokenHashes(token_row(token, proof), None if proof is None else own)


def dpop_nonce(ctx: Context, tenant_id: str) -> str:
    """A nonce for proofs, good for 300 seconds and for any number of them (section 8)."""
    return new_nonce(ctx, tenant_id, NONCE_PURPOSE)


def endpoint_proof(
    ctx: Context, tenant_id: str, proofs: Sequence[str], *, path: str
) -> DpopProof | None:
    """The proof of a POST to an endpoint of the authorization server; None without one.

    `proofs` are the request's `DPoP` headers. The strict profile demands one, with a nonce. The
    caller spends it by `spend_proof` in the transaction of what it grants. Raises `DpopRefused`.
    """
    if not proofs and not ctx.settings.strict:
        return None
    return _verify(ctx, tenant_id, proofs, method="POST", path=path, token=None)


def spend_proof(ctx: Context, tx: Connection, proof: DpopProof | None) -> None:
    """Use a proof for the one time that it is good for. Raises `DpopProofUsed`."""
    if proof is not None and not used_once.spend(
        tx, KIND, proof.once, expires_at=proof.expires_at, now=ctx.now()
    ):
        raise DpopProofUsed("this DPoP proof was used before: make one for each request")


async def presented_token(
    ctx: Context,
    tenant_id: str,
    authorization: str | None,
    proofs: Sequence[str],
    *,
    method: str,
    path: str,
) -> str:
    """The row of the token that a request presents (RFC 6750 section 2.1, RFC 9449 section 7).

    1. The scheme is DPoP, or, except in the strict profile, Bearer.
    2. With DPoP: one proof, for this request and this token, with a nonce where demanded.
    3. With DPoP: there is such a token, bound to that key; then the proof is spent.

    With Bearer nothing is read: whether there is such a row, and whose, is the caller's to see.
    `path` is the request's below the tenant's address. Raises `Unauthorized`, `DpopRefused`.
    """
    # 1.
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip(" ")
    # Nothing but what a token may be made of reaches the hashes, whose parts a NUL keeps apart.
    if TOKEN.fullmatch(token) is None or scheme.lower() not in {"bearer", "dpop"}:
        raise Unauthorized(f"send an access token: Authorization: {_scheme(ctx)} ...")
    if scheme.lower() == "bearer":
        if ctx.settings.strict:
            raise Unauthorized("this broker takes DPoP-bound tokens only (its profile is strict)")
        return token_row(token, None)
    # 2.
    proof = _verify(ctx, tenant_id, proofs, method=method, path=path, token=token)
    # 3.
    row = token_row(token, proof)
    found = await ctx.db.read(lambda tx: access_tokens.find(tx, tenant_id, row))
    if found is None or found.expires_at <= ctx.now():
        raise Unauthorized(
            "the access token is unknown, has expired, or is not bound to the key of the proof"
        )
    await ctx.db.write(lambda tx: spend_proof(ctx, tx, proof))
    return row


def _scheme(ctx: Context) -> str:
    return "DPoP" if ctx.settings.strict else "Bearer"


def _verify(
    ctx: Context,
    tenant_id: str,
    proofs: Sequence[str],
    *,
    method: str,
    path: str,
    token: str | None,
) -> DpopProof:
    if len(proofs) != 1:
        raise DpopProofMissing("send one DPoP proof, in one header of that name")
    proof = verify_dpop_proof(
        proofs[0],
        method=method,
        url=tenant_url(ctx.settings.public_url, tenant_id) + path,
        now=ctx.now(),
        access_token=token,
    )
    if proof.nonce is None:
        if ctx.settings.strict:
            raise DpopNonceRequired("the DPoP proof needs the nonce that this answer carries")
        return proof
    try:
        read_nonce(ctx, tenant_id, proof.nonce, NONCE_PURPOSE)
    except ProofNonceInvalid:
        raise DpopNonceRequired(
            "the nonce of the DPoP proof is not one of this server, or over: use the one here"
        ) from None
    return proof
