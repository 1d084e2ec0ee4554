"""Rows of campaigns, and of the salts that they commit to."""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict
from broker.store import tables
from broker.store.prepared import Prepared

CAMPAIGN = tables.Campaign.__table__  # type: ignore[attr-defined]
SALT = tables.CampaignSalt.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class CampaignRow:
    """A campaign; `document`, `board` and `passed` are JSON text, times Unix seconds."""

    id: str
    tenant_id: str
    hash: str
    name: str
    purpose: str
    document: str
    board: str
    stage: str
    state: str
    passed: str | None
    created_at: int
    changed_at: int
    reason: str | None = None


def add_salt(
    tx: Connection, tenant_id: str, *, salt_hash: str, sealed_salt: bytes, now: int
) -> None:
    """Keep a salt, sealed."""
    values = {"tenant_id": tenant_id, "salt_hash": salt_hash, "sealed_salt": sealed_salt}
    tx.execute(insert(SALT).values(**values, created_at=now))


def salt(tx: Connection, tenant_id: str, salt_hash: str, *, lock: bool = False) -> bytes:
    """A salt as it was sealed; raises `NotFound`. With `lock` others that lock it wait."""
    statement = _SALT_HELD if lock else _SALT
    for row in statement.rows(tx, {"b_tenant": tenant_id, "b_hash": salt_hash}):
        sealed: bytes = row[0]
        return sealed
    raise NotFound("the broker has no salt of this hash")


def add(tx: Connection, row: CampaignRow) -> None:
    """Store a campaign; raises `StateConflict` where the same one is there."""
    try:
        with tx.begin_nested():
            tx.execute(insert(CAMPAIGN).values(**vars(row)))
    except IntegrityError:
        raise StateConflict("this campaign was added before") from None


def find(tx: Connection, tenant_id: str, campaign_id: str, *, lock: bool = False) -> CampaignRow:
    """A campaign of the tenant; raises `NotFound`. With `lock` others that lock it wait."""
    statement = _HELD if lock else _FIND
    for row in statement.rows(tx, {"b_id": campaign_id, "b_tenant": tenant_id}):
        return CampaignRow(*row)
    raise NotFound("no such campaign")


def of_tenant(
    tx: Connection,
    tenant_id: str,
    state: str | None = None,
    *,
    limit: int | None = None,
    after: CampaignRow | None = None,
) -> list[CampaignRow]:
    """The tenant's campaigns, oldest first, behind `after`; those in a state where it is given."""
    found = select(CAMPAIGN).where(CAMPAIGN.c.tenant_id == tenant_id)
    if state is not None:
        found = found.where(CAMPAIGN.c.state == state)
    if after is not None:
        same = and_(CAMPAIGN.c.created_at == after.created_at, CAMPAIGN.c.id > after.id)
        found = found.where(or_(CAMPAIGN.c.created_at > after.created_at, same))
    rows = tx.execute(found.order_by(CAMPAIGN.c.created_at, CAMPAIGN.c.id).limit(limit))
    # SQLAlchemy's public accessor.
    return [CampaignRow(**row._mapping) for row in rows]  # noqa: SLF001


def change(tx: Connection, campaign_id: str, **columns: Any) -> None:  # noqa: ANN401 (columns)
    """Write columns of a campaign that the transaction holds."""
    tx.execute(update(CAMPAIGN).where(CAMPAIGN.c.id == campaign_id).values(**columns))


# Asked with each key and each receipt of a round.
_ONE_SALT = select(SALT.c.sealed_salt).where(
    SALT.c.tenant_id == bindparam("b_tenant"), SALT.c.salt_hash == bindparam("b_hash")
)
_SALT, _SALT_HELD = Prepared(_ONE_SALT), Prepared(_ONE_SALT.with_for_update())
_ONE = select(*(CAMPAIGN.c[one.name] for one in fields(CampaignRow))).where(
    CAMPAIGN.c.id == bindparam("b_id"), CAMPAIGN.c.tenant_id == bindparam("b_tenant")
)
_FIND, _HELD = Prepared(_ONE), Prepared(_ONE.with_for_update(key_share=True))
