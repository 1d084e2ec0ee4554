"""The authorization server: tokens for partners, officers and wallets; wallets' pushed requests."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from broker.api.deps import Ctx, TenantId
from broker.api.dpop import nonce_header, proofs_of
from broker.domain.addresses import tenant_url
from broker.usecases.authorization import push, redeem_authorization_code
from broker.usecases.context import Context
from broker.usecases.dpop import endpoint_proof
from broker.usecases.redemption import redeem_pre_authorized_code
from broker.usecases.token import client_token
from wallet_adapters.errors import Malformed, WalletProtocolError
from wallet_adapters.oauth import DpopProof, parse_pushed_request
from wallet_adapters.openid4vci import (
    ClientCredentialsRequest,
    PreAuthorizedCodeRequest,
    parse_token_request,
    token_response,
)
from wallet_adapters.openid4vci.client_assertion import CLIENT_ASSERTION_TYPE
from wallet_adapters.openid4vci.token import (
    AUTHORIZATION_CODE_GRANT,
    CLIENT_CREDENTIALS_GRANT,
    PRE_AUTHORIZED_CODE_GRANT,
)
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
                                AUTHORIZATION_CODE_GRANT,
                            ],
                        },
                        "client_assertion_type": {"type": "string"},
                        "client_assertion": {"type": "string"},
                        "pre-authorized_code": {"type": "string"},
                        "tx_code": {"type": "string"},
                        "code": {"type": "string"},
                        "redirect_uri": {"type": "string"},
                        "client_id": {"type": "string"},
                        "code_verifier": {"type": "string"},
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


_PUSH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": [
                        *("response_type", "client_id", "redirect_uri", "issuer_state"),
                        *("code_challenge", "code_challenge_method"),
                    ],
                    "properties": {
                        "response_type": {"type": "string", "enum": ["code"]},
                        "client_id": {"type": "string"},
                        "redirect_uri": {"type": "string"},
                        "scope": {"type": "string"},
                        "authorization_details": {"type": "string"},
                        "state": {"type": "string"},
                        "issuer_state": {"type": "string"},
                        "code_challenge": {"type": "string"},
                        "code_challenge_method": {"type": "string", "enum": ["S256"]},
                        "dpop_jkt": {"type": "string"},
                    },
                },
            }
        },
    }
}
_PUSHED: dict[int | str, dict[str, Any]] = {
    201: {
        "content": {
            "application/json": {
                "example": {
                    "request_uri": "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c",
                    "expires_in": 300,
                }
            }
        }
    },
    400: {"description": "The request is refused (RFC 9126, section 2.3)."},
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
    the pre-authorized code of their offer, with the transaction code where the offer has one, or
    an authorization code with its PKCE verifier.
    With a `DPoP` proof (RFC 9449) the token is bound to its key; the strict profile demands one.
    """
    try:
        _require_form(request)
        proof = endpoint_proof(ctx, tenant_id, proofs_of(request), path="/oauth/token")
        answer = _answer(ctx, tenant_id, body, proof)
    except WalletProtocolError as problem:
        return _refused(ctx, request, problem)
    return JSONResponse(answer, headers=NO_STORE | nonce_header(ctx, request))


@router.post("/oauth/par", status_code=201, responses=_PUSHED, openapi_extra=_PUSH)
def post_pushed_request(
    ctx: Ctx, tenant_id: TenantId, request: Request, body: Annotated[bytes, Depends(_form)]
) -> JSONResponse:
    """A wallet pushes its authorization request and gets a `request_uri` for it (RFC 9126).

    Then it opens `/oauth/authorize?client_id=...&request_uri=...` in the customer's browser. PKCE
    with S256 and the `issuer_state` of an offer are required; with a `DPoP` proof, or `dpop_jkt`,
    the code is bound to that key.
    """
    try:
        _require_form(request)
        proof = endpoint_proof(ctx, tenant_id, proofs_of(request), path="/oauth/par")
        issuer = tenant_url(ctx.settings.public_url, tenant_id)
        pushed = push(ctx, tenant_id, parse_pushed_request(parse_form(body), issuer=issuer), proof)
    except WalletProtocolError as problem:
        return _refused(ctx, request, problem)
    return JSONResponse(
        {"request_uri": pushed.request_uri, "expires_in": pushed.expires_in},
        status_code=201,
        headers=NO_STORE | nonce_header(ctx, request),
    )


def _require_form(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Malformed(f"the request is sent as {FORM}")


def _refused(ctx: Context, request: Request, problem: WalletProtocolError) -> JSONResponse:
    unauthenticated = problem.error == "invalid_client"
    return JSONResponse(
        problem.body() | {"code": problem.code},
        status_code=401 if unauthenticated else 400,
        headers=NO_STORE
        | nonce_header(ctx, request, problem)
        | ({"WWW-Authenticate": "Bearer"} if unauthenticated else {}),
    )


def _answer(
    ctx: Context, tenant_id: str, body: bytes, proof: DpopProof | None
) -> dict[str, object]:
    asked = parse_token_request(parse_form(body))
    bound = proof is not None
    if not isinstance(asked, ClientCredentialsRequest):
        wallet = (
            redeem_pre_authorized_code(ctx, tenant_id, asked, proof)
            if isinstance(asked, PreAuthorizedCodeRequest)
            else redeem_authorization_code(ctx, tenant_id, asked, proof)
        )
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
