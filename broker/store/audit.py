"""Rows of audit entries: those that wait for an index, and those that have one.

Statements only: the caller has the transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Row,
    bindparam,
    cast,
    func,
    insert,
    or_,
    select,
)

from broker.domain.entry import SealedEntry
from broker.domain.errors import LogError
from broker.store import tables
from broker.store.tables.log import HELD

PENDING = tables.AuditPending.__table__  # type: ignore[attr-defined]
ENTRY = tables.AuditEntry.__table__  # type: ignore[attr-defined]

DECISION = "decision"

# The columns that an appended entry brings, and where it has them.
_APPENDED = (
    "id",
    "tenant_id",
    "type",
    "consent_id",
    "subject_id",
    "leaf_data",
    "sealed_body",
    "created_at",
)
_in_order = attrgetter(*(name if name != "created_at" else "time" for name in _APPENDED))

LOOKED_THROUGH = 1_000_000

# Built once: building a statement takes longer than executing it.
_LEAF_DATA = {
    "sqlite": (
        select(ENTRY.c.leaf_data)
        .where(ENTRY.c.log_index >= bindparam("start"), ENTRY.c.log_index < bindparam("end"))
        .order_by(ENTRY.c.log_index)
    ),
    # Hashes of every tenant's entries: the one thing that crosses tenants, and it is public.
    "postgresql": select(
        func.log_leaf_data(
            cast(bindparam("start"), BigInteger), cast(bindparam("end"), BigInteger)
        ).column_valued("leaf_data")
    ),
}


@dataclass(frozen=True)
class Pending:
    """An entry that waits: its order, and what the tree needs of it.

    `shows` is the consent whose end its partner may see from now on; None where nothing was held.
    """

    seq: int
    leaf_data: bytes
    created_at: int
    shows: str | None = None


@dataclass(frozen=True)
class LoggedEntry:
    """An entry with its place in the log."""

    index: int
    sealed: SealedEntry


@dataclass(frozen=True)
class FoundEntry:
    """An entry and its place in the log; None while it waits for one."""

    index: int | None
    sealed: SealedEntry


def append(tx: Connection, *entries: SealedEntry) -> None:
    """Put entries into the log, in the transaction of the act that they tell of.

    They have no index yet; the sequencer gives it, in this order.
    """
    if entries:
        statement, by_position = _append_statement(tx.dialect)
        rows = [_in_order(entry) for entry in entries]
        tx.exec_driver_sql(
            statement,
            rows if by_position else [dict(zip(_APPENDED, row, strict=True)) for row in rows],
        )


def append_held(tx: Connection, entry: SealedEntry, not_before: int) -> None:
    """Put an entry into the log that gets its index only from `not_before` on (Unix seconds).

    As durable as any other, in the act's own transaction; it goes in after whatever was appended
    before it, and what is appended after it may go in first.
    """
    values = dict(zip(_APPENDED, _in_order(entry), strict=True))
    tx.execute(insert(PENDING).values(**values, not_before=not_before))


def pending(tx: Connection, limit: int, now: int) -> list[Pending]:
    """The entries that may have their index now and have waited longest, in order.

    Those that were held come last, and among themselves in the order of their hashes: that of the
    acts would tell, within one second, what the hold is to hide.
    """
    columns = (
        PENDING.c.seq,
        PENDING.c.leaf_data,
        PENDING.c.created_at,
        PENDING.c.not_before,
        PENDING.c.consent_id,
    )
    found = select(*columns).where(_is_due(now)).order_by(PENDING.c.seq).limit(limit)
    due = [
        Pending(row.seq, row.leaf_data, row.created_at, row.consent_id if row.not_before else None)
        for row in tx.execute(found)
    ]
    held = [entry for entry in due if entry.shows is not None]
    if not held:
        return due
    others = [entry for entry in due if entry.shows is None]
    return [*others, *sorted(held, key=attrgetter("leaf_data"))]


def oldest_pending(tx: Connection, now: int) -> int | None:
    """Since when the first entry waits that may have its index (Unix seconds); None for none.

    One that was held back waits since it is held no more: a delay on purpose is no lag.
    """
    first = select(PENDING.c.created_at).where(PENDING.c.not_before.is_(None))
    held = select(PENDING.c.not_before).where(HELD, PENDING.c.not_before <= now)
    waiting = [
        tx.execute(query.limit(1)).scalar_one_or_none()
        for query in (first.order_by(PENDING.c.seq), held.order_by(PENDING.c.not_before))
    ]
    return min((since for since in waiting if since is not None), default=None)


def pending_count(tx: Connection, now: int) -> int:
    """How many entries wait for their index, those left out that are held back."""
    found = select(func.count()).select_from(PENDING).where(_is_due(now))
    return int(tx.execute(found).scalar_one())


def entry(tx: Connection, entry_id: str) -> LoggedEntry | None:
    """An entry by its id; None while it waits, or when there is none."""
    row = tx.execute(select(ENTRY).where(ENTRY.c.id == entry_id)).one_or_none()
    return None if row is None else _logged(row)


def entries_of_consent(
    tx: Connection, consent_id: str, since: int = 0, until: int | None = None
) -> list[LoggedEntry]:
    """A consent's entries written from `since` to before `until` (Unix seconds), in log order."""
    found = select(ENTRY).where(ENTRY.c.consent_id == consent_id, ENTRY.c.created_at >= since)
    if until is not None:
        found = found.where(ENTRY.c.created_at < until)
    return [_logged(row) for row in tx.execute(found.order_by(ENTRY.c.log_index))]


