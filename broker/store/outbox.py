"""The outbox: events, written in the transaction of their act, on their way to webhooks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_on_sqlite

from broker.store import tables
from broker.store.prepared import Prepared
from broker.store.unheld import unheld

EVENT = tables.OutgoingEvent.__table__  # type: ignore[attr-defined]
DELIVERY = tables.Delivery.__table__  # type: ignore[attr-defined]
PRUNED_AT_ONCE = 1_000
BURIED_AT_ONCE = 10_000

# Said in these words, or the partial indexes are not found.
_WAITS = DELIVERY.c.state == literal_column("'waiting'")
_IS_DEAD = DELIVERY.c.state == literal_column("'dead'")
_EARLIER = DELIVERY.alias("earlier")
FIRST = ~(
    select(_EARLIER.c.seq)
    .where(
        _EARLIER.c.webhook_id == DELIVERY.c.webhook_id,
        _EARLIER.c.subject == DELIVERY.c.subject,
        _EARLIER.c.state == literal_column("'waiting'"),
        _EARLIER.c.seq < DELIVERY.c.seq,
    )
    .exists()
)
"""That no earlier event of a delivery's subject waits for the same webhook."""

_ADD = {
    "sqlite": Prepared(insert_on_sqlite(EVENT).on_conflict_do_nothing()),
    "postgresql": Prepared(insert_on_postgresql(EVENT).on_conflict_do_nothing()),
}


@dataclass(frozen=True)
class EventRow:
    """An event; `body` is its JSON as it is sent, times are Unix seconds."""

    id: str
    tenant_id: str
    partner_id: str
    type: str
    subject: str
    time: int
    body: str
    created_at: int


@dataclass(frozen=True)
class DeliveryRow:
    """An event on its way to one webhook, with what it is; `code` says why it is not there yet."""

    seq: int
    event_id: str
    type: str
    subject: str
    time: int
    body: str
    attempts: int
    code: str | None
    expires_at: int
    done_at: int | None


def add(tx: Connection, row: EventRow) -> bool:
    """Store an event; False when one of its partner has this subject, type and time already."""
    return _ADD[tx.dialect.name].changed(tx, vars(row)) == 1


def address(tx: Connection, row: EventRow, webhook_ids: Sequence[str], expires_at: int) -> None:
    """Have an event sent to some webhooks, from its own time on."""
    tx.execute(
        insert(DELIVERY),
        [
            {
                "tenant_id": row.tenant_id,
                "webhook_id": webhook_id,
                "event_id": row.id,
                "subject": row.subject,
                "next_at": row.time,
                "expires_at": expires_at,
            }
            for webhook_id in webhook_ids
        ],
    )


def due(tx: Connection, webhook_id: str, now: int, limit: int) -> list[DeliveryRow]:
    """What is to be sent to a webhook now, the least tried first, of each subject the oldest."""
    mine = select(DELIVERY.c.seq).where(
        DELIVERY.c.webhook_id == webhook_id, _WAITS, DELIVERY.c.next_at <= now, FIRST
    )
    places = list(
        tx.execute(mine.order_by(DELIVERY.c.attempts, DELIVERY.c.seq).limit(limit)).scalars()
    )
    chosen = _joined(webhook_id).where(DELIVERY.c.seq.in_(places))
    found = tx.execute(chosen.order_by(DELIVERY.c.attempts, DELIVERY.c.seq))
    return [DeliveryRow(**row._mapping) for row in found]  # noqa: SLF001 (SQLAlchemy's public accessor)


def dead(tx: Connection, webhook_id: str, after: int, limit: int) -> list[DeliveryRow]:
    """Dead letters of a webhook behind `after`, in the order in which they happened."""
    chosen = _joined(webhook_id).where(_IS_DEAD, DELIVERY.c.seq > after)
    found = tx.execute(chosen.order_by(DELIVERY.c.seq).limit(limit))
    return [DeliveryRow(**row._mapping) for row in found]  # noqa: SLF001


def place(tx: Connection, webhook_id: str, event_id: str) -> int | None:
    """Where an event stands among those of a webhook; None when it is none of them."""
    found = select(DELIVERY.c.seq).where(
        DELIVERY.c.webhook_id == webhook_id, DELIVERY.c.event_id == event_id
    )
    return tx.execute(found).scalar_one_or_none()


def delivered(tx: Connection, seq: int, now: int) -> None:
    """Note that the receiver has an event."""
    _change(tx, seq, state="delivered", attempts=DELIVERY.c.attempts + 1, code=None, done_at=now)


def failed(tx: Connection, seq: int, code: str, next_at: int) -> None:
    """Note an attempt that failed, and when the next one is due."""
    _change(tx, seq, attempts=DELIVERY.c.attempts + 1, code=code, next_at=next_at)


def died(tx: Connection, seq: int, code: str, now: int) -> None:
    """Make a dead letter of an event that was not acknowledged in its time."""
    _change(tx, seq, state="dead", attempts=DELIVERY.c.attempts + 1, code=code, done_at=now)


