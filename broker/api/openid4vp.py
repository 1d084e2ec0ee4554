"""OpenID4VP for wallets: the request object, and the answer to it.

Errors are in the protocol's form (RFC 6749, section 5.2), with this broker's own stable `code`
beside it.
"""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from broker.api import openid4vc_openapi
from broker.api.deps import Ctx, TenantId
from broker.api.errors import RETRY_SECONDS, status_of
from broker.domain.errors import BrokerError
from broker.usecases import presentation
from broker.usecases.answering import Rejected
from broker.usecases.request_object import serve
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.request import REQUEST_OBJECT_MEDIA_TYPE, parse_request_uri_post
from wallet_adapters.wire import parse_form


class WalletRoute(APIRoute):
    """A route whose errors a wallet understands."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the errors of both families in the protocol's form."""
        handle = super().get_route_handler()

        async def handle_for_wallet(request: Request) -> Response:
            try:
                return await handle(request)
            except WalletProtocolError as error:
                return _refused(error.code, error.description, error=error.error)
            except BrokerError as error:
                status = status_of(error.code)
                if status == HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                return _refused(error.code, str(error), status)

        return handle_for_wallet


router = APIRouter(tags=["wallets: OpenID4VP"], route_class=WalletRoute)

NO_STORE = {"Cache-Control": "no-store"}


async def _raw_body(request: Request) -> bytes:
    """The body as it came: the protocol's own reader decides what it means."""
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]


@router.get("/openid4vp/request/{request_id}", response_class=Response, **openid4vc_openapi.FETCHED)
def get_request_object(ctx: Ctx, tenant_id: TenantId, request_id: str) -> Response:
    """The signed request object; fetched again, the same bytes (wallets retry).

    410 once answered, replaced or expired.
    """
    signed = serve(ctx, tenant_id, request_id)
    return Response(signed, media_type=REQUEST_OBJECT_MEDIA_TYPE, headers=NO_STORE)


@router.post("/openid4vp/request/{request_id}", response_class=Response, **openid4vc_openapi.POSTED)
def post_for_request_object(
    ctx: Ctx, tenant_id: TenantId, request_id: str, body: RawBody
) -> Response:
    """The same request for a wallet that says more (OpenID4VP 1.0, section 5.10).

    A form with `wallet_nonce`, which comes back inside, and `wallet_metadata`: where the wallet
    can encrypt its answer it is asked to, where it sends a key the request is encrypted to it, and
    where it cannot do what the request needs that is said: `wallet_lacks`.
    """
    posted = parse_request_uri_post(parse_form(body))
    told = serve(ctx, tenant_id, request_id, posted)
    return Response(told, media_type=REQUEST_OBJECT_MEDIA_TYPE, headers=NO_STORE)


@router.post("/openid4vp/response/{request_id}", **openid4vc_openapi.ANSWERED)
def post_answer(ctx: Ctx, tenant_id: TenantId, request_id: str, body: RawBody) -> JSONResponse:
    """A wallet's `direct_post` answer (section 8.2).

    200 with `redirect_uri` when it was taken; 400 with `invalid_request` and a stable code when
    not, and nothing has changed but the log; 410 when it was answered, replaced or has expired.
    """
    outcome = presentation.answer(ctx, tenant_id, request_id, body)
    if isinstance(outcome, Rejected):
        return _refused(outcome.code, outcome.message)
    return JSONResponse(dict(outcome.body), headers=NO_STORE)


def _refused(
    code: str, message: str, status: int = 400, error: str = "invalid_request"
) -> JSONResponse:
    later = status == HTTPStatus.SERVICE_UNAVAILABLE
    content = {
        "error": "temporarily_unavailable" if later else error,
        "error_description": f"{code}: {message}",
        "code": code,
    }
    headers = {**NO_STORE, "Retry-After": str(RETRY_SECONDS)} if later else NO_STORE
    return JSONResponse(content, status_code=status, headers=headers)
