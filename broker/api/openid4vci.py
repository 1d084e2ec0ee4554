"""OpenID4VCI for wallets: the offer by reference, nonces, credentials, what became of them."""

from collections.abc import Awaitable, Callable

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from broker.api import openid4vc_openapi
from broker.api.deps import Ctx, TenantId
from broker.api.dpop import nonce_header, tenant_of, token_of
from broker.usecases.attribute_issuance import issue_attributes, offer_of_token
from broker.usecases.context import Context
from broker.usecases.invitation import read_offer
from broker.usecases.issuance import issue_customer_credentials, issue_deferred_credentials
from broker.usecases.membership import issue_membership, membership_of_token
from broker.usecases.nonces import new_nonce
from broker.usecases.notification import notify
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import nonce_response

router = APIRouter(tags=["wallets: OpenID4VCI"])

NO_STORE = {"Cache-Control": "no-store"}


@router.get("/openid4vci/offer/{invitation_id}")
def get_offer(ctx: Ctx, tenant_id: TenantId, invitation_id: str) -> JSONResponse:
    """The credential offer of an invitation, until it is redeemed (section 4.1.3); then 410."""
    return JSONResponse(read_offer(ctx, tenant_id, invitation_id), headers=NO_STORE)


@router.post("/openid4vci/nonce")
async def post_nonce(ctx: Ctx, tenant_id: TenantId, request: Request) -> JSONResponse:
    """A fresh `c_nonce` for the key proofs of one credential request (section 7).

    In the strict profile a nonce for the wallet's DPoP proof comes in `DPoP-Nonce` (section 7.2).
    """
    headers = NO_STORE | nonce_header(ctx, request)
    return JSONResponse(nonce_response(new_nonce(ctx, tenant_id)), headers=headers)


@router.post("/openid4vci/credential", response_class=Response, **openid4vc_openapi.CREDENTIAL)
async def post_credential(request: Request) -> Response:
    """Credentials for a wallet's keys (section 8): one copy for each proof in `proofs.jwt`.

    For an offer of attributes one credential, bound to a secret of the wallet's own
    (`consent-broker-bbs+1`); for a member of a training consortium one, bound to the key of its
    node. Errors are those of section 8.3.1.2, with this broker's own stable
    `code` beside them.
    """
    return await _answer(request, _issue)


@router.post(
    "/openid4vci/deferred_credential", response_class=Response, **openid4vc_openapi.DEFERRED
)
async def post_deferred_credential(request: Request) -> Response:
    """The credentials of a request that had to wait for an officer (section 9).

    200 with the credentials, 202 with the same transaction id while it takes longer.
    """
    return await _answer(request, _deferred)


@router.post(
    "/openid4vci/notification",
    status_code=204,
    response_class=Response,
    **openid4vc_openapi.NOTIFICATION,
)
async def post_notification(request: Request) -> Response:
    """What became of the credentials in the wallet (section 11); told again, it is 204 again."""
    ctx: Context = request.app.state.context
    token_hash = await token_of(ctx, request)
    body = await request.body()
    try:
        await run_in_threadpool(notify, ctx, tenant_of(request), token_hash, body)
    except WalletProtocolError as problem:
        return _refused(problem)
    return Response(status_code=204, headers=NO_STORE)


async def _answer(
    request: Request,
    issue: Callable[[Context, str, str, bytes, str], Awaitable[dict[str, object]]],
) -> Response:
    ctx: Context = request.app.state.context
    token_hash = await token_of(ctx, request)
    body = await request.body()
    try:
        token = request.headers.get("authorization", "").partition(" ")[2].strip(" ")
        answer = await issue(ctx, tenant_of(request), token_hash, body, token)
    except WalletProtocolError as problem:
        return _refused(problem)
    # Section 8.3: what has to wait is accepted, not done.
    status = 202 if "transaction_id" in answer else 200
    return Response(
        orjson.dumps(answer), status_code=status, media_type="application/json", headers=NO_STORE
    )


async def _issue(
    ctx: Context, tenant_id: str, token_hash: str, body: bytes, token: str
) -> dict[str, object]:
    """Credentials of whichever kind the token was had for."""
    now = ctx.now()
    offer = await ctx.db.read(lambda tx: offer_of_token(tx, tenant_id, token_hash, now))
    if offer is not None:
        return await run_in_threadpool(
            issue_attributes, ctx, tenant_id, offer, token, token_hash, body
        )
    member = await ctx.db.read(lambda tx: membership_of_token(tx, tenant_id, token_hash, now))
    if member is not None:
        return await run_in_threadpool(issue_membership, ctx, member, token_hash, body)
    return await issue_customer_credentials(ctx, tenant_id, token_hash, body)


async def _deferred(
    ctx: Context, tenant_id: str, token_hash: str, body: bytes, _token: str
) -> dict[str, object]:
    return await issue_deferred_credentials(ctx, tenant_id, token_hash, body)


def _refused(problem: WalletProtocolError) -> Response:
    return JSONResponse(problem.body() | {"code": problem.code}, status_code=400, headers=NO_STORE)
