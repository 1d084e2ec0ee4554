"""OpenID4VCI for wallets: the offer by reference, nonces, credentials, what became of them."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from broker.api.deps import Ctx, TenantId
from broker.api.dpop import tenant_of, token_of
from broker.usecases.context import Context
from broker.usecases.invitation import read_offer
from broker.usecases.issuance import (
    BATCH_SIZE,
    issue_customer_credentials,
    issue_deferred_credentials,
)
from broker.usecases.nonces import new_nonce
from broker.usecases.notification import notify
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import nonce_response
from wallet_adapters.openid4vci.credential import NOTIFICATION_EVENTS

router = APIRouter(tags=["wallets: OpenID4VCI"])

NO_STORE = {"Cache-Control": "no-store"}


_REQUEST: dict[str, Any] = {
    "security": [{"HTTPBearer": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["proofs"],
                    "properties": {
                        "credential_configuration_id": {"type": "string"},
                        "credential_identifier": {"type": "string"},
                        "proofs": {
                            "type": "object",
                            "required": ["jwt"],
                            "properties": {
                                "jwt": {
                                    "type": "array",
                                    "items": {"type": "string"},
                                    "minItems": 1,
                                    "maxItems": BATCH_SIZE,
                                }
                            },
                        },
                    },
                },
                "example": {
                    "credential_configuration_id": "customer_credential",
                    "proofs": {"jwt": ["eyJ0eXAiOiJvcGVuaWQ0dmNpLXByb29mK2p3dCJ9.e30.c2ln"]},
                },
            }
        },
    },
}


_DEFERRED: dict[str, Any] = {
    "security": [{"HTTPBearer": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["transaction_id"],
                    "properties": {"transaction_id": {"type": "string"}},
                }
            }
        },
    },
}
_NOTIFICATION: dict[str, Any] = {
    "security": [{"HTTPBearer": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["notification_id", "event"],
                    "properties": {
                        "notification_id": {"type": "string"},
                        "event": {"type": "string", "enum": list(NOTIFICATION_EVENTS)},
                        "event_description": {"type": "string"},
                    },
                }
            }
        },
    },
}


@router.get("/openid4vci/offer/{invitation_id}")
def get_offer(ctx: Ctx, tenant_id: TenantId, invitation_id: str) -> JSONResponse:
    """The credential offer of an invitation, until it is redeemed (section 4.1.3); then 410."""
    return JSONResponse(read_offer(ctx, tenant_id, invitation_id), headers=NO_STORE)


@router.post("/openid4vci/nonce")
async def post_nonce(ctx: Ctx, tenant_id: TenantId) -> JSONResponse:
    """A fresh `c_nonce` for the key proofs of one credential request (section 7)."""
    return JSONResponse(nonce_response(new_nonce(ctx, tenant_id)), headers=NO_STORE)


@router.post("/openid4vci/credential", openapi_extra=_REQUEST, response_class=Response)
async def post_credential(request: Request) -> Response:
    """Credentials for a wallet's keys (section 8): one copy for each proof in `proofs.jwt`.

    Errors are those of section 8.3.1.2, with this broker's own stable `code` beside them.
    """
    return await _answer(request, issue_customer_credentials)


@router.post("/openid4vci/deferred_credential", openapi_extra=_DEFERRED, response_class=Response)
async def post_deferred_credential(request: Request) -> Response:
    """The credentials of a request that had to wait for an officer (section 9).

    200 with the credentials, 202 with the same transaction id while it takes longer.
    """
    return await _answer(request, issue_deferred_credentials)


@router.post(
    "/openid4vci/notification",
    status_code=204,
    openapi_extra=_NOTIFICATION,
    response_class=Response,
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
    issue: Callable[[Context, str, str, bytes], Awaitable[dict[str, object]]],
) -> Response:
    ctx: Context = request.app.state.context
    token_hash = await token_of(ctx, request)
    body = await request.body()
    try:
        answer = await issue(ctx, tenant_of(request), token_hash, body)
    except WalletProtocolError as problem:
        return _refused(problem)
    # Section 8.3: what has to wait is accepted, not done.
    status = 202 if "transaction_id" in answer else 200
    return Response(
        orjson.dumps(answer), status_code=status, media_type="application/json", headers=NO_STORE
    )


def _refused(problem: WalletProtocolError) -> Response:
    return JSONResponse(problem.body() | {"code": problem.code}, status_code=400, headers=NO_STORE)
