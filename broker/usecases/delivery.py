"""Send what is in the outbox: signed, at least once, again after failures, until acknowledged.

A turn is for one webhook, which one worker holds meanwhile (a lease in its row), so that in normal
running nothing is sent twice; after a crash between an acknowledgement and its commit it is. In a
turn events go out one after the other, of each subject the oldest first, so many a second at most.

    2xx                      acknowledged
    410                      the webhook is disabled; its events wait for a replay, which enables it
    400, 409, 413, 415, 422  this event is refused: it is tried again later, others go on
    all else, no answer      the address fails: it is left alone for a while, then tried again

An event that is not acknowledged within `GIVE_UP_SECONDS` is a dead letter. What others answer is
kept as a short code and never read further.
"""

import threading
import time
from collections.abc import Callable, Sequence
from secrets import randbelow
from typing import Final

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from broker.domain import webhook as standard
from broker.domain.errors import BrokerError, NotFound, OutgoingError
from broker.domain.event import MEDIA_TYPE
from broker.outbound.guarded import GuardedClient, rules_of
from broker.store import outbox, webhooks
from broker.store.acting import acting_for, acting_for_all
from broker.store.outbox import DeliveryRow
from broker.store.webhooks import FAILING, WebhookRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.webhook import secrets_of
from credentials.errors import CredentialError

ANSWER_SECONDS: Final = 10.0
LARGEST_ANSWER: Final = 65_536
TURN_SECONDS: Final = 20.0
LEASE_SECONDS: Final = 90
"""Longer than any turn: its last event begins before `TURN_SECONDS` and takes `ANSWER_SECONDS`."""
A_SECOND: Final = 32
THREADS: Final = 4
POLL_SECONDS: Final = 1.0
LOOKED_AT: Final = 2 * THREADS
_EVERY_STATUS: Final = range(100, 600)

_log = structlog.get_logger("broker")

Draw = Callable[[int], int]


class Deliverer:
    """Sends from the outbox in threads of its own; any number of processes may."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._stopping = threading.Event()
        self._client = client_of(ctx)
        self._threads = [
            threading.Thread(target=self._run, name=f"deliver-{number}", daemon=True)
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

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                worked = deliver_some(self._ctx, self._client, stopping=self._stopping)
            except (SQLAlchemyError, BrokerError, CredentialError):
                _log.exception("events_not_delivered")
                worked = False
            if not worked:
                self._stopping.wait(POLL_SECONDS)


def client_of(ctx: Context) -> GuardedClient:
    """The client that events are sent with."""
    return GuardedClient(rules_of(ctx.settings), seconds=ANSWER_SECONDS, max_bytes=LARGEST_ANSWER)


def deliver_some(
    ctx: Context,
    client: GuardedClient,
    *,
    draw: Draw = randbelow,
    stopping: threading.Event | None = None,
) -> bool:
    """One turn of a webhook that has something to send and nobody holds; False for none."""
    with acting_for_all(), ctx.db.reading() as tx:
        found = webhooks.due(tx, ctx.now(), LOOKED_AT)
    for row in found:
        with acting_for(row.tenant_id):
            now = ctx.now()
            with ctx.db.transaction() as tx:
                held = webhooks.lease(tx, row.id, now, now + LEASE_SECONDS)
            if not held:
                continue
            try:
                _turn(ctx, client, row, draw, stopping or threading.Event())
            finally:
                with ctx.db.transaction() as tx:
                    webhooks.release(tx, row.id, ctx.now() + 1)
            return True
    return False


def forget_old(ctx: Context) -> int:
    """Forget events whose time to be sent again is over; how many those were."""
    with ctx.db.transaction() as tx:
        return outbox.prune(tx, ctx.now() - standard.KEPT_SECONDS)


def _turn(
    ctx: Context, client: GuardedClient, found: WebhookRow, draw: Draw, stopping: threading.Event
) -> None:
    began = time.monotonic()
    with ctx.db.reading() as tx:
        webhook = webhooks.find(tx, found.tenant_id, found.id)  # its secret may be another by now
        waiting = outbox.due(tx, webhook.id, ctx.now(), A_SECOND)
    secrets = secrets_of(ctx, webhook)
    for one in waiting:
        if stopping.is_set() or time.monotonic() - began > TURN_SECONDS:
            return
        code = _send(client, webhook.url, one, ctx.now(), secrets)
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
        return True
    webhooks.failed(tx, row.id, told, now, now + standard.pause(row.failures + 1, draw))
    return False
