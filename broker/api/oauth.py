"""The authorization server: tokens for partners, officers and wallets; wallets' pushed requests."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from broker.api import oauth_openapi
from broker.api.deps import Ctx, TenantId
from broker.api.dpop import nonce_header, proofs_of
from broker.api.oauth_openapi import FORM
from broker.domain.addresses import tenant_url
from broker.usecases.attribute_offer import redeem_offer
from broker.usecases.authorization import push, redeem_authorization_code
from broker.usecases.context import Context
from broker.usecases.dpop import endpoint_proof
from broker.usecases.membership import redeem_membership
from broker.usecases.redemption import redeem_pre_authorized_code
from broker.usecases.revocation import revoke_token
from broker.usecases.token import client_token
from wallet_adapters.errors import Malformed, WalletProtocolError
from wallet_adapters.oauth import DpopProof, parse_pushed_request
from wallet_adapters.oauth.revocation import parse_revocation_request
from wallet_adapters.openid4vci import (
    ClientCredentialsRequest,
    PreAuthorizedCodeRequest,
    parse_token_request,
    token_response,
)
from wallet_adapters.wire import parse_form

router = APIRouter(tags=["tokens"])

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


async def _form(request: Request) -> bytes:
    """The body as it came: the protocol's own reader decides what it means."""
    return await request.body()


@router.post("/oauth/token", **oauth_openapi.TOKEN)
def post_token(
    ctx: Ctx, tenant_id: TenantId, request: Request, body: Annotated[bytes, Depends(_form)]
) -> JSONResponse:
    """An access token (RFC 6749, section 3.2).

    Partners, officers and coordinators send `client_credentials` with a client assertion
    (`private_key_jwt`): a JWT signed by their key with `iss` and `sub` their client id, `aud` this
    server or this endpoint, `exp` within five minutes, and a `jti` of its own, good for one use.
    Wallets send the pre-authorized code of their offer, with the transaction code where the offer
    has one, or an authorization code with its PKCE verifier.
    With a `DPoP` proof (RFC 9449) the token is bound to its key; the strict profile demands one.
    """
    try:
        _require_form(request)
        proof = endpoint_proof(ctx, tenant_id, proofs_of(request), path="/oauth/token")
        answer = _answer(ctx, tenant_id, body, proof)
    except WalletProtocolError as problem:
        return _refused(ctx, request, problem)
    return JSONResponse(answer, headers=NO_STORE | nonce_header(ctx, request))


@router.post("/oauth/par", status_code=201, **oauth_openapi.PUSH)
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


@router.post("/oauth/revoke", response_class=Response, **oauth_openapi.REVOKE)
def post_revocation(
    ctx: Ctx, tenant_id: TenantId, request: Request, body: Annotated[bytes, Depends(_form)]
) -> Response:
    """Give back an access token: from the next call on it is good for nothing (RFC 7009).

    Partners and officers authenticate as at the token endpoint, and can give back their own alone.
    A wallet sends the token and nothing else. A token that is bound to a key is given back without
    a `DPoP` proof. 200 also for a token that nobody has: then there is nothing left to do.
    """
    try:
        _require_form(request)
        revoke_token(ctx, tenant_id, parse_revocation_request(parse_form(body)))
    except WalletProtocolError as problem:
        return _refused(ctx, request, problem)
    return Response(status_code=200, headers=NO_STORE)


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
        if isinstance(asked, PreAuthorizedCodeRequest):
            wallet = (
                redeem_offer(ctx, tenant_id, asked, proof)
                or redeem_membership(ctx, tenant_id, asked, proof)
                or redeem_pre_authorized_code(ctx, tenant_id, asked, proof)
            )
        else:
            wallet = redeem_authorization_code(ctx, tenant_id, asked, proof)
        return token_response(
            access_token=wallet.access_token,
            expires_in=wallet.expires_in,
            credential_identifiers=wallet.credential_identifiers,
            bound=bound,
        )
    client = client_token(ctx, tenant_id, asked, proof)
    return token_response(
        access_token=client.access_token,
        expires_in=client.expires_in,
        scopes=client.scopes,
        bound=bound,
    )
