"""OpenID4VCI for wallets: the offer by reference, nonces, credentials."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from broker.api.deps import Ctx, TenantId, WalletToken
from broker.usecases.invitation import read_offer
from broker.usecases.issuance import issue_customer_credentials
from broker.usecases.nonces import new_nonce
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import nonce_response

router = APIRouter(tags=["wallets: OpenID4VCI"])

NO_STORE = {"Cache-Control": "no-store"}


async def _raw_body(request: Request) -> bytes:
    """The body as it came: the protocol's own reader decides what it means."""
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]


@router.get("/openid4vci/offer/{invitation_id}")
def get_offer(ctx: Ctx, tenant_id: TenantId, invitation_id: str) -> JSONResponse:
    """The credential offer of an invitation, until it is redeemed (section 4.1.3); then 410."""
    return JSONResponse(read_offer(ctx, tenant_id, invitation_id), headers=NO_STORE)


@router.post("/openid4vci/nonce")
async def post_nonce(ctx: Ctx, tenant_id: TenantId) -> JSONResponse:
    """A fresh `c_nonce` for the key proofs of one credential request (section 7)."""
    return JSONResponse(nonce_response(new_nonce(ctx, tenant_id)), headers=NO_STORE)


@router.post("/openid4vci/credential")
async def post_credential(ctx: Ctx, wallet: WalletToken, body: RawBody) -> JSONResponse:
    """Credentials for a wallet's keys (section 8): one copy for each proof in `proofs.jwt`.

    Errors are those of section 8.3.1.2, with this broker's own stable `code` beside them.
    """
    try:
        answer = await issue_customer_credentials(ctx, wallet.tenant_id, wallet.client_id, body)
    except WalletProtocolError as problem:
        return JSONResponse(
            problem.body() | {"code": problem.code}, status_code=400, headers=NO_STORE
        )
    return JSONResponse(answer, headers=NO_STORE)
