"""Rows of sources of events: other systems, and the circuit of each."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict
from broker.store import tables

SOURCE = tables.EventSource.__table__  # type: ignore[attr-defined]
EVENT = tables.IncomingEvent.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class SourceRow:
    """A source; times are Unix seconds."""

    id: str
    tenant_id: str
    name: str
    sealed_secret: bytes
    sealed_previous: bytes | None
    previous_until: int | None
    opened: int
    open_until: int
    reason: str | None
    created_at: int


def add(tx: Connection, row: SourceRow) -> None:
    """Store a new source; raises `StateConflict` when its tenant has one of this name."""
    try:
        with tx.begin_nested():
            tx.execute(insert(SOURCE).values(**vars(row)))
    except IntegrityError:
        raise StateConflict("there is a source of this name already") from None


def find(tx: Connection, tenant_id: str, name: str, *, lock: bool = False) -> SourceRow:
    """A source by its name; raises `NotFound`. With `lock` nobody else changes it."""
    chosen = select(SOURCE).where(SOURCE.c.tenant_id == tenant_id, SOURCE.c.name == name)
    row = tx.execute(chosen.with_for_update(key_share=True) if lock else chosen).one_or_none()
    if row is None:
        raise NotFound("no such source of events")
    return SourceRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def hold(tx: Connection, source_id: str) -> None:
    """Have others that write events of a source wait for this; raises `NotFound`."""
    chosen = select(SOURCE.c.id).where(SOURCE.c.id == source_id).with_for_update(key_share=True)
    if tx.execute(chosen).first() is None:
        raise NotFound("no such source of events")


def of_tenant(tx: Connection, tenant_id: str) -> list[SourceRow]:
    """The sources of a tenant, by name."""
    chosen = select(SOURCE).where(SOURCE.c.tenant_id == tenant_id).order_by(SOURCE.c.name)
    return [SourceRow(**row._mapping) for row in tx.execute(chosen)]  # noqa: SLF001


def refused(tx: Connection) -> list[SourceRow]:
    """Sources of every tenant whose circuit is not closed."""
    chosen = select(SOURCE).where(SOURCE.c.opened > 0).order_by(SOURCE.c.id)
    return [SourceRow(**row._mapping) for row in tx.execute(chosen)]  # noqa: SLF001


def change(tx: Connection, source_id: str, **columns: Any) -> None:  # noqa: ANN401 (columns)
    """Write columns of a source."""
    tx.execute(update(SOURCE).where(SOURCE.c.id == source_id).values(**columns))


def trip(tx: Connection, row: SourceRow, *, open_until: int, reason: str) -> bool:
    """Open a circuit, unless another worker was first."""
    done = tx.execute(
        update(SOURCE)
        .where(SOURCE.c.id == row.id, SOURCE.c.open_until == row.open_until)
        .values(opened=SOURCE.c.opened + 1, open_until=open_until, reason=reason)
    )
    return done.rowcount == 1


def remove(tx: Connection, source_id: str) -> bool:
    """Forget a source and what was acknowledged of it; False while its events wait."""
    mine = EVENT.c.source_id == source_id
    waiting = select(EVENT.c.seq).where(mine, EVENT.c.acknowledged_at.is_(None)).limit(1)
    if tx.execute(waiting).first() is not None:
        return False
    tx.execute(delete(EVENT).where(mine))
    tx.execute(delete(SOURCE).where(SOURCE.c.id == source_id))
    return True
