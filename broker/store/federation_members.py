"""Rows of the partners that train together."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from broker.domain.errors import NotFound
from broker.store import tables
from broker.store.partners import PARTNER

MEMBER = tables.FederationMember.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class MemberRow:
    """A member; `node_key` is SPKI PEM, `receipt_key` a JWK as JSON text, `since` of its state."""

    tenant_id: str
    partner_id: str
    node_key: str
    receipt_key: str
    state: str
    since: int


def put(tx: Connection, row: MemberRow) -> None:
    """Store a member, in place of the one that the transaction holds where there is one."""
    mine = (MEMBER.c.tenant_id == row.tenant_id, MEMBER.c.partner_id == row.partner_id)
    if tx.execute(update(MEMBER).where(*mine).values(**vars(row))).rowcount == 0:
        tx.execute(insert(MEMBER).values(**vars(row)))


def find(tx: Connection, tenant_id: str, partner_id: str, *, lock: bool = False) -> MemberRow:
    """A member; raises `NotFound`. With `lock` others that lock it wait."""
    found = select(MEMBER).where(MEMBER.c.tenant_id == tenant_id, MEMBER.c.partner_id == partner_id)
    row = tx.execute(found.with_for_update() if lock else found).one_or_none()
    if row is None:
        raise NotFound("this partner is no member of the federation")
    return MemberRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def of_tenant(tx: Connection, tenant_id: str) -> list[MemberRow]:
    """The tenant's members, by partner."""
    found = select(MEMBER).where(MEMBER.c.tenant_id == tenant_id).order_by(MEMBER.c.partner_id)
    return [MemberRow(**row._mapping) for row in tx.execute(found)]  # noqa: SLF001


def able(tx: Connection, tenant_id: str, among: Collection[str]) -> list[str]:
    """Who of some is admitted, and as a partner neither suspended nor switched off; ascending."""
    found = (
        select(MEMBER.c.partner_id)
        .join(PARTNER, PARTNER.c.id == MEMBER.c.partner_id)
        .where(
            MEMBER.c.tenant_id == tenant_id,
            MEMBER.c.state == "admitted",
            PARTNER.c.state == "active",
            PARTNER.c.kill_switch.is_(False),
        )
    )
    return sorted(set(tx.execute(found).scalars()) & set(among))
