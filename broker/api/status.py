"""Status lists for verifiers (Token Status List draft-21, section 8)."""

from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Query, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.api.deps import Ctx, TenantId
from broker.usecases.context import Context
from broker.usecases.published import Published
from broker.usecases.status import TTL_SECONDS, published

router = APIRouter(tags=["status lists"])

STATUS_LIST_TOKEN = "application/statuslist+jwt"
PREFIX = "/status/"
METHODS = frozenset({"GET", "HEAD"})
READ = (b"accept", b"accept-encoding", b"if-none-match")
NOT_MODIFIED = 304
NOT_ACCEPTABLE = 406
NOT_IMPLEMENTED = 501


@router.head("/status/{list_id}", include_in_schema=False)
@router.get(
    "/status/{list_id}",
    response_class=Response,
    responses={
        200: {
            "content": {STATUS_LIST_TOKEN: {"example": "eyJ0eXAiOiJzdGF0dXNsaXN0K2p3dCJ9.e30.AA"}},
            "description": "The signed list; it may be kept for `ttl` seconds.",
        },
        304: {"description": "The list is the one that the caller has (`If-None-Match`)."},
        404: {"description": "There is no such list."},
        406: {"description": "The caller accepts another form than the JWT."},
        501: {"description": "Lists of a time in the past (`time`) are not kept."},
    },
)
async def get_status_list(
    ctx: Ctx,
    tenant_id: TenantId,
    list_id: str,
    *,
    if_none_match: Annotated[str | None, Header(max_length=1024)] = None,
    accept: Annotated[str | None, Header(max_length=1024)] = None,
    accept_encoding: Annotated[str, Header(max_length=1024)] = "",
    time: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """The status list that credentials name in `status.status_list.uri`, as a signed token.

    It is at most one second behind the withdrawals, and open to everybody: whoever fetches it
    learns nothing of single credentials, and the broker nothing of who is being verified.
    """
    if time is not None:
        return Response(status_code=NOT_IMPLEMENTED)
    if accept is not None and not _accepts_token(accept):
        return Response(status_code=NOT_ACCEPTABLE)
    now = ctx.now()
    found = ctx.published.fresh(tenant_id, list_id, now)
    if found is None:
        found = await run_in_threadpool(published, ctx, tenant_id, list_id)
    return _answer(found, now, accept_encoding, if_none_match)


class Whole:
    """An answer that is the same for every caller of a second: its parts are made once."""

    def __init__(self, answer: Response) -> None:
        self._headers, self._body = answer.raw_headers, answer.body

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it; the headers are a copy, since what is around adds its own."""
        await send({"type": "http.response.start", "status": 200, "headers": [*self._headers]})
        await send({"type": "http.response.body", "body": self._body})


@lru_cache(maxsize=256)
def _whole(found: Published, now: int, *, compressed: bool) -> Whole:
    return Whole(_answer(found, now, "gzip" if compressed else "", None))


class FromMemory:
    """ASGI middleware: serves the lists that were looked up within this second.

    Nearly every fetch of a busy list is one, and the way through the routes takes longer than all
    that is done for it. What this does not know goes on to the route.
    """

    def __init__(self, app: ASGIApp, *, ctx: Context) -> None:
        self._app, self._ctx = app, ctx
        self._route = router.routes[-1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        response = self._response(scope) if scope["type"] == "http" else None
        await (response or self._app)(scope, receive, send)

    def _response(self, scope: Scope) -> ASGIApp | None:
        path: str = scope["path"]
        if not path.startswith(PREFIX) or scope["method"] not in METHODS or scope["query_string"]:
            return None
        now = self._ctx.now()
        tenant_id = scope["state"]["tenant_id"]
        found = self._ctx.published.fresh(tenant_id, path.removeprefix(PREFIX), now)
        if found is None:
            return None
        asked = {name: value for name, value in scope["headers"] if name in READ}
        accept, accept_encoding, if_none_match = (
            asked.get(name, b"").decode("latin-1") for name in READ
        )
        if not _accepts_token(accept):
            return None
        scope["route"] = self._route  # for the log and the metrics
        if if_none_match:
            return _answer(found, now, accept_encoding, if_none_match)
        return _whole(found, now, compressed=_takes_gzip(accept_encoding))


def install(app: FastAPI, ctx: Context) -> None:
    """Put the middleware around `app`."""
    app.add_middleware(FromMemory, ctx=ctx)


def _answer(
    found: Published, now: int, accept_encoding: str, if_none_match: str | None
) -> Response:
    # A cache must not hand the token out after its own `ttl`, which began when it was signed.
    left = max(0, found.signed_at + TTL_SECONDS - now)
    headers = {
        "ETag": found.etag,
        "Cache-Control": f"public, max-age={left}",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "ETag",
        "Vary": "Accept, Accept-Encoding",
    }
    body = found.token
    # Base64 takes a third more than it holds: gzip gives that back, once for each publication.
    if _takes_gzip(accept_encoding):
        body, headers["Content-Encoding"] = found.compressed, "gzip"
        headers["ETag"] = found.compressed_etag
    if if_none_match is not None and _names(if_none_match, headers["ETag"]):
        return Response(status_code=NOT_MODIFIED, headers=headers)
    return Response(body, media_type=STATUS_LIST_TOKEN, headers=headers)


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether a client names gzip and does not refuse it (RFC 9110, section 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() in {"gzip", "x-gzip"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _accepts_token(accept: str) -> bool:
    wanted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return not wanted.isdisjoint({STATUS_LIST_TOKEN, "application/*", "*/*", ""})


def _names(if_none_match: str, etag: str) -> bool:
    # RFC 9110, section 13.1.2: weak comparison, any of a list, or any at all.
    given = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in given or etag in given
