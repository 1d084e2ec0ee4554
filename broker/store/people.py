"""What is stored about one customer: the rows of every table that lead to their contacts."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, false, or_, select

from broker.store.consents import CONSENT, REQUEST, ConsentRequestRow, ConsentRow
from broker.store.contacts import CONTACT, INVITATION, ContactRow, InvitationRow


def hold(tx: Connection, contact_ids: Sequence[str]) -> None:
    """Keep contacts from being bound, asked for consents or erased before the end of `tx`.

    SQLite needs none of it: a write transaction is the only one.
    """
    chosen = select(CONTACT.c.id).where(CONTACT.c.id.in_(contact_ids)).order_by(CONTACT.c.id)
    tx.execute(chosen.with_for_update())


def contacts_of_erasure(tx: Connection, tenant_id: str, erasure_id: str) -> list[ContactRow]:
    """The contacts that an erasure has emptied."""
    rows = tx.execute(
        select(CONTACT)
        .where(CONTACT.c.tenant_id == tenant_id, CONTACT.c.erasure_id == erasure_id)
        .order_by(CONTACT.c.id)
    )
    return [ContactRow(**row._mapping) for row in rows]  # noqa: SLF001 (SQLAlchemy's public accessor)


def invitations(tx: Connection, contact_ids: Sequence[str]) -> list[InvitationRow]:
    """Every invitation of some contacts, oldest first."""
    rows = tx.execute(
        select(INVITATION)
        .where(INVITATION.c.contact_id.in_(contact_ids))
        .order_by(INVITATION.c.created_at, INVITATION.c.id)
    )
    return [InvitationRow(**row._mapping) for row in rows]  # noqa: SLF001


def requests(tx: Connection, contact_ids: Sequence[str]) -> list[ConsentRequestRow]:
    """Every consent request about some contacts, oldest first."""
    rows = tx.execute(
        select(REQUEST)
        .where(REQUEST.c.contact_id.in_(contact_ids))
        .order_by(REQUEST.c.created_at, REQUEST.c.id)
    )
    return [ConsentRequestRow(**row._mapping) for row in rows]  # noqa: SLF001


def consents(tx: Connection, contact_ids: Sequence[str], *, lock: bool = False) -> list[ConsentRow]:
    """Every consent of some contacts; with `lock` none of them changes before `tx` ends."""
    chosen = select(CONSENT).where(CONSENT.c.contact_id.in_(contact_ids))
    chosen = chosen.order_by(CONSENT.c.id if lock else CONSENT.c.created_at, CONSENT.c.id)
    rows = tx.execute(chosen.with_for_update() if lock else chosen)
    return [ConsentRow(**row._mapping) for row in rows]  # noqa: SLF001


def wards(tx: Connection, tenant_id: str, contact_ids: Collection[str]) -> list[ContactRow]:
    """The contacts of minors whose guardian, as their partner says now, is one of these."""
    rows = tx.execute(
        select(CONTACT)
        .where(CONTACT.c.guardian_contact_id.in_(contact_ids), CONTACT.c.tenant_id == tenant_id)
        .order_by(CONTACT.c.id)
    )
    return [ContactRow(**row._mapping) for row in rows]  # noqa: SLF001


def for_others(
    tx: Connection,
    tenant_id: str,
    subject_id: str | None,
    ward_ids: Collection[str],
    *,
    lock: bool = False,
) -> list[ConsentRow]:
    """The consents that a customer gave as a minor's guardian, and all of these wards.

    Oldest first; `lock` as above. Of a customer without a wallet (None) those of the wards alone.
    """
    given = false() if subject_id is None else CONSENT.c.guardian_id == subject_id
    chosen = select(CONSENT).where(
        or_(given, CONSENT.c.contact_id.in_(ward_ids)), CONSENT.c.tenant_id == tenant_id
    )
    chosen = chosen.order_by(CONSENT.c.id if lock else CONSENT.c.created_at, CONSENT.c.id)
    rows = tx.execute(chosen.with_for_update() if lock else chosen)
    return [ConsentRow(**row._mapping) for row in rows]  # noqa: SLF001