def bury(tx: Connection, now: int) -> int:
    """Make dead letters of events whose time is over, whether anybody tries them or not."""
    over = unheld(DELIVERY, _WAITS, DELIVERY.c.expires_at <= now, limit=BURIED_AT_ONCE)
    some = update(DELIVERY).where(over)
    code = func.coalesce(DELIVERY.c.code, "expired")
    return tx.execute(some.values(state="dead", code=code, done_at=now)).rowcount


def hasten(tx: Connection, webhook_id: str, now: int, expires_at: int | None = None) -> None:
    """Have everything sent now that was tried before, and live until `expires_at` where named."""
    tried = (DELIVERY.c.webhook_id == webhook_id, _WAITS, DELIVERY.c.attempts > 0)
    until = {} if expires_at is None else {"expires_at": expires_at}
    tx.execute(update(DELIVERY).where(*tried).values(next_at=now, **until))


def wait_so_many(tx: Connection, webhook_id: str, number: int) -> bool:
    """Whether so many events or more wait for a webhook."""
    mine = select(DELIVERY.c.seq).where(DELIVERY.c.webhook_id == webhook_id, _WAITS)
    return tx.execute(mine.offset(number - 1).limit(1)).first() is not None


def replay(
    tx: Connection,
    webhook_id: str,
    *,
    now: int,
    expires_at: int,
    after: int,
    limit: int,
    since: int | None = None,
    event_ids: Collection[str] = (),
) -> tuple[int, str | None]:
    """Send dead letters again; with `since`, all that happened from then on.

    Those behind `after`, `limit` at most. How many they are, and the last where there are more.
    """
    ended: ColumnElement[bool] = _IS_DEAD
    if since is not None:
        later = select(EVENT.c.id).where(EVENT.c.id == DELIVERY.c.event_id, EVENT.c.time >= since)
        ended = DELIVERY.c.state.in_(("dead", "delivered")) & later.exists()
    elif event_ids:
        ended = DELIVERY.c.state.in_(("dead", "delivered")) & DELIVERY.c.event_id.in_(event_ids)
    chosen = select(DELIVERY.c.seq, DELIVERY.c.event_id)
    chosen = chosen.where(DELIVERY.c.webhook_id == webhook_id, ended, DELIVERY.c.seq > after)
    found = tx.execute(chosen.order_by(DELIVERY.c.seq).limit(limit + 1)).all()
    again = update(DELIVERY).where(DELIVERY.c.seq.in_([row.seq for row in found[:limit]]))
    values = {"state": "waiting", "attempts": 0, "next_at": now, "expires_at": expires_at}
    count = tx.execute(again.values(**values, done_at=None)).rowcount
    return count, found[limit - 1].event_id if len(found) > limit else None


def counts(tx: Connection, webhook_id: str, now: int) -> tuple[int, int]:
    """How many events of a webhook wait, those left out that are held back, and how many died."""
    of = select(DELIVERY.c.state, func.count().label("number")).where(
        DELIVERY.c.webhook_id == webhook_id,
        _IS_DEAD | (_WAITS & ((DELIVERY.c.next_at <= now) | (DELIVERY.c.attempts > 0))),
    )
    found = {row.state: row.number for row in tx.execute(of.group_by(DELIVERY.c.state))}
    return found.get("waiting", 0), found.get("dead", 0)


def totals(tx: Connection) -> tuple[int, int]:
    """How many events of every tenant wait for webhooks, and how many died."""
    waiting, dead = (
        select(func.count()).select_from(DELIVERY).where(one) for one in (_WAITS, _IS_DEAD)
    )
    return int(tx.execute(waiting).scalar_one()), int(tx.execute(dead).scalar_one())


def prune(tx: Connection, before: int) -> int:
    """Forget events that were written before then, sent or not; how many there were."""
    old = select(EVENT.c.id).where(EVENT.c.created_at < before).limit(PRUNED_AT_ONCE)
    ids = list(tx.execute(old).scalars())
    tx.execute(delete(DELIVERY).where(unheld(DELIVERY, DELIVERY.c.event_id.in_(ids))))
    left = select(DELIVERY.c.seq).where(DELIVERY.c.event_id == EVENT.c.id).exists()
    return tx.execute(delete(EVENT).where(unheld(EVENT, EVENT.c.id.in_(ids), ~left))).rowcount


def _joined(webhook_id: str) -> Select[Any]:
    of_delivery = ("seq", "event_id", "subject", "attempts", "code", "expires_at", "done_at")
    columns = [DELIVERY.c[name] for name in of_delivery]
    return (
        select(*columns, EVENT.c.type, EVENT.c.time, EVENT.c.body)
        .join(EVENT, EVENT.c.id == DELIVERY.c.event_id)
        .where(DELIVERY.c.webhook_id == webhook_id)
    )


def _change(tx: Connection, seq: int, **columns: Any) -> None:  # noqa: ANN401 (columns)
    waits = (DELIVERY.c.seq == seq, DELIVERY.c.state == "waiting")
    tx.execute(update(DELIVERY).where(*waits).values(**columns))
