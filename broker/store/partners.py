"""Rows of partners and officers: the clients of the API, each with its public key."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict, UnknownPartner
from broker.domain.terms import Label, Party
from broker.store import tables

PARTNER = tables.Partner.__table__  # type: ignore[attr-defined]
OFFICER = tables.Officer.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class PartnerRow:
    """A brand; `jwk` is its public key as JSON text, `country` ISO 3166-1."""

    id: str
    tenant_id: str
    name: str
    name_zh: str
    contact: str
    country: str
    jwk: str
    state: str
    kill_switch: bool
    version: int
    created_at: int
    admission: str | None = None
    own: str | None = None


@dataclass(frozen=True)
class OfficerRow:
    """A compliance officer; `jwk` is the public key as JSON text."""

    id: str
    tenant_id: str
    name: str
    jwk: str
    state: str
    version: int
    created_at: int


def add(tx: Connection, row: PartnerRow) -> None:
    """Store a new partner; raises `StateConflict` when the name is taken."""
    _add(tx, PARTNER, row)


def add_officer(tx: Connection, row: OfficerRow) -> None:
    """Store a new officer; raises `StateConflict` when the name is taken."""
    _add(tx, OFFICER, row)


def find(tx: Connection, tenant_id: str, partner_id: str, *, lock: bool = False) -> PartnerRow:
    """A partner of the tenant, in any state; raises `UnknownPartner`.

    With `lock` nobody changes it before the transaction ends; others may look.
    """
    found = select(PARTNER).where(PARTNER.c.id == partner_id, PARTNER.c.tenant_id == tenant_id)
    row = tx.execute(found.with_for_update(read=True) if lock else found).one_or_none()
    if row is None:
        raise UnknownPartner("no such partner is registered")
    return _partner(row)


def hold_alone(tx: Connection, tenant_id: str, partner_id: str) -> None:
    """Wait for all who hold a partner, and let nobody hold it before the transaction ends.

    Nothing where there is none.
    """
    found = select(PARTNER.c.id).where(PARTNER.c.id == partner_id, PARTNER.c.tenant_id == tenant_id)
    tx.execute(found.with_for_update(key_share=True))


def of_tenant(tx: Connection, tenant_id: str) -> list[PartnerRow]:
    """The tenant's partners, oldest first."""
    rows = tx.execute(
        select(PARTNER)
        .where(PARTNER.c.tenant_id == tenant_id)
        .order_by(PARTNER.c.created_at, PARTNER.c.id)
    )
    return [_partner(row) for row in rows]


def officer(tx: Connection, tenant_id: str, officer_id: str, *, lock: bool = False) -> OfficerRow:
    """An officer of the tenant, held as by `find` with `lock`; raises `NotFound`."""
    found = select(OFFICER).where(OFFICER.c.id == officer_id, OFFICER.c.tenant_id == tenant_id)
    row = tx.execute(found.with_for_update(read=True) if lock else found).one_or_none()
    if row is None:
        raise NotFound("no such officer is registered")
    return OfficerRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def officers_of_tenant(tx: Connection, tenant_id: str) -> list[OfficerRow]:
    """The tenant's officers, oldest first."""
    rows = tx.execute(
        select(OFFICER)
        .where(OFFICER.c.tenant_id == tenant_id)
        .order_by(OFFICER.c.created_at, OFFICER.c.id)
    )
    return [OfficerRow(**row._mapping) for row in rows]  # noqa: SLF001


def set_state(tx: Connection, tenant_id: str, partner_id: str, state: str) -> None:
    """Suspend a partner, or make it active; decisions notice. Raises `UnknownPartner`."""
    _change(tx, tenant_id, partner_id, state=state)


def set_admission(tx: Connection, tenant_id: str, partner_id: str, admission: str | None) -> None:
    """Put a partner into the sandbox, or out of it (None: open); raises `UnknownPartner`."""
    _change(tx, tenant_id, partner_id, admission=admission)


def set_key(tx: Connection, tenant_id: str, partner_id: str, jwk: str) -> None:
    """Replace the public key (JSON text) of a partner; raises `UnknownPartner`."""
    _change(tx, tenant_id, partner_id, jwk=jwk)


def set_officer_state(tx: Connection, tenant_id: str, officer_id: str, state: str) -> None:
    """Suspend an officer or make them active again; raises `NotFound`."""
    _change_officer(tx, tenant_id, officer_id, state=state)


def set_officer_key(tx: Connection, tenant_id: str, officer_id: str, jwk: str) -> None:
    """Replace the public key (JSON text) of an officer; raises `NotFound`."""
    _change_officer(tx, tenant_id, officer_id, jwk=jwk)


def party(tx: Connection, tenant_id: str, partner_id: str) -> Party:
    """A partner as the terms of a consent name it; raises `UnknownPartner`."""
    row = find(tx, tenant_id, partner_id)
    return Party(row.id, Label(zh=row.name_zh, en=row.name), row.contact, row.country)


def _change(tx: Connection, tenant_id: str, partner_id: str, **columns: str | None) -> None:
    changed = tx.execute(
        update(PARTNER)
        .where(PARTNER.c.id == partner_id, PARTNER.c.tenant_id == tenant_id)
        .values(version=PARTNER.c.version + 1, **columns)
    )
    if changed.rowcount != 1:
        raise UnknownPartner("no such partner is registered")


def _change_officer(tx: Connection, tenant_id: str, officer_id: str, **columns: str) -> None:
    changed = tx.execute(
        update(OFFICER)
        .where(OFFICER.c.id == officer_id, OFFICER.c.tenant_id == tenant_id)
        .values(version=OFFICER.c.version + 1, **columns)
    )
    if changed.rowcount != 1:
        raise NotFound("no such officer is registered")


def _add(tx: Connection, table: Any, row: PartnerRow | OfficerRow) -> None:  # noqa: ANN401 (a table of either)
    try:
        with tx.begin_nested():
            tx.execute(insert(table).values(**vars(row)))
    except IntegrityError:
        raise StateConflict(f"{row.name!r} is registered already") from None


def _partner(row: Row[Any]) -> PartnerRow:
    return PartnerRow(**row._mapping)  # noqa: SLF001
