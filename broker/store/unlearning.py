"""Rows of unlearning: withdrawals whose rows are to be looked for, tasks, what each has tainted."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    String,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from broker.domain.errors import NotFound
from broker.store import tables
from broker.store.campaigns import CAMPAIGN
from broker.store.model_versions import VERSION, VersionRow
from broker.store.prepared import Prepared

SEARCH = tables.UnlearningSearch.__table__  # type: ignore[attr-defined]
TASK = tables.UnlearningTask.__table__  # type: ignore[attr-defined]
TAINT = tables.UnlearningTaint.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class SearchRow:
    """A consent that ended, whose row models may have learnt from; lists show it from `due_at`."""

    consent_id: str
    tenant_id: str
    due_at: int
    counted: bool = False
    looked_at: int | None = None


@dataclass(frozen=True)
class UnlearningRow:
    """A task of one campaign; the residual is two decimals in text, times Unix seconds.

    `residual_models` is JSON: the hashes of the three files that it was measured from.
    """

    id: str
    tenant_id: str
    campaign_id: str
    policy: str
    state: str
    withdrawals: int
    since: int
    base: str | None
    opened_at: int
    model: str | None = None
    residual_before: str | None = None
    residual_after: str | None = None
    residual_models: str | None = None
    closed_at: int | None = None
    closed_by: str | None = None


@dataclass(frozen=True)
class TaintRow:
    """A version that a task has tainted, and the state that it had."""

    task_id: str
    model_id: str
    tenant_id: str
    state_before: str
    used: bool


# Written with each withdrawal: only tenants that train have anything to look for.
_LOOK = Prepared(
    insert(SEARCH).from_select(
        ["consent_id", "tenant_id", "due_at", "counted"],
        select(
            cast(bindparam("b_consent"), String),
            cast(bindparam("b_tenant"), String),
            cast(bindparam("b_due"), BigInteger),
            false(),
        ).where(
            exists().where(CAMPAIGN.c.tenant_id == bindparam("b_tenant")),
            ~exists().where(SEARCH.c.consent_id == bindparam("b_consent")),
        ),
        include_defaults=False,
    )
)


def look_for(tx: Connection, row: SearchRow) -> None:
    """Have models looked for that used a consent's row, where the tenant trains any."""
    values = {"b_consent": row.consent_id, "b_tenant": row.tenant_id, "b_due": row.due_at}
    _LOOK.changed(tx, values)


def tenants_due(tx: Connection, now: int) -> list[str]:
    """The tenants that have something to look for."""
    found = select(SEARCH.c.tenant_id).where(SEARCH.c.due_at <= now).distinct()
    return sorted(tx.execute(found).scalars())


def due(
    tx: Connection, tenant_id: str, now: int, limit: int, after: SearchRow | None = None
) -> list[SearchRow]:
    """What is to be looked for, oldest first, behind `after`."""
    found = select(SEARCH).where(SEARCH.c.tenant_id == tenant_id, SEARCH.c.due_at <= now)
    if after is not None:
        same = and_(SEARCH.c.due_at == after.due_at, SEARCH.c.consent_id > after.consent_id)
        found = found.where(or_(SEARCH.c.due_at > after.due_at, same))
    rows = tx.execute(found.order_by(SEARCH.c.due_at, SEARCH.c.consent_id).limit(limit))
    return [SearchRow(**row._mapping) for row in rows]  # noqa: SLF001 (SQLAlchemy's public accessor)


def waiting(tx: Connection, tenant_id: str) -> int:
    """How many withdrawals have not been looked for to the end."""
    counted = select(func.count()).select_from(SEARCH).where(SEARCH.c.tenant_id == tenant_id)
    return int(tx.execute(counted).scalar_one())


def remaining(tx: Connection, consent_ids: Collection[str]) -> list[SearchRow]:
    """Which of some are still to be looked for."""
    rows = tx.execute(select(SEARCH).where(SEARCH.c.consent_id.in_(consent_ids)))
    return [SearchRow(**row._mapping) for row in rows]  # noqa: SLF001


def count(tx: Connection, consent_ids: Collection[str]) -> None:
    """Note that a task tells of them."""
    tx.execute(update(SEARCH).where(SEARCH.c.consent_id.in_(consent_ids)).values(counted=True))


