"""Send what is in the outbox: signed, at least once, again after failures, until acknowledged.

A turn is for one webhook, which one worker holds meanwhile (a lease in its row), so that in normal
running nothing is sent twice; after a crash between an acknowledgement and its commit it is. In a
turn events go out one after the other, of each subject the oldest first, so many a second at most.
A partner has one turn at a time, whatever it has registered, and half of the threads take no
webhook that was slow the last time: who answers late makes others like him wait.

    2xx                      acknowledged
    410                      the webhook is disabled; its events wait for a replay, which enables it
    400, 409, 413, 415, 422  this event is refused: it is tried again later, others go on
    all else, no answer      the address fails: it is left alone for a while, then tried again

An event that is not acknowledged within `GIVE_UP_SECONDS` is a dead letter, tried again or not. Of
what others answer the status alone is looked at.
"""

import threading
import time
from collections.abc import Callable, Sequence
from secrets import randbelow
from typing import Final

import structlog
from sqlalchemy import Connection

from broker.domain import webhook as standard
from broker.domain.errors import NotFound, OutgoingError
from broker.domain.event import MEDIA_TYPE
from broker.outbound.guarded import GuardedClient, rules_of
from broker.store import outbox, webhooks
from broker.store.acting import acting_for, acting_for_all
from broker.store.outbox import DeliveryRow
from broker.store.webhooks import FAILING, LEASE_SECONDS, WebhookRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.webhook import secrets_of

ANSWER_SECONDS: Final = 10.0
TURN_SECONDS: Final = 5.0
SLOW_SECONDS: Final = 1.0
"""An answer that takes longer makes its webhook a slow one."""
MOST_SLOW: Final = 1_000
A_SECOND: Final = 32
THREADS: Final = 4
POLL_SECONDS: Final = 1.0
LOOKED_AT: Final = 2 * THREADS
_EVERY_STATUS: Final = range(100, 600)

_log = structlog.get_logger("broker")

Draw = Callable[[int], int]


