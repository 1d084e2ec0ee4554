"""Access tokens for clients of the API: a signed assertion against an opaque token.

Suspension is not in the token: each call looks at the client's row, so it takes effect at once.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from broker.domain.proof_question import PERIOD_SECONDS
from broker.store import (
    access_tokens,
    attribute_credentials,
    authorizations,
    data_requests,
    deferred,
    idempotency,
    join_requests,
    memberships,
    proof_questions,
    proofs,
    used_once,
)
from broker.usecases.client_authentication import (
    RegisteredClient,
    authenticate,
    log_refusal,
    registered_client,
    spend_assertion,
)
from broker.usecases.context import Context
from broker.usecases.dpop import kept_as, spend_proof
from credentials.jcs import b64url
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import DpopProof
from wallet_adapters.openid4vci import ClientCredentialsRequest
from wallet_adapters.openid4vci.errors import ClientAssertionInvalid

TOKEN_SECONDS = 3_600
TOKEN_BYTES = 32
# Of the kinds of clients that have any; a token has all of its client's.
SCOPES = {"coordinator": ("federation",)}
# As long as the token lives that came of it: a code that is tried again must find its row.
AUTHORIZATION_KEPT = 3_600
# How long a partner can see what became of a data request that is over.
DATA_REQUEST_KEPT = 86_400
# What was spent is remembered beyond its end: another machine's clock may be that far behind.
CLOCKS_APART = 60


@dataclass(frozen=True)
class Token:
    """An access token, its life in seconds, its scopes; told once and kept as a hash."""

    access_token: str = field(repr=False)
    expires_in: int
    scopes: tuple[str, ...] = ()


def client_token(
    ctx: Context,
    tenant_id: str,
    request: ClientCredentialsRequest,
    proof: DpopProof | None = None,
) -> Token:
    """Authenticate a client by `private_key_jwt` and give it a token (RFC 6749 4.4, RFC 7523 3).

    1. The client asks for no scope that it has not, and its assertion verifies.
    2. The client is not suspended.
    3. The assertion was not used before: its `jti` is spent in the transaction of the token, and
       so is the DPoP `proof`, to whose key the token is then bound.

    Raises leaves of `WalletProtocolError`; a refusal enters the log.
    """
    with ctx.db.reading() as tx:
        client = registered_client(tx, tenant_id, request.client_id)
    try:
        return _token(ctx, tenant_id, request, client, proof)
    except WalletProtocolError as refusal:
        log_refusal(ctx, tenant_id, client, refusal.code)
        raise


def forget_expired(ctx: Context) -> int:
    """Delete tokens, spent values, proofs and idempotency keys whose time is over; how many."""
    now = ctx.now()
    forgetting: tuple[Callable[[Connection], int], ...] = (
        lambda tx: access_tokens.prune(tx, now),
        lambda tx: used_once.prune(tx, now - CLOCKS_APART),
        lambda tx: idempotency.prune(tx, now),
        lambda tx: authorizations.prune(tx, now - AUTHORIZATION_KEPT),
        lambda tx: deferred.prune(tx, now),
        lambda tx: proofs.forget_due(tx, now),
        lambda tx: proof_questions.prune(tx, now - PERIOD_SECONDS),
        lambda tx: attribute_credentials.forget_due(tx, now),
        lambda tx: data_requests.prune(tx, now, now - DATA_REQUEST_KEPT),
        lambda tx: join_requests.prune(tx, now - DATA_REQUEST_KEPT),
        lambda tx: memberships.prune(tx, now - DATA_REQUEST_KEPT),
    )
    # Each in a transaction of its own: whoever suspends a partner takes these in another order.
    return sum(ctx.db.run(one) for one in forgetting)


def _token(
    ctx: Context,
    tenant_id: str,
    request: ClientCredentialsRequest,
    client: RegisteredClient | None,
    proof: DpopProof | None,
) -> Token:
    # 1.
    scopes = SCOPES.get(client.role, ()) if client is not None else ()
    if client is not None and not set(request.scopes) <= set(scopes):
        raise ClientAssertionInvalid(
            f"this client has {' '.join(scopes) or 'no scopes'}: ask for no other",
            error="invalid_scope",
        )
    assertion = request.client_assertion
    authenticated = authenticate(ctx, tenant_id, client, assertion, path="/oauth/token")
    # 2.
    if authenticated.client.suspended:
        raise ClientAssertionInvalid("the client is suspended: ask the tenant that it works for")
    token = b64url(secrets.token_bytes(TOKEN_BYTES))
    with ctx.db.transaction() as tx:
        # 3.
        spend_assertion(ctx, tx, tenant_id, authenticated)
        spend_proof(ctx, tx, proof)
        access_tokens.add(
            tx,
            **kept_as(token, proof)._asdict(),
            tenant_id=tenant_id,
            subject=authenticated.client.id,
            role=authenticated.client.role,
            expires_at=ctx.now() + TOKEN_SECONDS,
        )
    return Token(token, TOKEN_SECONDS, scopes)