def wait(tx: Connection, consent_ids: Collection[str], looked_at: int) -> None:
    """Note that rounds that were over by then were looked at, and others are to be."""
    mine = SEARCH.c.consent_id.in_(consent_ids)
    # Never back: one that was looked for before has come further than one that is new.
    earlier = or_(SEARCH.c.looked_at.is_(None), SEARCH.c.looked_at < looked_at)
    tx.execute(update(SEARCH).where(mine, earlier).values(looked_at=looked_at))


def looked(tx: Connection, consent_ids: Collection[str]) -> None:
    """Forget what was looked for to the end."""
    tx.execute(delete(SEARCH).where(SEARCH.c.consent_id.in_(consent_ids)))


def add(tx: Connection, row: UnlearningRow) -> None:
    """Store a task; its campaign is held by the transaction."""
    tx.execute(insert(TASK).values(**vars(row)))


def change(tx: Connection, task_id: str, **columns: Any) -> None:  # noqa: ANN401 (columns)
    """Write columns of a task whose campaign the transaction holds."""
    tx.execute(update(TASK).where(TASK.c.id == task_id).values(**columns))


def find(tx: Connection, tenant_id: str, task_id: str) -> UnlearningRow:
    """A task of the tenant; raises `NotFound`."""
    row = tx.execute(
        select(TASK).where(TASK.c.id == task_id, TASK.c.tenant_id == tenant_id)
    ).one_or_none()
    if row is None:
        raise NotFound("no such unlearning task")
    return UnlearningRow(**row._mapping)  # noqa: SLF001


def open_of(tx: Connection, campaign_id: str) -> UnlearningRow | None:
    """The open task of a campaign: there is one at most."""
    row = tx.execute(
        select(TASK).where(TASK.c.campaign_id == campaign_id, TASK.c.state == "open")
    ).one_or_none()
    return None if row is None else UnlearningRow(**row._mapping)  # noqa: SLF001


def listed(
    tx: Connection,
    tenant_id: str,
    *,
    limit: int,
    campaign_id: str | None = None,
    state: str | None = None,
    after: UnlearningRow | None = None,
) -> list[UnlearningRow]:
    """Tasks, oldest first, `limit` of them behind `after`."""
    chosen = select(TASK).where(TASK.c.tenant_id == tenant_id)
    if campaign_id is not None:
        chosen = chosen.where(TASK.c.campaign_id == campaign_id)
    if state is not None:
        chosen = chosen.where(TASK.c.state == state)
    if after is not None:
        same = and_(TASK.c.opened_at == after.opened_at, TASK.c.id > after.id)
        chosen = chosen.where(or_(TASK.c.opened_at > after.opened_at, same))
    rows = tx.execute(chosen.order_by(TASK.c.opened_at, TASK.c.id).limit(limit))
    return [UnlearningRow(**row._mapping) for row in rows]  # noqa: SLF001


def closed_with(tx: Connection, model: VersionRow) -> list[UnlearningRow]:
    """The tasks that were closed with a version, oldest first."""
    mine = and_(TASK.c.tenant_id == model.tenant_id, TASK.c.model == model.id)
    rows = tx.execute(select(TASK).where(mine).order_by(TASK.c.opened_at, TASK.c.id))
    return [UnlearningRow(**row._mapping) for row in rows]  # noqa: SLF001


def taint(tx: Connection, rows: Iterable[TaintRow]) -> None:
    """Keep what a task has tainted."""
    values = [vars(row) for row in rows]
    if values:
        tx.execute(insert(TAINT), values)


def tainted_by(tx: Connection, task_id: str) -> list[tuple[TaintRow, str]]:
    """What a task has tainted, oldest first, each with the state that it has now."""
    found = (
        select(TAINT, VERSION.c.state)
        .join(
            VERSION,
            and_(VERSION.c.tenant_id == TAINT.c.tenant_id, VERSION.c.id == TAINT.c.model_id),
        )
        .where(TAINT.c.task_id == task_id)
        .order_by(VERSION.c.created_at, VERSION.c.stage.desc(), VERSION.c.number)
    )
    return [(TaintRow(*row[:-1]), row[-1]) for row in tx.execute(found)]
