"""Access tokens for partners and officers: a signed assertion against an opaque token.

Suspension is not in the token: each call looks at the client's row, so it takes effect at once.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

import orjson

from broker.domain.addresses import tenant_url
from broker.domain.errors import NotFound, UnknownPartner
from broker.store import access_tokens, authorizations, deferred, idempotency, partners, used_once
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.dpop import spend_proof, token_row
from credentials.jcs import b64url
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import DpopProof
from wallet_adapters.openid4vci import ClientCredentialsRequest, verify_client_assertion
from wallet_adapters.openid4vci.errors import ClientAssertionInvalid

TOKEN_SECONDS = 3_600
TOKEN_BYTES = 32
# As long as the token lives that came of it: a code that is tried again must find its row.
AUTHORIZATION_KEPT = 3_600
JTI_KIND = "client_assertion"
REFUSAL_KIND = "token_refusal_logged"
REFUSALS_LOGGED_EVERY = 60


@dataclass(frozen=True)
class Token:
    """An access token and its life in seconds; told once and kept as a hash."""

    access_token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True)
class _Client:
    id: str
    role: str
    jwk: dict[str, Any]
    suspended: bool


def client_token(
    ctx: Context,
    tenant_id: str,
    request: ClientCredentialsRequest,
    proof: DpopProof | None = None,
) -> Token:
    """Authenticate a client by `private_key_jwt` and give it a token (RFC 6749 4.4, RFC 7523 3).

    1. The client is a partner or an officer of the tenant, and asks for no scope.
    2. Its assertion verifies under its registered key: signature, audience, times.
    3. The client is not suspended.
    4. The assertion was not used before: its `jti` is spent in the transaction of the token, and
       so is the DPoP `proof`, to whose key the token is then bound.

    Raises leaves of `WalletProtocolError`; a refusal enters the log, once a minute for each client
    and cause, since whoever is refused may be anybody.
    """
    client = _client(ctx, tenant_id, request.client_id)
    try:
        return _token(ctx, tenant_id, request, client, proof)
    except WalletProtocolError as refusal:
        _log_refusal(ctx, tenant_id, None if client is None else client.id, refusal.code)
        raise


def forget_expired(ctx: Context) -> int:
    """Delete tokens, spent values and idempotency keys whose time is over; how many there were."""
    now = ctx.now()
    with ctx.db.transaction() as tx:
        return (
            access_tokens.prune(tx, now)
            + used_once.prune(tx, now)
            + idempotency.prune(tx, now)
            + authorizations.prune(tx, now - AUTHORIZATION_KEPT)
            + deferred.prune(tx, now)
        )


def _token(
    ctx: Context,
    tenant_id: str,
    request: ClientCredentialsRequest,
    client: _Client | None,
    proof: DpopProof | None,
) -> Token:
    now = ctx.now()
    # 1.
    if client is None:
        raise ClientAssertionInvalid("the client is not registered with this tenant")
    if request.scopes:
        raise ClientAssertionInvalid(
            "there are no scopes here: ask for none", error="invalid_scope"
        )
    # 2.
    issuer = tenant_url(ctx.settings.public_url, tenant_id)
    assertion = verify_client_assertion(
        request.client_assertion,
        keys=[client.jwk],
        audiences=(issuer, f"{issuer}/oauth/token"),
        now=now,
    )
    # 3.
    if client.suspended:
        raise ClientAssertionInvalid("the client is suspended: ask the tenant that it works for")
    token = b64url(secrets.token_bytes(TOKEN_BYTES))
    with ctx.db.transaction() as tx:
        # 4.
        spent = _hash(f"{client.id}\x00{assertion.jti}")
        # The verifier allows some skew after `expires_at`; keeping it a minute longer covers that.
        if not used_once.spend(tx, JTI_KIND, spent, expires_at=assertion.expires_at + 60, now=now):
            raise ClientAssertionInvalid("this client assertion was used before: sign a new one")
        spend_proof(ctx, tx, proof)
        access_tokens.add(
            tx,
            token_hash=token_row(token, proof),
            tenant_id=tenant_id,
            subject=client.id,
            role=client.role,
            expires_at=now + TOKEN_SECONDS,
        )
    return Token(token, TOKEN_SECONDS)


def _client(ctx: Context, tenant_id: str, client_id: str) -> _Client | None:
    with ctx.db.reading() as tx:
        try:
            partner = partners.find(tx, tenant_id, client_id)
            jwk = orjson.loads(partner.jwk)
            return _Client(partner.id, "partner", jwk, partner.state != "active")
        except UnknownPartner:
            pass
        try:
            officer = partners.officer(tx, tenant_id, client_id)
            return _Client(
                officer.id, "officer", orjson.loads(officer.jwk), officer.state != "active"
            )
        except NotFound:
            return None


def _log_refusal(ctx: Context, tenant_id: str, client_id: str | None, code: str) -> None:
    now = ctx.now()
    minute = now // REFUSALS_LOGGED_EVERY
    once = _hash(f"{tenant_id}\x00{client_id}\x00{code}\x00{minute}")
    body = {"code": code} if client_id is None else {"client": client_id, "code": code}
    with ctx.db.transaction() as tx:
        if used_once.spend(tx, REFUSAL_KIND, once, expires_at=now + REFUSALS_LOGGED_EVERY, now=now):
            audit.record(ctx, tx, tenant_id=tenant_id, type="token.refused", body=body)


def _hash(text: str) -> str:
    return b64url(hashlib.sha256(text.encode("utf-8", "replace")).digest())
