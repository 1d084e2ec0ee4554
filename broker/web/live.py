"""Live state: server-sent events that carry the page's revision whenever it changes.

What open pages cost is bounded: so many streams of a page and of a process stay open, and however
many they are, so many looks a second are made for all together. Whoever comes when there is no
place left is told the revision, once, and when to ask again: a browser then polls by itself (HTML
standard, section 9.2), and has a stream as soon as there is a place.
"""

import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import contextmanager
from secrets import randbelow

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from broker.domain.errors import BrokerError

OPEN_OF_A_PAGE = 6
OPEN_AT_MOST = 1_000
LOOKS_A_SECOND = 100
"""A look was measured at 3.3 ms (docs/deployment.md): a third of a processor at most."""
EVERY_SECONDS = 1.0
LASTS_SECONDS = 900
RECONNECT_MILLISECONDS = 2_000
POLL_MILLISECONDS = 10_000
PING_SECONDS = 15
GRACE_SECONDS = 3


class Places:
    """The streams that are open in this process, by page. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def taken(self, page: Hashable) -> Iterator[bool]:
        """A place until the block ends, or False when there is none."""
        with self._lock:
            room = self._open[page] < OPEN_OF_A_PAGE and len(self) < OPEN_AT_MOST
            if room:
                self._open[page] += 1
        try:
            yield room
        finally:
            with self._lock:
                self._open[page] -= room
                if not self._open[page]:
                    del self._open[page]

    def pause(self) -> float:
        """How many seconds each stream waits between two looks."""
        return max(EVERY_SECONDS, len(self) / LOOKS_A_SECOND)


places = Places()


async def events(page: Hashable, look: Callable[[], str]) -> EventSourceResponse:
    """The events of a page: one at once, one after each change of what `look` finds.

    Raises what the first look does. The stream ends after a quarter of an hour, or with the server;
    a browser that still waits opens it again.
    """
    first = await run_in_threadpool(look)
    ending = anyio.Event()
    return EventSourceResponse(
        _changes(page, look, first, ending),
        ping=PING_SECONDS,
        shutdown_event=ending,
        shutdown_grace_period=GRACE_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _changes(
    page: Hashable, look: Callable[[], str], seen: str, ending: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    with places.taken(page) as placed:
        if not placed:
            again = POLL_MILLISECONDS + randbelow(POLL_MILLISECONDS)
            yield ServerSentEvent(seen, event="state", retry=again)
            return
        yield ServerSentEvent(seen, event="state", retry=RECONNECT_MILLISECONDS)
        ends = anyio.current_time() + LASTS_SECONDS
        while anyio.current_time() < ends:
            with anyio.move_on_after(places.pause()):
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
