"""Rows of coordinators: the programs that run a tenant's federated training."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict
from broker.store import tables

COORDINATOR = tables.Coordinator.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class CoordinatorRow:
    """A coordinator; `jwk` is its public key as JSON text."""

    id: str
    tenant_id: str
    name: str
    jwk: str
    state: str
    version: int
    created_at: int


def add(tx: Connection, row: CoordinatorRow) -> None:
    """Store a new coordinator; raises `StateConflict` when the name is taken."""
    try:
        with tx.begin_nested():
            tx.execute(insert(COORDINATOR).values(**vars(row)))
    except IntegrityError:
        raise StateConflict(f"{row.name!r} is registered already") from None


def find(
    tx: Connection, tenant_id: str, coordinator_id: str, *, lock: bool = False
) -> CoordinatorRow:
    """A coordinator of the tenant; raises `NotFound`. With `lock` nobody changes it meanwhile."""
    found = select(COORDINATOR).where(
        COORDINATOR.c.id == coordinator_id, COORDINATOR.c.tenant_id == tenant_id
    )
    row = tx.execute(found.with_for_update(read=True) if lock else found).one_or_none()
    if row is None:
        raise NotFound("no such coordinator is registered")
    return CoordinatorRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def of_tenant(tx: Connection, tenant_id: str) -> list[CoordinatorRow]:
    """The tenant's coordinators, oldest first."""
    rows = tx.execute(
        select(COORDINATOR)
        .where(COORDINATOR.c.tenant_id == tenant_id)
        .order_by(COORDINATOR.c.created_at, COORDINATOR.c.id)
    )
    return [CoordinatorRow(**row._mapping) for row in rows]  # noqa: SLF001


def set_state(tx: Connection, tenant_id: str, coordinator_id: str, state: str) -> None:
    """Suspend a coordinator or make it active again; raises `NotFound`."""
    _change(tx, tenant_id, coordinator_id, state=state)


def set_key(tx: Connection, tenant_id: str, coordinator_id: str, jwk: str) -> None:
    """Replace the public key (JSON text) of a coordinator; raises `NotFound`."""
    _change(tx, tenant_id, coordinator_id, jwk=jwk)


def _change(tx: Connection, tenant_id: str, coordinator_id: str, **columns: str) -> None:
    changed = tx.execute(
        update(COORDINATOR)
        .where(COORDINATOR.c.id == coordinator_id, COORDINATOR.c.tenant_id == tenant_id)
        .values(version=COORDINATOR.c.version + 1, **columns)
    )
    if changed.rowcount != 1:
        raise NotFound("no such coordinator is registered")
