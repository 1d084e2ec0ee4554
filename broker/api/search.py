"""Search at the decision point (AuthZEN 1.0, section 8): only about the caller's own consents.

    subject   {"type": "partner"} finds the caller itself, where it may
    action    finds which of read, profile, train, share and publish are permitted
    resource  {"type": "attribute", "properties": {"subject_ref": ...} or {"consent": ...}} finds
              the attributes of that contact; without properties those of every contact, each with
              the consent to ask about

Everything else is as in an evaluation. A result is what would be permitted at this moment; the
evaluation decides.
"""

import hashlib
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from broker.api.authzen import parse_search
from broker.api.authzen_openapi import SEARCH
from broker.api.dpop import tenant_of, token_of
from broker.usecases.context import Context
from broker.usecases.search import Kind, Searching, search

NO_STORE = {"Cache-Control": "no-store"}

router = APIRouter(tags=["access"])


@router.post("/access/v1/search/subject", openapi_extra=SEARCH["subject"], response_class=Response)
async def search_subject(request: Request) -> Response:
    """Who may use this attribute so? The caller, or nobody."""
    return await _search(request, "subject")


@router.post(
    "/access/v1/search/resource", openapi_extra=SEARCH["resource"], response_class=Response
)
async def search_resource(request: Request) -> Response:
    """Which attributes may be used so, of one contact or of all, a page at a time."""
    return await _search(request, "resource")


@router.post("/access/v1/search/action", openapi_extra=SEARCH["action"], response_class=Response)
async def search_action(request: Request) -> Response:
    """In which ways may this attribute be used?"""
    return await _search(request, "action")


async def _search(request: Request, kind: Kind) -> Response:
    ctx: Context = request.app.state.context
    token_hash = await token_of(ctx, request)
    asked = parse_search(await request.body(), kind)
    searching = Searching(
        kind=kind,
        tenant_id=tenant_of(request),
        token_hash=token_hash,
        subject_type=asked.subject_type,
        partner_id=asked.evaluation.partner_id,
        question=asked.evaluation.question,
        of_attributes=asked.resource_type == "attribute",
        limit=asked.limit,
        token=asked.token,
        same=hashlib.sha256(orjson.dumps(asked.same, option=orjson.OPT_SORT_KEYS)).digest(),
        value=asked.evaluation.value,
        supported=asked.evaluation.supported,
    )
    found = await run_in_threadpool(search, ctx, searching)
    body: dict[str, Any] = found.to_json()
    return Response(orjson.dumps(body), media_type="application/json", headers=NO_STORE)
