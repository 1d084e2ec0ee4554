"""The customer's pages: decode, call one use case, show what it left."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sse_starlette import EventSourceResponse
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse

from broker.domain.errors import BrokerError, Gone, LogUnavailable, NotFound, StateConflict
from broker.domain.guardian import GUARDIAN
from broker.usecases import automated_decision, consent_page, presentation, withdrawal
from broker.usecases.consent_page import PageState
from broker.usecases.invitation import waiting_offer
from broker.web import describe, live
from broker.web.assets import by_hashed_name
from broker.web.forms import read_choice
from broker.web.languages import choose_language
from broker.web.rendering import (
    base_path,
    context_of,
    frame_of,
    notice,
    page_path,
    respond,
    tenant_of,
)
from broker.web.safety import HEADERS, is_own_form, session_cookie
from broker.web.views import NoticeView

FORM_FIELDS_AT_MOST = 500
FOR_GOOD = "public, max-age=31536000, immutable"


class ForeignForm(BrokerError):
    """A form that did not come from this page in this browser."""

    code = "foreign_form"


class PageRoute(APIRoute):
    """A route whose errors are pages that say what happened and what to do."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the broker's errors turned into pages."""
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                return await handle(request)
            except ForeignForm:
                return notice(request, "foreign", 403, back=_page_of(request))
            except NotFound:
                return notice(request, "not_found", 404)
            except LogUnavailable:
                return notice(request, "unavailable", 503, back=_page_of(request))
            except (Gone, StateConflict):
                return notice(request, "answered", 409, back=_page_of(request))
            except (BrokerError, RequestValidationError, HTTPException):
                return notice(request, "invalid", 422, back=_page_of(request))

        return handle_as_page


router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _posted(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=FORM_FIELDS_AT_MOST)


Posted = Annotated[FormData, Depends(_posted)]


def busy(request: Request, headers: Mapping[str, str]) -> Response:
    """The page for whoever comes too often; no route was asked yet."""
    page = notice(request, "busy", 429)
    page.headers.update(headers)
    return page


@router.get("/")
def home(request: Request) -> HTMLResponse:
    """What this is, and what to open and try next."""
    spoken = choose_language(request)
    here = base_path(context_of(request), tenant_of(request)) + "/"
    return respond(request, spoken, "home.html", None, frame_of(request, spoken, here=here))


@router.get("/c/{page_token}")
def page(
    request: Request,
    page_token: str,
    step: Annotated[int | None, Query(ge=1, le=3)] = None,
) -> Response:
    """A consent request: three steps while it is open, what was agreed to afterwards."""
    ctx, tenant_id = context_of(request), tenant_of(request)
    # Read before the state: a change in between makes the page look again, never miss it.
    revision = consent_page.revision(ctx, tenant_id, page_token)
    state = consent_page.page(ctx, tenant_id, page_token)
    spoken = choose_language(request)
    here = page_path(request, page_token)
    framed = frame_of(request, spoken, here=here, page_token=page_token, revision=revision)
    if state.request.state in {"answered", "refused"}:
        view = describe.outcome(state, spoken)
        return respond(
            request,
            spoken,
            "outcome.html",
            view,
            framed,
            refresh=bool(state.withdrawals) or state.proof is not None,
        )
    if state.expired or state.request.state == "expired":
        return _expired(request, state)
    chosen = _has_chosen(state)
    if _signing_second(state):
        chosen, step = True, 3  # what the minor signed stays as it is
    step = step or (3 if chosen else 1)
    if step == 1:
        return respond(request, spoken, "who.html", describe.who(state, spoken), framed)
    if not chosen and step == 3:  # noqa: PLR2004 (nothing is signed that was not chosen here)
        return see(f"{here}?step=2")
    if step == 2:  # noqa: PLR2004
        return respond(request, spoken, "what.html", describe.what(state, spoken), framed)
    bound = state.contact.subject_id is not None
    # Whoever has the page may be the minor: the guardian's own card comes by the guardian's way.
    withheld = bound or _signing_second(state)
    card = None if withheld else waiting_offer(ctx, tenant_id, state.contact.id)
    signing = describe.sign(state, spoken, card)
    return respond(request, spoken, "sign.html", signing, framed, refresh=True)


@router.post("/c/{page_token}/choice")
def choose(request: Request, page_token: str, form: Posted) -> Response:
    """Ask the wallet for just what was ticked; or show step 2 again with what is missing."""
    require_own(request, page_token, form)
    ctx, tenant_id = context_of(request), tenant_of(request)
    spoken = choose_language(request)
    state = consent_page.page(ctx, tenant_id, page_token)
    if state.request.state == "open" and state.expired:
        return _expired(request, state)
    if state.request.state != "open":
        raise Gone("this request has been answered")
    here = page_path(request, page_token)
    choice = read_choice(form, describe.what(state, spoken), spoken)
    if choice.again is not None:
        framed = frame_of(request, spoken, here=here, page_token=page_token)
        return respond(request, spoken, "what.html", choice.again, framed, status=422)
    session = request.cookies.get(session_cookie(ctx))
    consent_page.choose(ctx, tenant_id, page_token, choice.chosen, session, spoken.code)
    return see(f"{here}?step=3")


