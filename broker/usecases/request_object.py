"""Serve the signed request object to a wallet, and keep each one that was served as evidence."""

from sqlalchemy import Connection

from broker.domain.errors import Gone, InvalidRequest
from broker.domain.ids import new_id
from broker.store import data_requests, join_requests, presentations, proofs
from broker.store.data_requests import DataRequestRow
from broker.store.join_requests import JoinRequestRow
from broker.store.presentations import PresentationRequestRow, ServedRow
from broker.store.proofs import ProofRequestRow
from broker.usecases.context import Context
from broker.usecases.presentation_request import Document, Kept, request_parameters
from wallet_adapters.openid4vp.request import RequestUriPost, sign_request, x509_hash_client_id
from wallet_adapters.openid4vp.wallet_metadata import agree, encrypt_request

POSTED_AT_MOST = 20
_MADE_ANEW = (proofs, data_requests, join_requests)


def serve(
    ctx: Context,
    tenant_id: str,
    presentation_request_id: str,
    posted: RequestUriPost | None = None,
) -> str:
    """The signed request object for a wallet; `posted` is what one sends that fetches by POST.

    A GET again gets the same stored bytes. A POST gets the same nonce and terms, signed anew with
    the wallet's nonce (OpenID4VP 1.0, section 5.10), and as the wallet's metadata ask for. Each
    object served is kept as evidence, as signed. Raises `NotFound`, `Gone` (answered, replaced,
    expired), `InvalidRequest` (posted for too often; a GET is always answered), `WalletLacks`.
    """
    if any(store.is_one(presentation_request_id) for store in _MADE_ANEW):
        return _serve_anew(ctx, tenant_id, presentation_request_id, posted)
    now = ctx.now()
    context = f"served:{presentation_request_id}"
    method = "get" if posted is None else "post"
    with ctx.db.reading() as tx:
        row = presentations.find(tx, tenant_id, presentation_request_id)
        _check_open(row, now)
        before = presentations.served(tx, row.id, "get") if method == "get" else []
        if before:
            return ctx.master.open(before[0].sealed, context).decode()
        _check_count(tx, row, method)
    signed, told = _made(ctx, row, posted)
    sealed = ctx.master.seal(signed.encode(), context)
    with ctx.db.transaction() as tx:
        # Those that come at once count each other.
        _check_open(presentations.find(tx, tenant_id, presentation_request_id, lock=True), now)
        _check_count(tx, row, method)
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
    return told


def _serve_anew(
    ctx: Context, tenant_id: str, request_id: str, posted: RequestUriPost | None
) -> str:
    """The request object for a proof, data, or joining: made anew, as no evidence rests on it.

    A proof holds the hash of what was asked, whichever object carried it.
    """
    [store] = [store for store in _MADE_ANEW if store.is_one(request_id)]
    with ctx.db.reading() as tx:
        row: ProofRequestRow | DataRequestRow | JoinRequestRow = store.find(
            tx, tenant_id, request_id
        )
    _check_open(row, ctx.now())
    return _made(ctx, row, posted)[1]


def _made(ctx: Context, row: Kept, posted: RequestUriPost | None) -> tuple[str, str]:
    """The request object as signed, and as its wallet gets it."""
    document = Document.load(row.document)
    key = ctx.keys.request_of(
        row.tenant_id, lambda leaf: x509_hash_client_id(leaf) == document.client_id
    )
    if key is None:
        raise Gone("the key of this request is no longer used: open a new one")
    agreed = agree(
        None if posted is None else posted.wallet_metadata,
        signing_algorithm=key.signer.alg,
        encrypted=not document.clear,
        format=document.format,
    )
    parameters = request_parameters(
        ctx,
        row,
        wallet_nonce=None if posted is None else posted.wallet_nonce,
        encrypted=agreed.encrypted,
    )
    signed = sign_request(parameters, key.signer, key.x5c)
    return signed, encrypt_request(signed, agreed)


def _check_count(tx: Connection, row: PresentationRequestRow, method: str) -> None:
    if method == "post" and presentations.served_count(tx, row.id, method) >= POSTED_AT_MOST:
        raise InvalidRequest("this request was fetched too often: fetch it by GET")


def _check_open(
    row: PresentationRequestRow | ProofRequestRow | DataRequestRow | JoinRequestRow, now: int
) -> None:
    if row.state != "open":
        raise Gone("this request has been answered or replaced")
    if row.expires_at <= now:
        raise Gone("this request has expired: nothing was signed")
