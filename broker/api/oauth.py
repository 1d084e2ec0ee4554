"""The token endpoint: partners and officers by client assertion, wallets by pre-authorized code."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from broker.api.deps import Ctx, TenantId
from broker.api.dpop import nonce_header, proofs_of
from broker.usecases.context import Context
from broker.usecases.dpop import endpoint_proof
from broker.usecases.invitation import redeem_pre_authorized_code
from broker.usecases.token import client_token
from wallet_adapters.errors import Malformed, WalletProtocolError
from wallet_adapters.oauth import DpopProof
from wallet_adapters.openid4vci import (
    PreAuthorizedCodeRequest,
    parse_token_request,
    token_response,
)
from wallet_adapters.openid4vci.client_assertion import CLIENT_ASSERTION_TYPE
from wallet_adapters.openid4vci.token import CLIENT_CREDENTIALS_GRANT, PRE_AUTHORIZED_CODE_GRANT
from wallet_adapters.wire import parse_form

router = APIRouter(tags=["tokens"])

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
FORM = "application/x-www-form-urlencoded"

_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {
                            "type": "string",
                            "enum": [
                                CLIENT_CREDENTIALS_GRANT,
                                PRE_AUTHORIZED_CODE_GRANT,
                            ],
                        },
                        "client_assertion_type": {"type": "string"},
                        "client_assertion": {"type": "string"},
                        "pre-authorized_code": {"type": "string"},
                        "tx_code": {"type": "string"},
                    },
                },
                "examples": {
                    "partner": {
                        "value": {
                            "grant_type": CLIENT_CREDENTIALS_GRANT,
                            "client_assertion_type": CLIENT_ASSERTION_TYPE,
                            "client_assertion": "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJwLWI0cCJ9.c2ln",
                        }
                    },
                    "wallet": {
                        "value": {
                            "grant_type": PRE_AUTHORIZED_CODE_GRANT,
                            "pre-authorized_code": "oaKazRN8I0IbtZ0C7JuMn5",
                            "tx_code": "493536",
                        }
                    },
                },
            }
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {
                "example": {"access_token": "J3q7...", "token_type": "Bearer", "expires_in": 3600}
            }
        }
    },
    400: {
        "description": "The request or its grant is refused (RFC 6749, section 5.2).",
        "content": {
            "application/json": {
                "example": {
                    "error": "invalid_grant",
                    "error_description": "the pre-authorized code is not one of this issuer",
                    "code": "invalid_grant",
                }
            }
        },
    },
    401: {"description": "The client is not authenticated: `invalid_client`."},
}


async def _form(request: Request) -> bytes:
    """The body as it came: the protocol's own reader decides what it means."""
    return await request.body()


@router.post("/oauth/token", responses=_ANSWERS, openapi_extra=_REQUEST)
def post_token(
    ctx: Ctx, tenant_id: TenantId, request: Request, body: Annotated[bytes, Depends(_form)]
) -> JSONResponse:
    """An access token (RFC 6749, section 3.2).

    Partners and officers send `client_credentials` with a client assertion (`private_key_jwt`):
    a JWT signed by their key with `iss` and `sub` their client id, `aud` this server or this
    endpoint, `exp` within five minutes, and a `jti` of its own, good for one use. Wallets send
    the pre-authorized code of their offer, with the transaction code where the offer has one.
    With a `DPoP` proof (RFC 9449) the token is bound to its key; the strict profile demands one.
    """
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            raise Malformed(f"the token request is sent as {FORM}")
        proof = endpoint_proof(ctx, tenant_id, proofs_of(request), path="/oauth/token")
        answer = _answer(ctx, tenant_id, body, proof)
    except WalletProtocolError as problem:
        unauthenticated = problem.error == "invalid_client"
        return JSONResponse(
            problem.body() | {"code": problem.code},
            status_code=401 if unauthenticated else 400,
            headers=NO_STORE
            | nonce_header(ctx, request, problem)
            | ({"WWW-Authenticate": "Bearer"} if unauthenticated else {}),
        )
    return JSONResponse(answer, headers=NO_STORE | nonce_header(ctx, request))


def _answer(
    ctx: Context, tenant_id: str, body: bytes, proof: DpopProof | None
) -> dict[str, object]:
    asked = parse_token_request(parse_form(body))
    bound = proof is not None
    if isinstance(asked, PreAuthorizedCodeRequest):
        wallet = redeem_pre_authorized_code(ctx, tenant_id, asked, proof)
        return token_response(
            access_token=wallet.access_token,
            expires_in=wallet.expires_in,
            credential_identifiers=wallet.credential_identifiers,
            bound=bound,
        )
    client = client_token(ctx, tenant_id, asked, proof)
    return token_response(
        access_token=client.access_token, expires_in=client.expires_in, bound=bound
    )
