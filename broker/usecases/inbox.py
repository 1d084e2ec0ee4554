"""Take events of other systems: signed, each once, durable before they are accepted.

1. An open circuit, and an address that has sent too many bad signatures, are refused unread.
2. The signature is verified beside the event loop, a few of an address at a time. Only then does a
   request take one of its source's few places, and its body is read.
3. So many events a second are taken of each source, and so many may wait for their consumer; what
   is over is refused as a whole, and its sender keeps it.
4. One transaction of a source at a time keeps those that are new.

Bad signatures count against the address that they came from, never against the source: strangers
could shut it out. Malformed events and floods are signed, so they count against their source.
"""

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from broker.domain import webhook as standard
from broker.domain.buckets import Buckets
from broker.domain.circuit import Strikes, pause_seconds
from broker.domain.errors import BrokerError
from broker.domain.incoming import Incoming, InvalidEvent, read_events
from broker.domain.webhook import SignatureRefused
from broker.settings import Settings
from broker.store import inbox, sources
from broker.store.inbox import KeptEvent, NewEvent
from broker.store.sources import SourceRow
from broker.usecases.context import Context
from broker.usecases.source import secrets_of
from credentials.jcs import b64url

RATE: Final = "events"
AT_ONCE: Final = 4
BAD_A_SECOND: Final = 0.2
BAD_AT_ONCE: Final = 20
MOST_WAITING: Final = 500_000
MOST_BYTES: Final = 1_073_741_824
MEASURED_SECONDS: Final = 10.0
"""How long a worker relies on what it has measured of an inbox, and its own additions."""
GIVE_UP_SECONDS: Final = 90 * 86_400
"""How long an event waits for a consumer."""
FORGET_SECONDS: Final = 30 * 86_400
"""How long an acknowledged event is known, so that it is not taken again."""
MALFORMED, FLOOD = "malformed", "flood"

_log = structlog.get_logger("broker")


class SourceBusy(BrokerError):
    """More than a source may send now: the sender keeps it and repeats it after `retry_after` s."""

    code = "event_source_busy"

    def __init__(self, seconds: float) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__("more events than this source may send now: send these again later")


class SourcePaused(SourceBusy):
    """The circuit of a source is open: nothing of it is looked at before `retry_after` seconds."""

    code = "event_source_paused"


class SourceFull(SourceBusy):
    """So many events of a source wait that no more are taken before its consumer has fetched."""

    code = "event_source_full"


@dataclass(frozen=True)
class Sent:
    """A request as it came: header names in lower case, the content type without parameters."""

    address: str
    headers: Mapping[str, str]
    media_type: str
    body: bytes


@dataclass(frozen=True)
class Received:
    """How many events are kept, and how many were there before."""

    accepted: int
    duplicates: int


@dataclass
class _Filled:
    """What waits of a source, as it was measured, with what was added here since."""

    count: int
    size: int
    until: float


class Gate:
    """What one worker lets in: counts of its own, in bounded room, in its event loop."""

    def __init__(self, settings: Settings) -> None:
        rate = settings.rate_limits.get(RATE)
        self._events = None if rate is None else Buckets(rate.per_second, rate.burst)
        self._bad = Buckets(BAD_A_SECOND, BAD_AT_ONCE)
        self._blocked: dict[Hashable, float] = {}
        self._working: dict[Hashable, int] = {}
        self._filled: dict[str, _Filled] = {}
        self.strikes = Strikes()

    def enter(self, row: SourceRow, address: str, now: int) -> None:
        """Step 1. Raises `SourcePaused`, `SourceBusy`."""
        if now < row.open_until:
            raise SourcePaused(row.open_until - now)
        blocked = self._blocked.get((row.id, address), 0.0) - time.monotonic()
        if blocked > 0:
            raise SourceBusy(blocked)

    @contextmanager
    def verifying(self, row: SourceRow, address: str) -> Iterator[None]:
        """One of the few requests of an address that are verified. Raises `SourceBusy`."""
        with self._place((row.id, address), AT_ONCE):
            yield

    @contextmanager
    def working(self, row: SourceRow) -> Iterator[None]:
        """One of the few requests of a source that are worked on. Raises `SourceBusy`."""
        with self._place(row.id, 1 if row.opened else AT_ONCE):
            yield

    @contextmanager
    def _place(self, key: Hashable, most: int) -> Iterator[None]:
        busy = self._working.get(key, 0)
        if busy >= most:
            raise SourceBusy(1)
        self._working[key] = busy + 1
        try:
            yield
        finally:
            left = self._working[key] - 1
            if left:
                self._working[key] = left
            else:
                del self._working[key]

    def bad_signature(self, row: SourceRow, address: str) -> None:
        """Count a bad signature against its address."""
        key, now = (row.id, address), time.monotonic()
        taken = self._bad.take(key, now)
        if not taken.admitted:
            self._blocked = {known: until for known, until in self._blocked.items() if until > now}
            self._blocked[key] = now + taken.reset

    def count(self, row: SourceRow, number: int) -> None:
        """Step 3. Raises `SourceBusy`."""
        if self._events is None:
            return
        taken = self._events.take(row.id, time.monotonic(), number)
        if not taken.admitted:
            raise SourceBusy(taken.reset)

    def filled(self, row: SourceRow) -> bool | None:
        """Whether so much of a source waits that no more is taken; None where it is not known."""
        known = self._filled.get(row.id)
        if known is None or time.monotonic() >= known.until:
            return None
        return known.count >= MOST_WAITING or known.size >= MOST_BYTES

    def measured(self, row: SourceRow, count: int, size: int) -> None:
        """Rely on what waits of a source for a while."""
        self._filled[row.id] = _Filled(count, size, time.monotonic() + MEASURED_SECONDS)

    def added(self, row: SourceRow, events: Sequence[Incoming]) -> None:
        """Count what was kept."""
        known = self._filled.get(row.id)
        if known is not None:
            known.count += len(events)
            known.size += sum(len(one.body) for one in events)


