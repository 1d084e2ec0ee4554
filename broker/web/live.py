"""Live state: server-sent events that carry the page's revision whenever it changes."""

from collections.abc import AsyncIterator

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from broker.domain.errors import BrokerError
from broker.usecases import consent_page
from broker.usecases.context import Context

EVERY_SECONDS = 1.0
LOOKS = 900
RECONNECT_MILLISECONDS = 2_000
PING_SECONDS = 15
GRACE_SECONDS = 3


async def events(ctx: Context, tenant_id: str, page_token: str) -> EventSourceResponse:
    """The events of a page: one at once, one after each change; raises `NotFound` before the first.

    The stream ends after a quarter of an hour, or with the server; a browser that still waits opens
    it again.
    """
    first = await run_in_threadpool(consent_page.revision, ctx, tenant_id, page_token)
    ending = anyio.Event()
    return EventSourceResponse(
        _changes(ctx, tenant_id, page_token, first, ending),
        ping=PING_SECONDS,
        shutdown_event=ending,
        shutdown_grace_period=GRACE_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _changes(
    ctx: Context, tenant_id: str, page_token: str, seen: str, ending: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(seen, event="state", retry=RECONNECT_MILLISECONDS)
    for _ in range(LOOKS):
        with anyio.move_on_after(EVERY_SECONDS):
            await ending.wait()
        if ending.is_set():
            return
        try:
            now = await run_in_threadpool(consent_page.revision, ctx, tenant_id, page_token)
        except BrokerError:
            return
        if now != seen:
            seen = now
            yield ServerSentEvent(now, event="state")
