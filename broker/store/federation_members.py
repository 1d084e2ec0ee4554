"""Rows of the partners that train together."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, insert, or_, select, update

from broker.domain.errors import NotFound
from broker.store import tables
from broker.store.partners import PARTNER
from broker.store.prepared import Prepared, PreparedAmong

MEMBER = tables.FederationMember.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class MemberRow:
    """A member; `node_key` is SPKI PEM, `receipt_key` a JWK as JSON text, `since` of its state.

    Admitted by a membership credential (`membership_id`), it is a member until `valid_until`.
    """

    tenant_id: str
    partner_id: str
    node_key: str
    receipt_key: str
    state: str
    since: int
    membership_id: str | None = None
    valid_until: int | None = None

    def state_at(self, now: int) -> str:
        """The state, `expired` where the credential has ended that it was admitted by."""
        over = self.valid_until is not None and self.valid_until <= now
        return "expired" if over and self.state == "admitted" else self.state


@dataclass(frozen=True)
class Standing:
    """A member, and whether it is admitted and as a partner neither suspended nor switched off."""

    row: MemberRow
    able: bool


def put(tx: Connection, row: MemberRow) -> None:
    """Store a member, in place of the one that the transaction holds where there is one."""
    mine = (MEMBER.c.tenant_id == row.tenant_id, MEMBER.c.partner_id == row.partner_id)
    if tx.execute(update(MEMBER).where(*mine).values(**vars(row))).rowcount == 0:
        tx.execute(insert(MEMBER).values(**vars(row)))


def find(tx: Connection, tenant_id: str, partner_id: str, *, lock: bool = False) -> MemberRow:
    """A member; raises `NotFound`. With `lock` others that lock it wait."""
    statement = _HELD if lock else _FIND
    for row in statement.rows(tx, {"b_tenant": tenant_id, "b_partner": partner_id}):
        return MemberRow(*row)
    raise NotFound("this partner is no member of the federation")


def of_tenant(tx: Connection, tenant_id: str) -> list[MemberRow]:
    """The tenant's members, by partner."""
    found = select(MEMBER).where(MEMBER.c.tenant_id == tenant_id).order_by(MEMBER.c.partner_id)
    # SQLAlchemy's public accessor.
    return [MemberRow(**row._mapping) for row in tx.execute(found)]  # noqa: SLF001


def is_able(tx: Connection, tenant_id: str, partner_id: str, now: int) -> bool:
    """Whether a member is admitted, and as a partner neither suspended nor switched off."""
    named = {"b_tenant": tenant_id, "b_partner": partner_id, "b_now": now}
    return bool(_ABLE.rows(tx, named))


def able(tx: Connection, tenant_id: str, among: Collection[str], now: int) -> list[str]:
    """Who of some is admitted, and as a partner neither suspended nor switched off; ascending."""
    found = standing(tx, tenant_id, among, now)
    return sorted(name for name, one in found.items() if one.able)


def standing(
    tx: Connection, tenant_id: str, among: Collection[str], now: int, *, lock: bool = False
) -> dict[str, Standing]:
    """How some members stand; who is none is left out.

    With `lock` nobody changes them, nor the partners that they are, before the transaction ends:
    the partners first, as a revocation does.
    """
    if lock:
        _PARTNERS_HELD.rows(tx, among, {"b_tenant": tenant_id})
    statement = _STANDING_HELD if lock else _STANDING
    found: dict[str, Standing] = {}
    for *columns, partner_state, switched_off in statement.rows(tx, among, {"b_tenant": tenant_id}):
        row = MemberRow(*columns)
        admitted = row.state_at(now) == "admitted"
        able_to = admitted and partner_state == "active" and not switched_off
        found[row.partner_id] = Standing(row, able_to)
    return found


_ADMITTED = (
    select(MEMBER.c.partner_id)
    .join(PARTNER, PARTNER.c.id == MEMBER.c.partner_id)
    .where(
        MEMBER.c.state == "admitted",
        or_(MEMBER.c.valid_until.is_(None), MEMBER.c.valid_until > bindparam("b_now")),
        PARTNER.c.state == "active",
        PARTNER.c.kill_switch.is_(False),
    )
)

# Asked with each key of a round.
_MINE = (
    MEMBER.c.tenant_id == bindparam("b_tenant"),
    MEMBER.c.partner_id == bindparam("b_partner"),
)
_COLUMNS = tuple(MEMBER.c[one.name] for one in fields(MemberRow))
_ONE = select(*_COLUMNS).where(*_MINE)
_FIND, _HELD = Prepared(_ONE), Prepared(_ONE.with_for_update())
_ABLE = Prepared(_ADMITTED.where(*_MINE))


def _standing(among: ColumnElement[bool]) -> Select[Any]:
    found = select(*_COLUMNS, PARTNER.c.state, PARTNER.c.kill_switch)
    found = found.join(PARTNER, PARTNER.c.id == MEMBER.c.partner_id)
    # In one order for all who hold several.
    return found.where(_MINE[0], among).order_by(MEMBER.c.partner_id)


_STANDING = PreparedAmong(MEMBER.c.partner_id, _standing)
_STANDING_HELD = PreparedAmong(
    MEMBER.c.partner_id, lambda among: _standing(among).with_for_update(read=True)
)
_PARTNERS_HELD = PreparedAmong(
    PARTNER.c.id,
    lambda among: (
        select(PARTNER.c.id)
        .where(PARTNER.c.tenant_id == bindparam("b_tenant"), among)
        .order_by(PARTNER.c.id)
        .with_for_update(read=True)
    ),
)