@router.post("/c/{page_token}/refusal")
def refuse(request: Request, page_token: str, form: Posted) -> Response:
    """Refuse everything that the request asks for."""
    require_own(request, page_token, form)
    ctx, tenant_id = context_of(request), tenant_of(request)
    state = consent_page.page(ctx, tenant_id, page_token)
    if state.expired and state.request.state == "open":
        return _expired(request, state)
    consent_page.refuse(ctx, tenant_id, page_token)
    return see(page_path(request, page_token))


@router.post("/c/{page_token}/withdrawal")
def withdraw(request: Request, page_token: str, form: Posted) -> Response:
    """Ask the wallet to sign a withdrawal; the page then shows its QR code in the same place."""
    require_own(request, page_token, form)
    consent_id = str(form.get("consent_id", ""))
    withdrawal.open_withdrawal(context_of(request), tenant_of(request), page_token, consent_id)
    return see(f"{page_path(request, page_token)}#w-{consent_id}")


@router.post("/c/{page_token}/automated-decisions")
def refuse_automated_decisions(request: Request, page_token: str, form: Posted) -> Response:
    """Refuse decisions by a program alone, of one consent; the rest of it stays as it is."""
    require_own(request, page_token, form)
    consent_id = str(form.get("consent_id", ""))
    automated_decision.refuse_on_page(
        context_of(request), tenant_of(request), page_token, consent_id
    )
    return see(page_path(request, page_token))


@router.get("/c/{page_token}/done")
def done(request: Request, page_token: str, response_code: str) -> Response:
    """Where a wallet on the same device sends its customer back to (OpenID4VP section 8.2)."""
    ctx = context_of(request)
    session = request.cookies.get(session_cookie(ctx))
    if not presentation.finish(ctx, tenant_of(request), page_token, response_code, session):
        return notice(request, "other_browser", 403)
    return see(page_path(request, page_token))


@router.get("/c/{page_token}/receipt/{consent_id}")
def receipt(request: Request, page_token: str, consent_id: str) -> Response:
    """The receipt of a consent (SD-JWT VC), as a file to keep."""
    text = consent_page.receipt(context_of(request), tenant_of(request), page_token, consent_id)
    disposition = f'attachment; filename="receipt-{consent_id}.sd-jwt"'
    headers = {**HEADERS, "Content-Disposition": disposition}
    return Response(text, media_type="application/dc+sd-jwt", headers=headers)


@router.get("/c/{page_token}/events")
async def events(request: Request, page_token: str) -> EventSourceResponse:
    """The page's revision, whenever it changes (server-sent events)."""
    ctx, tenant_id = context_of(request), tenant_of(request)
    look = partial(consent_page.revision, ctx, tenant_id, page_token)
    return await live.events((tenant_id, page_token), look)


def mount_static(app: FastAPI) -> None:
    """Serve the stylesheet, the script and the icon under names that change with their content."""

    def static(request: Request, name: str) -> Response:
        asset = by_hashed_name().get(name)
        if asset is None:
            return Response(status_code=404, headers={"Cache-Control": "no-store"})
        headers = {
            "Cache-Control": FOR_GOOD,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        content = asset.content
        if "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = asset.compressed, "gzip"
        return Response(content, media_type=asset.media_type, headers=headers)

    app.add_api_route("/static/{name}", static, methods=["GET"], include_in_schema=False)


def _signing_second(state: PageState) -> bool:
    """Whether a minor has signed on this page, and the guardian does now."""
    return state.signer == GUARDIAN and any(row.awaits_guardian for row, _, _ in state.consents)


def _has_chosen(state: PageState) -> bool:
    """Whether the wallet is asked for what the customer ticked, not for all that was wanted."""
    return any(
        row.session_hash is not None or row.consent_id is not None for row, _ in state.waiting
    )


def _expired(request: Request, state: PageState) -> Response:
    spoken = choose_language(request)
    here = page_path(request, request.path_params["page_token"])
    view = NoticeView("expired", who=describe.describe_party(state.partner, spoken))
    return respond(
        request, spoken, "notice.html", view, frame_of(request, spoken, here=here), status=410
    )


def require_own(request: Request, page_token: str, form: FormData) -> None:
    """Raises `ForeignForm` for a post that did not come from this page in this browser."""
    if not is_own_form(context_of(request), request, page_token, str(form.get("form_token", ""))):
        raise ForeignForm("the form is not of this page and session")


def _page_of(request: Request) -> str | None:
    token = request.path_params.get("page_token")
    return None if token is None else page_path(request, str(token))


def see(address: str) -> RedirectResponse:
    """Answer a form with the address to look at next (RFC 9110 section 15.4.4)."""
    return RedirectResponse(address, status_code=303, headers={"Cache-Control": "no-store"})
