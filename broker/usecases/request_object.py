"""Serve the signed request object to a wallet, and keep each one that was served as evidence."""

from broker.domain.errors import Gone, InvalidRequest
from broker.domain.ids import new_id
from broker.store import presentations
from broker.store.presentations import PresentationRequestRow, ServedRow
from broker.usecases.context import Context
from broker.usecases.presentation_request import request_parameters
from wallet_adapters.openid4vp.request import sign_request

SERVED_AT_MOST = 20


def serve(
    ctx: Context,
    tenant_id: str,
    presentation_request_id: str,
    *,
    wallet_nonce: str | None,
    method: str,
) -> str:
    """The signed request object for a wallet.

    A GET again gets the same stored bytes; a POST gets the same nonce and terms, signed anew with
    the wallet's nonce (OpenID4VP 1.0, section 5.10). Each object served is kept as evidence.
    Raises `NotFound`, `Gone` (answered, replaced, expired), `InvalidRequest` (fetched too often).
    """
    now = ctx.now()
    context = f"served:{presentation_request_id}"
    with ctx.db.reading() as tx:
        row = presentations.find(tx, tenant_id, presentation_request_id)
        _check_open(row, now)
        before = presentations.served(tx, row.id, "get") if method == "get" else []
        if before:
            return ctx.master.open(before[0].sealed, context).decode()
        if presentations.served_count(tx, row.id) >= SERVED_AT_MOST:
            raise InvalidRequest("this request was fetched too often: open a new one")
    key = ctx.keys.request(tenant_id)
    signed = sign_request(
        request_parameters(ctx, row, wallet_nonce=wallet_nonce), key.signer, key.x5c
    )
    sealed = ctx.master.seal(signed.encode(), context)
    with ctx.db.transaction() as tx:
        _check_open(presentations.find(tx, tenant_id, presentation_request_id), now)
        before = presentations.served(tx, row.id, "get") if method == "get" else []
        if before:
            return ctx.master.open(before[0].sealed, context).decode()
        presentations.add_served(
            tx,
            ServedRow(
                id=new_id("sr"),
                tenant_id=tenant_id,
                presentation_request_id=row.id,
                method=method,
                sealed=sealed,
                served_at=now,
            ),
        )
    return signed


def _check_open(row: PresentationRequestRow, now: int) -> None:
    if row.state != "open":
        raise Gone("this request has been answered or replaced")
    if row.expires_at <= now:
        raise Gone("this request has expired: nothing was signed")
