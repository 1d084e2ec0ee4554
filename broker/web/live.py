"""Live state: server-sent events that carry the page's revision whenever it changes."""

from collections.abc import AsyncIterator, Callable

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from broker.domain.errors import BrokerError

EVERY_SECONDS = 1.0
LOOKS = 900
RECONNECT_MILLISECONDS = 2_000
PING_SECONDS = 15
GRACE_SECONDS = 3


async def events(look: Callable[[], str]) -> EventSourceResponse:
    """The events of a page: one at once, one after each change of what `look` finds.

    Raises what the first look does. The stream ends after a quarter of an hour, or with the server;
    a browser that still waits opens it again.
    """
    first = await run_in_threadpool(look)
    ending = anyio.Event()
    return EventSourceResponse(
        _changes(look, first, ending),
        ping=PING_SECONDS,
        shutdown_event=ending,
        shutdown_grace_period=GRACE_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _changes(
    look: Callable[[], str], seen: str, ending: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(seen, event="state", retry=RECONNECT_MILLISECONDS)
    for _ in range(LOOKS):
        with anyio.move_on_after(EVERY_SECONDS):
            await ending.wait()
        if ending.is_set():
            return
        try:
            now = await run_in_threadpool(look)
        except BrokerError:
            return
        if now != seen:
            seen = now
            yield ServerSentEvent(now, event="state")
