"""Withdraw everything: from a consent's page to the customer's own, which nobody else can open."""

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse

from broker.usecases import withdraw_all
from broker.web import describe, live
from broker.web.languages import choose_language
from broker.web.pages import PageRoute, Posted, require_own, see
from broker.web.rendering import base_path, context_of, frame_of, page_path, respond, tenant_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/c/{page_token}/everything")
def ask_who_it_is(request: Request, page_token: str, form: Posted) -> Response:
    """Ask the wallet whose it is; the page then shows its QR code in the same place."""
    require_own(request, page_token, form)
    withdraw_all.ask_who_it_is(context_of(request), tenant_of(request), page_token)
    return see(f"{page_path(request, page_token)}#everything")


@router.get("/mine/{token}")
def everything(request: Request, token: str) -> Response:
    """All that the customer has given, and the wallet request that withdraws it.

    The wallet is sent here by the answer to its proof; the address is good for ten minutes.
    """
    ctx, tenant_id = context_of(request), tenant_of(request)
    told = withdraw_all.everything(ctx, tenant_id, token)
    spoken = choose_language(request)
    here = f"{base_path(ctx, tenant_id)}/mine/{token}"
    framed = frame_of(request, spoken, here=here, revision=told.revision())
    view = describe.everything(told, spoken)
    return respond(request, spoken, "everything.html", view, framed, refresh=bool(told.waiting))


@router.get("/mine/{token}/events")
async def events(request: Request, token: str) -> EventSourceResponse:
    """The page's revision, whenever it changes (server-sent events)."""
    ctx, tenant_id = context_of(request), tenant_of(request)
    return await live.events(
        (tenant_id, token), lambda: withdraw_all.everything(ctx, tenant_id, token).revision()
    )
