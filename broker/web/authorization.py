"""The authorization endpoint: the customer agrees that a wallet gets their card (RFC 6749, 4.1).

The browser comes with a `request_uri` and a client id; everything else was pushed before. What is
wrong with those is told to the customer: no address is trusted to be sent to before they are right.
"""

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from broker.usecases import authorization
from broker.usecases.authorization import Asked
from broker.web import describe
from broker.web.languages import choose_language
from broker.web.pages import PageRoute, Posted
from broker.web.rendering import (
    base_path,
    context_of,
    frame_of,
    notice,
    respond,
    tenant_of,
)
from broker.web.safety import POLICY, is_own_form
from broker.web.views import AuthorizeView
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import parse_authorization_query
from wallet_adapters.openid4vci.errors import TxCodeRequired, TxCodeWrong
from wallet_adapters.wire import parse_form

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/oauth/authorize")
def authorize(request: Request) -> Response:
    """Whose card it is, which wallet asks for it, where the customer goes afterwards."""
    try:
        query = parse_form(request.scope["query_string"])
        client_id, request_uri = parse_authorization_query(query)
        asked = authorization.ask(context_of(request), tenant_of(request), client_id, request_uri)
    except WalletProtocolError:
        return notice(request, "authorization", 400)
    return _page(request, asked, request_uri)


@router.post("/oauth/authorize")
def decide(request: Request, form: Posted) -> Response:
    """The customer agrees, with the code where one was sent, or does not."""
    ctx, tenant_id = context_of(request), tenant_of(request)
    client_id, request_uri = str(form.get("client_id", "")), str(form.get("request_uri", ""))
    if not is_own_form(ctx, request, request_uri, str(form.get("form_token", ""))):
        return notice(request, "foreign", 403)
    try:
        asked = authorization.ask(ctx, tenant_id, client_id, request_uri)
    except WalletProtocolError:
        return notice(request, "authorization", 400)
    try:
        if form.get("decision") != "agree":
            return _go(authorization.decline(ctx, tenant_id, client_id, request_uri))
        tx_code = str(form.get("tx_code", "")).strip() or None
        return _go(authorization.agree(ctx, tenant_id, client_id, request_uri, tx_code))
    except (TxCodeRequired, TxCodeWrong):
        return _page(request, asked, request_uri, wrong=True)
    except WalletProtocolError:
        return notice(request, "authorization", 400)


def _page(request: Request, asked: Asked, request_uri: str, *, wrong: bool = False) -> HTMLResponse:
    spoken = choose_language(request)
    here = f"{base_path(context_of(request), tenant_of(request))}/oauth/authorize"
    view = AuthorizeView(
        partner=describe.describe_party(asked.partner, spoken),
        client_id=asked.client_id,
        origin=asked.origin,
        request_uri=request_uri,
        coded=asked.coded,
        wrong=wrong,
    )
    framed = frame_of(request, spoken, here=here, page_token=request_uri)
    page = respond(request, spoken, "authorize.html", view, framed, status=422 if wrong else 200)
    # Browsers hold a redirect that follows a form against form-action too (CSP level 3, 6.6.4).
    policy = POLICY.replace("form-action 'self'", f"form-action 'self' {asked.origin}")
    page.headers["Content-Security-Policy"] = policy
    return page


def _go(address: str) -> RedirectResponse:
    # 303, so that the form is not posted to the wallet (RFC 9700, section 4.12).
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return RedirectResponse(address, status_code=303, headers=headers)
