"""Rows of deletion tasks: what a recipient has to delete, until when, and its receipt."""

from dataclasses import dataclass, fields

from sqlalchemy import Connection, Select, and_, bindparam, func, insert, or_, select, update

from broker.domain.errors import NotFound
from broker.store import tables
from broker.store.prepared import Prepared

TASK = tables.DeletionTask.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class DeletionTaskRow:
    """A task; `attributes` is a JSON list of canonical names, times are Unix seconds."""

    id: str
    tenant_id: str
    partner_id: str
    consent_id: str
    reason: str
    attributes: str
    state: str
    created_at: int
    due_at: int
    sealed_receipt: bytes | None = None
    received_at: int | None = None

    def overdue(self, now: int) -> bool:
        """Whether the receipt should be there and is not."""
        return self.state == "open" and self.due_at <= now


# Asked and written with each withdrawal.
_ADD = Prepared(insert(TASK))
_OF_CONSENT = Prepared(
    select(*(TASK.c[field.name] for field in fields(DeletionTaskRow))).where(
        TASK.c.consent_id == bindparam("b_consent")
    )
)


def add(tx: Connection, row: DeletionTaskRow) -> None:
    """Store a new task."""
    _ADD.changed(tx, vars(row))


def of_consent(tx: Connection, consent_id: str) -> DeletionTaskRow | None:
    """The task about a consent; None when there is none."""
    for row in _OF_CONSENT.rows(tx, {"b_consent": consent_id}):
        return DeletionTaskRow(*row)
    return None


def hasten(tx: Connection, task_id: str, due_at: int) -> bool:
    """Have an open task done by `due_at`; False where it is not to be done later."""
    done = tx.execute(
        update(TASK)
        .where(TASK.c.id == task_id, TASK.c.state == "open", TASK.c.due_at > due_at)
        .values(due_at=due_at)
    )
    return done.rowcount == 1


def find(
    tx: Connection, tenant_id: str, task_id: str, partner_id: str | None = None
) -> DeletionTaskRow:
    """A task of the tenant, and of the partner when named; raises `NotFound`."""
    chosen = select(TASK).where(TASK.c.id == task_id, TASK.c.tenant_id == tenant_id)
    if partner_id is not None:
        chosen = chosen.where(TASK.c.partner_id == partner_id)
    for row in _rows(tx, chosen):
        return row
    raise NotFound("no such deletion task")


def listed(
    tx: Connection,
    tenant_id: str,
    *,
    now: int,
    limit: int,
    partner_id: str | None = None,
    state: str | None = None,
    consent_id: str | None = None,
    after: DeletionTaskRow | None = None,
) -> list[DeletionTaskRow]:
    """Tasks, oldest first, `limit` of them behind `after`; a partner's from their time on.

    `state` is open, done or overdue (open, and its time is over).
    """
    chosen = select(TASK).where(TASK.c.tenant_id == tenant_id)
    if partner_id is not None:
        chosen = chosen.where(TASK.c.partner_id == partner_id, TASK.c.created_at <= now)
    if consent_id is not None:
        chosen = chosen.where(TASK.c.consent_id == consent_id)
    if state == "overdue":
        chosen = chosen.where(TASK.c.state == "open", TASK.c.due_at <= now)
    elif state is not None:
        chosen = chosen.where(TASK.c.state == state)
    if after is not None:
        same = and_(TASK.c.created_at == after.created_at, TASK.c.id > after.id)
        chosen = chosen.where(or_(TASK.c.created_at > after.created_at, same))
    return _rows(tx, chosen.order_by(TASK.c.created_at, TASK.c.id).limit(limit))


def overdue_count(tx: Connection, now: int) -> int:
    """How many tasks, of any tenant, should be done and are not."""
    late = select(func.count()).select_from(TASK)
    return int(tx.execute(late.where(TASK.c.state == "open", TASK.c.due_at <= now)).scalar_one())


def done(tx: Connection, task_id: str, sealed_receipt: bytes, now: int) -> bool:
    """Keep the receipt of an open task; False when another was first."""
    changed = tx.execute(
        update(TASK)
        .where(TASK.c.id == task_id, TASK.c.state == "open")
        .values(state="done", sealed_receipt=sealed_receipt, received_at=now)
    )
    return changed.rowcount == 1


def _rows(tx: Connection, chosen: Select[tuple[object, ...]]) -> list[DeletionTaskRow]:
    return [DeletionTaskRow(**row._mapping) for row in tx.execute(chosen)]  # noqa: SLF001
