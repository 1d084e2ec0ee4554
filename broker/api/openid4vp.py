"""OpenID4VP for wallets: the request object, and the answer to it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse

from broker.api.deps import Ctx, TenantId
from broker.usecases import presentation
from broker.usecases.asking import serve
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.wire import parse_form

router = APIRouter(tags=["wallets: OpenID4VP"])

REQUEST_OBJECT = "application/oauth-authz-req+jwt"
WALLET_NONCE_AT_MOST = 512


async def _raw_body(request: Request) -> bytes:
    """The body as it came: the protocol's own reader, not the framework's, decides what it means."""
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]


@router.get("/openid4vp/request/{request_id}", response_class=Response)
def get_request_object(ctx: Ctx, tenant_id: TenantId, request_id: str) -> Response:
    """The signed request object; fetched again, the same bytes (wallets retry). 410 once answered."""
    signed = serve(ctx, tenant_id, request_id, wallet_nonce=None, method="get")
    return Response(signed, media_type=REQUEST_OBJECT, headers={"Cache-Control": "no-store"})


@router.post("/openid4vp/request/{request_id}", response_class=Response)
def post_for_request_object(
    ctx: Ctx,
    tenant_id: TenantId,
    request_id: str,
    wallet_nonce: Annotated[str | None, Form(max_length=WALLET_NONCE_AT_MOST)] = None,
    wallet_metadata: Annotated[str | None, Form(max_length=65_536)] = None,
) -> Response:
    """The same request with the wallet's own nonce inside (OpenID4VP 1.0 section 5.10)."""
    del wallet_metadata  # the request asks for nothing that a wallet's metadata could change
    signed = serve(ctx, tenant_id, request_id, wallet_nonce=wallet_nonce, method="post")
    return Response(signed, media_type=REQUEST_OBJECT, headers={"Cache-Control": "no-store"})


@router.post("/openid4vp/response/{request_id}")
def post_answer(ctx: Ctx, tenant_id: TenantId, request_id: str, body: RawBody) -> JSONResponse:
    """A wallet's `direct_post` answer (section 8.2).

    200 with `redirect_uri` when it counted; 400 with `invalid_request` and a stable code in
    `error_description` when not, and nothing has changed but the log.
    """
    try:
        outcome = presentation.answer(ctx, tenant_id, request_id, parse_form(body))
    except WalletProtocolError as error:
        return _refused(error.code, str(error))
    if isinstance(outcome, presentation.Rejected):
        return _refused(outcome.code, outcome.message)
    sent = {} if outcome.redirect_uri is None else {"redirect_uri": outcome.redirect_uri}
    return JSONResponse(sent, headers={"Cache-Control": "no-store"})


def _refused(code: str, message: str) -> JSONResponse:
    content = {"error": "invalid_request", "error_description": f"{code}: {message}", "code": code}
    return JSONResponse(content, status_code=400, headers={"Cache-Control": "no-store"})
