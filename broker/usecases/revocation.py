"""Give back a token (RFC 7009): from the next call on it is as if it had never been given."""

from sqlalchemy import Connection

from broker.store import access_tokens
from broker.store.access_tokens import RevocableRow
from broker.usecases import audit
from broker.usecases.client_authentication import (
    AuthenticatedClient,
    authenticate,
    log_refusal,
    registered_client,
    spend_assertion,
)
from broker.usecases.context import Context
from broker.usecases.dpop import token_row
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth.errors import TokenOfAnotherClient
from wallet_adapters.oauth.revocation import RevocationRequest
from wallet_adapters.openid4vci.errors import ClientAuthenticationRequired

PATH = "/oauth/revoke"


def revoke_token(ctx: Context, tenant_id: str, request: RevocationRequest) -> None:
    """End a token whose holder asks for it; one that is unknown or over is over (section 2.2).

    1. A client authenticates as at the token endpoint; a suspended one may give back too.
    2. The token, bound or not, is that client's, or, without authentication, a wallet's: whoever
       holds a wallet's token may end it.
    3. The assertion is spent, the token ends, the log has an entry, in one transaction.

    Raises leaves of `WalletProtocolError`.
    """
    # 1.
    client = None
    if request.client_assertion is not None:
        with ctx.db.reading() as tx:
            found = registered_client(tx, tenant_id, request.client_assertion.client_id)
        try:
            client = authenticate(ctx, tenant_id, found, request.client_assertion, path=PATH)
        except WalletProtocolError as refusal:
            log_refusal(ctx, tenant_id, found, refusal.code)
            raise
    with ctx.db.transaction() as tx:
        if client is not None:
            spend_assertion(ctx, tx, tenant_id, client)
        token = access_tokens.revocable(tx, tenant_id, token_row(request.token, None))
        if token is None:  # and whoever knows none writes nothing
            return
        # 2.
        _require_own(token, client)
        # 3.
        _end(ctx, tx, tenant_id, token)


def _require_own(token: RevocableRow, client: AuthenticatedClient | None) -> None:
    if client is None and token.role != "wallet":
        raise ClientAuthenticationRequired(
            "a partner or an officer gives back a token with a client_assertion"
        )
    if client is not None and token.subject != client.client.id:
        raise TokenOfAnotherClient("the token was given to another client")


def _end(ctx: Context, tx: Connection, tenant_id: str, token: RevocableRow) -> None:
    if access_tokens.end(tx, tenant_id, token.token_hash):
        holder = "invitation" if token.role == "wallet" else token.role
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="token.revoked",
            body={"role": token.role, holder: token.subject},
        )
