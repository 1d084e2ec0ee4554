"""Rows of tenants' own policies, and which set is in force (a column of the tenant)."""

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict
from broker.domain.policy_set import BUILT_IN, PolicySet
from broker.store import tables
from broker.store.registry import TENANT

SET = tables.PolicySet.__table__  # type: ignore[attr-defined]


def add(
    tx: Connection, tenant_id: str, digest: str, text: str, *, added_by: str, now: int
) -> PolicySet:
    """Keep a set under the tenant's next number; raises `StateConflict` for two at once."""
    newest = tx.execute(select(func.max(SET.c.number)).where(SET.c.tenant_id == tenant_id))
    made = PolicySet(1 + (newest.scalar_one() or 0), digest, text, added_by, now)
    try:
        with tx.begin_nested():
            tx.execute(insert(SET).values(tenant_id=tenant_id, **vars(made)))
    except IntegrityError:
        raise StateConflict("another set was added at the same moment: try again") from None
    return made


def find(tx: Connection, tenant_id: str, digest: str) -> PolicySet | None:
    """The tenant's set of this text."""
    row = tx.execute(
        select(SET).where(SET.c.tenant_id == tenant_id, SET.c.digest == digest)
    ).one_or_none()
    return None if row is None else _set(row)


def numbered(tx: Connection, tenant_id: str, number: int) -> PolicySet:
    """The tenant's set of this number; raises `NotFound`."""
    row = tx.execute(
        select(SET).where(SET.c.tenant_id == tenant_id, SET.c.number == number)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no policy set {number} in this tenant")
    return _set(row)


def every(tx: Connection, tenant_id: str) -> list[PolicySet]:
    """The tenant's sets, oldest first."""
    rows = tx.execute(select(SET).where(SET.c.tenant_id == tenant_id).order_by(SET.c.number))
    return [_set(row) for row in rows]


def in_force(tx: Connection, tenant_id: str) -> str:
    """What is in force: a set's digest, or `BUILT_IN`; raises `NotFound` (tenant)."""
    found = tx.execute(select(TENANT.c.policy_version).where(TENANT.c.id == tenant_id))
    version: str | None = found.scalar_one_or_none()
    if version is None:
        raise NotFound("no such tenant")
    return version


def switch(tx: Connection, tenant_id: str, *, expected: str, digest: str) -> bool:
    """Put a set (or `BUILT_IN`) in force where `expected` is; False where something else is.

    Decisions notice by the tenant's row: each reads it, and reads it again as it is written.
    """
    done = tx.execute(
        update(TENANT)
        .where(TENANT.c.id == tenant_id, TENANT.c.policy_version == expected)
        .values(policy_version=digest, version=TENANT.c.version + 1)
    )
    return done.rowcount == 1


def all_in_force(tx: Connection) -> list[tuple[str, str, str | None]]:
    """Every tenant with a set of its own in force: tenant, digest and text (None: it is lost)."""
    own = (SET.c.tenant_id == TENANT.c.id) & (SET.c.digest == TENANT.c.policy_version)
    rows = tx.execute(
        select(TENANT.c.id, TENANT.c.policy_version, SET.c.text)
        .select_from(TENANT.outerjoin(SET, own))
        .where(TENANT.c.policy_version != BUILT_IN)
        .order_by(TENANT.c.id)
    )
    return [(row.id, row.policy_version, row.text) for row in rows]


def _set(row: Row[tuple[object, ...]]) -> PolicySet:
    return PolicySet(row.number, row.digest, row.text, row.added_by, row.created_at)