class Slow:
    """The webhooks that answered late in their last turn here, in bounded room."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._lock = threading.Lock()

    def ids(self) -> list[str]:
        """Those that are slow now."""
        with self._lock:
            return list(self._ids)

    def note(self, webhook_id: str, seconds: float) -> None:
        """Keep how long the slowest answer of a turn took."""
        with self._lock:
            self._ids.pop(webhook_id, None)
            if seconds > SLOW_SECONDS:
                self._ids[webhook_id] = None
            if len(self._ids) > MOST_SLOW:
                del self._ids[next(iter(self._ids))]


class Deliverer:
    """Sends from the outbox in threads of its own; any number of processes may."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._stopping = threading.Event()
        self._client = client_of(ctx)
        self._slow = Slow()
        self._threads = [
            threading.Thread(
                target=self._run, args=(number % 2 == 0,), name=f"deliver-{number}", daemon=True
            )
            for number in range(THREADS)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is being sent now."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, quick_only: bool) -> None:  # noqa: FBT001 (a thread's argument)
        while not self._stopping.is_set():
            try:
                worked = deliver_some(
                    self._ctx,
                    self._client,
                    stopping=self._stopping,
                    slow=self._slow,
                    quick_only=quick_only,
                )
            except Exception:  # noqa: BLE001 (whatever it is, all others' events have to go on)
                _log.exception("events_not_delivered")
                worked = False
            if not worked:
                self._stopping.wait(POLL_SECONDS)


def client_of(ctx: Context) -> GuardedClient:
    """The client that events are sent with."""
    return GuardedClient(rules_of(ctx.settings), seconds=ANSWER_SECONDS)


def deliver_some(
    ctx: Context,
    client: GuardedClient,
    *,
    draw: Draw = randbelow,
    stopping: threading.Event | None = None,
    slow: Slow | None = None,
    quick_only: bool = False,
) -> bool:
    """One turn of a webhook that has something to send and nobody holds; False for none.

    With `quick_only` of one that is not among the slow.
    """
    slow = slow or Slow()
    without = slow.ids() if quick_only else []
    with acting_for_all(), ctx.db.reading() as tx:
        found = webhooks.due(tx, ctx.now(), LOOKED_AT, without)
    for row in found:
        with acting_for(row.tenant_id):
            now = ctx.now()
            mine = now + LEASE_SECONDS
            with ctx.db.transaction() as tx:
                held = webhooks.lease(tx, row, now, mine)
            if not held:
                continue
            try:
                _turn(ctx, client, row, draw, stopping or threading.Event(), slow)
            finally:
                with ctx.db.transaction() as tx:
                    webhooks.release(tx, row.id, mine, ctx.now() + 1)
            return True
    return False


def bury_old(ctx: Context) -> int:
    """Make dead letters of events that were not acknowledged in their time; how many."""
    with ctx.db.transaction() as tx:
        return outbox.bury(tx, ctx.now())


def forget_old(ctx: Context) -> int:
    """Forget events whose time to be sent again is over; how many those were."""
    with ctx.db.transaction() as tx:
        return outbox.prune(tx, ctx.now() - standard.KEPT_SECONDS)


def _turn(
    ctx: Context,
    client: GuardedClient,
    found: WebhookRow,
    draw: Draw,
    stopping: threading.Event,
    slow: Slow,
) -> None:
    began, longest = time.monotonic(), 0.0
    with ctx.db.reading() as tx:
        webhook = webhooks.find(tx, found.tenant_id, found.id)  # its secret may be another by now
        waiting = outbox.due(tx, webhook.id, ctx.now(), A_SECOND)
    secrets = secrets_of(ctx, webhook)
    for one in waiting:
        if stopping.is_set() or time.monotonic() - began > TURN_SECONDS:
            return
        asked = time.monotonic()
        code = _send(client, webhook.url, one, ctx.now(), secrets)
        longest = max(longest, time.monotonic() - asked)
        slow.note(webhook.id, longest)
        try:
            with ctx.db.transaction() as tx:
                row = webhooks.find(tx, webhook.tenant_id, webhook.id, lock=True)
                goes_on = _write(ctx, tx, row, one, code, draw)
        except NotFound:  # it was removed meanwhile
            return
        if not goes_on:
            return


def _send(
    client: GuardedClient, url: str, one: DeliveryRow, now: int, secrets: Sequence[bytes]
) -> str | int:
    """The HTTP status, or why there was none."""
    body = one.body.encode()
    try:
        answer = client.post(
            url,
            body,
            content_type=MEDIA_TYPE,
            statuses=_EVERY_STATUS,
            read=False,
            headers=standard.headers(one.event_id, now, body, secrets),
        )
    except OutgoingError as error:
        return error.reason
    return answer.status


def _write(
    ctx: Context, tx: Connection, row: WebhookRow, one: DeliveryRow, code: str | int, draw: Draw
) -> bool:
    """Keep what an attempt has come to; whether the turn goes on."""
    now = ctx.now()
    if isinstance(code, int) and standard.acknowledged(code):
        outbox.delivered(tx, one.seq, now)
        webhooks.answered(tx, row.id, now)
        if row.failures >= FAILING:
            outbox.hasten(tx, row.id, now)
        return True
    told = f"status_{code}" if isinstance(code, int) else code
    if code == standard.GONE:
        if webhooks.disable(tx, row.id, told):
            body = {"webhook": row.id, "partner": row.partner_id}
            audit.record(ctx, tx, tenant_id=row.tenant_id, type="webhook.disabled", body=body)
        return False
    if now >= one.expires_at:
        outbox.died(tx, one.seq, told, now)
    else:
        outbox.failed(tx, one.seq, told, now + standard.pause(one.attempts + 1, draw))
    if isinstance(code, int) and standard.refuses_event(code):
        webhooks.refused(tx, row.id, told, now)
        return True
    webhooks.failed(tx, row.id, told, now, now + standard.pause(row.failures + 1, draw))
    return False
