"""Rows of model versions."""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, bindparam, case, insert, literal, select, tuple_, update

from broker.domain.errors import NotFound
from broker.store import tables
from broker.store.prepared import Prepared

VERSION = tables.ModelVersion.__table__  # type: ignore[attr-defined]
CONSORTIUM = "consortium"

# What a campaign began with has number 0; the pilot comes before the consortium.
_PLACE = (
    VERSION.c.created_at,
    case((VERSION.c.stage == CONSORTIUM, 1), else_=0),
    VERSION.c.number,
    VERSION.c.id,
)


@dataclass(frozen=True)
class VersionRow:
    """A model version; `epsilon` is a number in text.

    `members`, `metrics` and `approvals` (JWS, None before it passed its stage) are JSON text.
    """

    tenant_id: str
    id: str
    parent: str | None
    campaign_id: str
    stage: str
    number: int
    bundle_hash: str
    parameters_hash: str
    receipts_root: str | None
    members: str
    epsilon: str | None
    metrics: str
    state: str
    created_at: int
    changed_at: int
    taint: str | None = None
    approvals: str | None = None


def add(tx: Connection, row: VersionRow) -> None:
    """Store a version of a campaign that the transaction holds."""
    tx.execute(insert(VERSION).values(**vars(row)))


def known(tx: Connection, tenant_id: str, version_id: str) -> VersionRow | None:
    """A version of the tenant by the model's hash."""
    for row in _KNOWN.rows(tx, {"b_tenant": tenant_id, "b_id": version_id}):
        return VersionRow(*row)
    return None


def find(tx: Connection, tenant_id: str, version_id: str) -> VersionRow:
    """The same; raises `NotFound`."""
    row = known(tx, tenant_id, version_id)
    if row is None:
        raise NotFound("no such model version")
    return row


def of_tenant(
    tx: Connection,
    tenant_id: str,
    campaign_id: str | None = None,
    *,
    limit: int | None = None,
    after: VersionRow | None = None,
) -> list[VersionRow]:
    """The tenant's versions, or one campaign's, oldest first, behind `after`."""
    found = select(VERSION).where(VERSION.c.tenant_id == tenant_id)
    if campaign_id is not None:
        found = found.where(VERSION.c.campaign_id == campaign_id)
    if after is not None:
        place = (after.created_at, int(after.stage == CONSORTIUM), after.number, after.id)
        found = found.where(tuple_(*_PLACE) > tuple_(*(literal(one) for one in place)))
    rows = tx.execute(found.order_by(*_PLACE).limit(limit))
    return [VersionRow(**row._mapping) for row in rows]  # noqa: SLF001


def change(tx: Connection, tenant_id: str, version_id: str, **columns: Any) -> None:  # noqa: ANN401 (columns)
    """Write columns of a version."""
    mine = (VERSION.c.tenant_id == tenant_id, VERSION.c.id == version_id)
    tx.execute(update(VERSION).where(*mine).values(**columns))


# Asked three times a round.
_KNOWN = Prepared(
    select(*(VERSION.c[one.name] for one in fields(VersionRow))).where(
        VERSION.c.tenant_id == bindparam("b_tenant"), VERSION.c.id == bindparam("b_id")
    )
)
