"""The inbox: events of others, each once, until their consumer has acknowledged them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_on_sqlite

from broker.store import tables
from broker.store.tables.events import KEPT
from broker.store.unheld import unheld

EVENT = tables.IncomingEvent.__table__  # type: ignore[attr-defined]
SOURCE = tables.EventSource.__table__  # type: ignore[attr-defined]

ROWS_AT_ONCE = 100  # in one statement: SQLite takes 32,766 values, older ones 999
PRUNED_AT_ONCE = 1_000
PAGE_BYTES = 4_194_304


@dataclass(frozen=True)
class NewEvent:
    """An event to keep; `time` is Unix microseconds."""

    tenant_id: str
    source_id: str
    event_id: str
    subject_hash: str
    type: str
    time: int
    sealed_body: bytes
    received_at: int


@dataclass(frozen=True)
class KeptEvent:
    """An event that waits for its consumer."""

    seq: int
    source_id: str
    source: str
    event_id: str
    sealed_body: bytes
    received_at: int


def add(tx: Connection, rows: Sequence[NewEvent]) -> int:
    """Keep events; how many were not there before, by id or by subject, type and time."""
    count, sqlite = 0, tx.dialect.name == "sqlite"
    for first in range(0, len(rows), ROWS_AT_ONCE):
        values = [vars(row) for row in rows[first : first + ROWS_AT_ONCE]]
        statement = insert_on_sqlite(EVENT) if sqlite else insert_on_postgresql(EVENT)
        new = statement.values(values).on_conflict_do_nothing().returning(EVENT.c.seq)
        count += len(tx.execute(new).all())
    return count


def kept(
    tx: Connection, tenant_id: str, *, after: int, limit: int, source: str | None = None
) -> list[KeptEvent]:
    """Events that nobody has acknowledged, in the order in which they came, behind `after`.

    So many that their sealed bodies have `PAGE_BYTES` together, and one at least.
    """
    of_source = EVENT.join(SOURCE, SOURCE.c.id == EVENT.c.source_id)
    sizes = select(EVENT.c.seq, func.length(EVENT.c.sealed_body).label("size"))
    sizes = sizes.select_from(of_source)
    sizes = sizes.where(EVENT.c.tenant_id == tenant_id, KEPT, EVENT.c.seq > after)
    if source is not None:
        sizes = sizes.where(SOURCE.c.name == source)
    chosen: list[int] = []
    total = 0
    for row in tx.execute(sizes.order_by(EVENT.c.seq).limit(limit)):
        total += row.size
        if chosen and total > PAGE_BYTES:
            break
        chosen.append(row.seq)
    rows = tx.execute(
        select(
            EVENT.c.seq,
            EVENT.c.source_id,
            SOURCE.c.name.label("source"),
            EVENT.c.event_id,
            EVENT.c.sealed_body,
            EVENT.c.received_at,
        )
        .select_from(of_source)
        .where(EVENT.c.seq.in_(chosen), KEPT)
        .order_by(EVENT.c.seq)
    )
    return [KeptEvent(**row._mapping) for row in rows]  # noqa: SLF001 (SQLAlchemy's public accessor)


def acknowledge(tx: Connection, tenant_id: str, numbers: Collection[int], now: int) -> int:
    """Empty events that their consumer has; how many were not acknowledged before."""
    done = tx.execute(
        update(EVENT)
        .where(EVENT.c.tenant_id == tenant_id, KEPT, EVENT.c.seq.in_(numbers))
        .values(acknowledged_at=now, sealed_body=None)
    )
    return done.rowcount


def waiting(tx: Connection) -> tuple[int, int | None]:
    """How many events of every tenant wait for a consumer, and since when the first."""
    found = select(func.count(), func.min(EVENT.c.received_at)).where(KEPT)
    count, since = tx.execute(found).one()
    return int(count), since


def of_source(tx: Connection, source_id: str) -> tuple[int, int]:
    """How many events of a source wait for a consumer, and the bytes of their sealed bodies."""
    size = func.coalesce(func.sum(func.length(EVENT.c.sealed_body)), 0)
    found = select(func.count(), size).where(EVENT.c.source_id == source_id, KEPT)
    count, total = tx.execute(found).one()
    return int(count), int(total)


def give_up(tx: Connection, before: int) -> int:
    """Forget events that came before then and that nobody has fetched; how many there were."""
    old = unheld(EVENT, KEPT, EVENT.c.received_at < before, limit=PRUNED_AT_ONCE)
    return tx.execute(delete(EVENT).where(old)).rowcount


def prune(tx: Connection, before: int) -> int:
    """Forget events that were acknowledged before then; how many there were."""
    old = unheld(EVENT, EVENT.c.acknowledged_at < before, limit=PRUNED_AT_ONCE)
    return tx.execute(delete(EVENT).where(old)).rowcount