async def receive(ctx: Context, gate: Gate, row: SourceRow, sent: Sent) -> Received:
    """Keep the events of a request.

    Raises `SourcePaused`, `SourceBusy`, `SourceFull`, `SignatureRefused`, `InvalidEvent`,
    `NotFound` (the source was removed meanwhile).
    """
    gate.enter(row, sent.address, ctx.now())
    with gate.verifying(row, sent.address):
        try:
            await asyncio.to_thread(_verify, ctx, row, sent)
        except SignatureRefused:
            gate.bad_signature(row, sent.address)
            raise
    with gate.working(row):
        if gate.filled(row) is None:
            gate.measured(row, *await asyncio.to_thread(_measure, ctx, row))
        if gate.filled(row):  # its consumer's fault, and no strike
            raise SourceFull(MEASURED_SECONDS)
        try:
            events = await asyncio.to_thread(_read, ctx, sent)
            gate.count(row, len(events))
        except (InvalidEvent, SourceBusy) as error:
            if row.opened or gate.strikes.strike(row.id):
                reason = FLOOD if isinstance(error, SourceBusy) else MALFORMED
                await asyncio.to_thread(_open, ctx, row, reason)
            raise
        added = await asyncio.to_thread(_keep, ctx, row, events)
        gate.added(row, events)
        gate.strikes.clear(row.id)
    return Received(added, len(events) - added)


def events_kept(
    ctx: Context, tenant_id: str, *, after: int, limit: int, source: str | None = None
) -> list[tuple[KeptEvent, bytes]]:
    """Events that no consumer has acknowledged, in the order in which they came, opened."""
    with ctx.db.reading() as tx:
        found = inbox.kept(tx, tenant_id, after=after, limit=limit, source=source)
    return [(row, ctx.master.open(row.sealed_body, _context(row))) for row in found]


def kept(ctx: Context, row: SourceRow, event: Incoming) -> NewEvent:
    """An event of a source as it is kept: sealed, its subject as a keyed hash."""
    key = ctx.keys.hmac_key("event")
    event_id = _hash(key, row.id, event.source, event.id)
    return NewEvent(
        tenant_id=row.tenant_id,
        source_id=row.id,
        event_id=event_id,
        subject_hash=_hash(key, row.id, event.source, event.subject),
        type=event.type,
        time=event.time,
        sealed_body=ctx.master.seal(event.body, f"incoming:{row.id}:{event_id}"),
        received_at=ctx.now(),
    )


def acknowledge(ctx: Context, tenant_id: str, numbers: Sequence[int]) -> int:
    """Let go of events that their consumer has; how many were there still."""
    with ctx.db.transaction() as tx:
        return inbox.acknowledge(tx, tenant_id, numbers, ctx.now())


def forget_acknowledged(ctx: Context) -> int:
    """Forget events that were acknowledged long ago; how many those were."""
    with ctx.db.transaction() as tx:
        return inbox.prune(tx, ctx.now() - FORGET_SECONDS)


def forget_unfetched(ctx: Context) -> int:
    """Forget events that nobody has fetched for all too long; how many those were."""
    with ctx.db.transaction() as tx:
        count = inbox.give_up(tx, ctx.now() - GIVE_UP_SECONDS)
    if count:
        _log.warning("events_never_fetched", count=count, days=GIVE_UP_SECONDS // 86_400)
    return count


def _verify(ctx: Context, row: SourceRow, sent: Sent) -> None:
    standard.verify(secrets_of(ctx, row), sent.headers, sent.body, ctx.now())


def _measure(ctx: Context, row: SourceRow) -> tuple[int, int]:
    with ctx.db.reading() as tx:
        return inbox.of_source(tx, row.id)


def _read(ctx: Context, sent: Sent) -> list[Incoming]:
    return read_events(sent.body, sent.media_type, max_bytes=ctx.settings.max_body_bytes)


def _keep(ctx: Context, row: SourceRow, events: Sequence[Incoming]) -> int:
    rows = [kept(ctx, row, one) for one in events]
    with ctx.db.transaction() as tx:
        sources.hold(tx, row.id)  # batches that overlap would lock each other's events
        if row.opened:
            sources.change(tx, row.id, opened=0, open_until=0, reason=None)
        return inbox.add(tx, rows)


def _open(ctx: Context, row: SourceRow, reason: str) -> None:
    until = ctx.now() + pause_seconds(row.opened)
    with ctx.db.transaction() as tx:
        sources.trip(tx, row, open_until=until, reason=reason)


def _hash(key: bytes, source_id: str, source: str, text: str) -> str:
    # Neither can hold a NUL: they are printable.
    return b64url(hmac.digest(key, f"{source_id}\x00{source}\x00{text}".encode(), hashlib.sha256))


def _context(row: KeptEvent) -> str:
    return f"incoming:{row.source_id}:{row.event_id}"