def entries_about(
    tx: Connection, subject_id: str | None, consent_ids: Sequence[str]
) -> list[FoundEntry]:
    """The entries of a customer and of some consents, those that wait last, each once."""

    def about(table: Any) -> Any:  # noqa: ANN401 (a table of either, SQLModel's are untyped)
        of_consents = table.c.consent_id.in_(consent_ids)
        return (
            of_consents if subject_id is None else (table.c.subject_id == subject_id) | of_consents
        )

    # In this order: an entry that gets its index meanwhile is found twice, not missed.
    waiting = tx.execute(select(PENDING).where(about(PENDING)).order_by(PENDING.c.seq)).all()
    logged = tx.execute(select(ENTRY).where(about(ENTRY)).order_by(ENTRY.c.log_index))
    return each_once(logged, waiting)


def each_once(logged: Iterable[Row[Any]], waiting: Sequence[Row[Any]]) -> list[FoundEntry]:
    """Entries by rows of both tables, those that wait last, each once."""
    found = [FoundEntry(row.log_index, sealed_entry(row)) for row in logged]
    known = {one.sealed.id for one in found}
    return found + [FoundEntry(None, sealed_entry(row)) for row in waiting if row.id not in known]


def latest_of_type(
    tx: Connection, tenant_id: str, kind: str, *, before: int | None, limit: int
) -> list[LoggedEntry]:
    """The tenant's newest entries of a type, below index `before`, the newest first.

    It looks through `LOOKED_THROUGH` entries of the log at most: there is no index by type.
    """
    if before is None:
        newest = tx.execute(select(func.max(ENTRY.c.log_index))).scalar_one_or_none()
        before = 0 if newest is None else newest + 1
    found = (
        select(ENTRY)
        .where(
            ENTRY.c.log_index < before,
            ENTRY.c.log_index >= before - LOOKED_THROUGH,
            ENTRY.c.tenant_id == tenant_id,
            ENTRY.c.type == kind,
        )
        .order_by(ENTRY.c.log_index.desc())
        .limit(limit)
    )
    return [_logged(row) for row in tx.execute(found)]


def find_entry(tx: Connection, tenant_id: str, entry_id: str) -> FoundEntry | None:
    """An entry of the tenant, whether it waits or not."""
    # In this order: one that gets its index meanwhile is found, not missed.
    for table in (PENDING, ENTRY):
        found = select(table).where(table.c.id == entry_id, table.c.tenant_id == tenant_id)
        row = tx.execute(found).one_or_none()
        if row is not None:
            return FoundEntry(row.log_index if table is ENTRY else None, sealed_entry(row))
    return None


def decisions_after(tx: Connection, tenant_id: str, index: int, limit: int) -> list[LoggedEntry]:
    """Decisions of the tenant with an index above `index`, in order."""
    found = (
        select(ENTRY)
        .where(ENTRY.c.log_index > index, ENTRY.c.tenant_id == tenant_id)
        .where(ENTRY.c.type == DECISION)
        .order_by(ENTRY.c.log_index)
        .limit(limit)
    )
    return [_logged(row) for row in tx.execute(found)]


def is_pending(tx: Connection, tenant_id: str, entry_id: str) -> bool:
    """Whether an entry of the tenant waits for its index."""
    found = select(PENDING.c.seq).where(PENDING.c.id == entry_id, PENDING.c.tenant_id == tenant_id)
    return bool(tx.execute(found).first())


def last_waiting_of_consent(tx: Connection, consent_id: str, now: int) -> int | None:
    """The order of the consent's newest entry that waits and is not held; None when none waits."""
    newest = select(func.max(PENDING.c.seq)).where(PENDING.c.consent_id == consent_id, _is_due(now))
    return tx.execute(newest).scalar_one_or_none()


def waits(tx: Connection, consent_id: str, seq: int, now: int) -> bool:
    """Whether an entry of the consent waits, not held, that is of this order or older."""
    found = select(PENDING.c.seq).where(
        PENDING.c.consent_id == consent_id, PENDING.c.seq <= seq, _is_due(now)
    )
    return tx.execute(found.limit(1)).first() is not None


def leaf_data(tx: Connection, start: int, end: int) -> list[bytes]:
    """The leaf data of the entries from index `start` to before `end`, in order."""
    found = tx.execute(_LEAF_DATA[tx.dialect.name], {"start": start, "end": end})
    return list(found.scalars())


def _is_due(now: int) -> ColumnElement[bool]:
    return or_(PENDING.c.not_before.is_(None), PENDING.c.not_before <= now)


@cache
def _append_statement(dialect: Dialect) -> tuple[str, bool]:
    """The insert as the driver takes it, and whether it takes rows by position.

    Every act of the broker appends, so it pays for itself: 24 us a row instead of 60, and in
    batches 7 instead of 13, where the driver alone takes 7.
    """
    compiled = insert(PENDING).inline().compile(dialect=dialect, column_keys=list(_APPENDED))
    if compiled.positional and tuple(compiled.positiontup or ()) != _APPENDED:
        raise LogError("the insert of audit entries was compiled in another order of columns")
    return str(compiled), compiled.positional


def _logged(row: Row[Any]) -> LoggedEntry:
    return LoggedEntry(row.log_index, sealed_entry(row))


def sealed_entry(row: Row[Any]) -> SealedEntry:
    """The entry in a row of either table, as it is stored."""
    return SealedEntry(
        id=row.id,
        tenant_id=row.tenant_id,
        type=row.type,
        time=row.created_at,
        subject_id=row.subject_id,
        consent_id=row.consent_id,
        leaf_data=row.leaf_data,
        sealed_body=row.sealed_body,
    )
