"""Take events of other systems: signed, each once, durable before they are accepted.

1. An open circuit, and an address that has sent too many bad signatures, are refused unread.
2. The signature is verified, then the body is read, beside the event loop, a few of a source at a
   time.
3. So many events a second are taken of each source; what is over is refused as a whole, and its
   sender keeps it.
4. One transaction keeps those that are new.

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
FORGET_SECONDS: Final = 30 * 86_400
"""How long an acknowledged event is known, so that it is not taken again."""
MALFORMED, FLOOD = "malformed", "flood"


class SourceBusy(BrokerError):
    """More than a source may send now: the sender keeps it and repeats it after `retry_after` s."""

    code = "event_source_busy"

    def __init__(self, seconds: float) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__("more events than this source may send now: send these again later")


class SourcePaused(SourceBusy):
    """The circuit of a source is open: nothing of it is looked at before `retry_after` seconds."""

    code = "event_source_paused"


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


class Gate:
    """What one worker lets in: counts of its own, in bounded room, in its event loop."""

    def __init__(self, settings: Settings) -> None:
        rate = settings.rate_limits.get(RATE)
        self._events = None if rate is None else Buckets(rate.per_second, rate.burst)
        self._bad = Buckets(BAD_A_SECOND, BAD_AT_ONCE)
        self._blocked: dict[Hashable, float] = {}
        self._working: dict[str, int] = {}
        self.strikes = Strikes()

    def enter(self, row: SourceRow, address: str, now: int) -> None:
        """Step 1. Raises `SourcePaused`, `SourceBusy`."""
        if now < row.open_until:
            raise SourcePaused(row.open_until - now)
        blocked = self._blocked.get((row.id, address), 0.0) - time.monotonic()
        if blocked > 0:
            raise SourceBusy(blocked)

    @contextmanager
    def working(self, row: SourceRow) -> Iterator[None]:
        """One of the few requests of a source that are worked on. Raises `SourceBusy`."""
        busy = self._working.get(row.id, 0)
        if busy >= (1 if row.opened else AT_ONCE):
            raise SourceBusy(1)
        self._working[row.id] = busy + 1
        try:
            yield
        finally:
            left = self._working[row.id] - 1
            if left:
                self._working[row.id] = left
            else:
                del self._working[row.id]

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


async def receive(ctx: Context, gate: Gate, row: SourceRow, sent: Sent) -> Received:
    """Keep the events of a request.

    Raises `SourcePaused`, `SourceBusy`, `SignatureRefused`, `InvalidEvent`.
    """
    gate.enter(row, sent.address, ctx.now())
    with gate.working(row):
        try:
            events = await asyncio.to_thread(_read, ctx, row, sent)
            gate.count(row, len(events))
        except SignatureRefused:
            gate.bad_signature(row, sent.address)
            raise
        except (InvalidEvent, SourceBusy) as error:
            if row.opened or gate.strikes.strike(row.id):
                reason = FLOOD if isinstance(error, SourceBusy) else MALFORMED
                await asyncio.to_thread(_open, ctx, row, reason)
            raise
        added = await asyncio.to_thread(_keep, ctx, row, events)
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
    return NewEvent(
        tenant_id=row.tenant_id,
        source_id=row.id,
        event_id=event.id,
        subject_hash=_subject_hash(ctx.keys.hmac_key("event"), row.id, event.subject),
        type=event.type,
        time=event.time,
        sealed_body=ctx.master.seal(event.body, f"incoming:{row.id}:{event.id}"),
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


def _read(ctx: Context, row: SourceRow, sent: Sent) -> list[Incoming]:
    standard.verify(secrets_of(ctx, row), sent.headers, sent.body, ctx.now())
    return read_events(sent.body, sent.media_type, max_bytes=ctx.settings.max_body_bytes)


def _keep(ctx: Context, row: SourceRow, events: Sequence[Incoming]) -> int:
    rows = [kept(ctx, row, one) for one in events]
    with ctx.db.transaction() as tx:
        if row.opened:
            sources.change(tx, row.id, opened=0, open_until=0, reason=None)
        return inbox.add(tx, rows)


def _open(ctx: Context, row: SourceRow, reason: str) -> None:
    until = ctx.now() + pause_seconds(row.opened)
    with ctx.db.transaction() as tx:
        sources.trip(tx, row, open_until=until, reason=reason)


def _subject_hash(key: bytes, source_id: str, subject: str) -> str:
    return b64url(hmac.digest(key, f"{source_id}\x00{subject}".encode(), hashlib.sha256))


def _context(row: KeptEvent) -> str:
    return f"incoming:{row.source_id}:{row.event_id}"
