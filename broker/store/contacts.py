"""Rows of contacts and invitations: who a partner means, and the offers made to them."""

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound
from broker.domain.guardian import Minor
from broker.domain.ids import new_id
from broker.store import tables
from broker.store.prepared import Prepared
from credentials.jcs import b64url
from credentials.sealing import MasterKey

CONTACT = tables.Contact.__table__  # type: ignore[attr-defined]
INVITATION = tables.Invitation.__table__  # type: ignore[attr-defined]
TOKEN = tables.AccessToken.__table__  # type: ignore[attr-defined]

_INVITED = Prepared(
    select(
        TOKEN.c.expires_at.label("token_expires_at"),
        *INVITATION.c,
        *(column.label(f"contact_{column.name}") for column in CONTACT.c),
    )
    .join(INVITATION, INVITATION.c.id == TOKEN.c.subject)
    .join(CONTACT, CONTACT.c.id == INVITATION.c.contact_id)
    .where(
        TOKEN.c.token_hash == bindparam("b_token"),
        TOKEN.c.tenant_id == bindparam("b_tenant"),
        TOKEN.c.role == "wallet",
        INVITATION.c.tenant_id == TOKEN.c.tenant_id,
    )
)
_INVITATION_WIDTH = len(INVITATION.c)
_BIND = Prepared(
    update(CONTACT)
    .where(
        CONTACT.c.id == bindparam("b_id"),
        CONTACT.c.subject_id.is_not_distinct_from(bindparam("b_expected")),
        CONTACT.c.erasure_id.is_(None),
    )
    .values(
        subject_id=bindparam("b_subject"), grade=bindparam("b_grade"), bound_at=bindparam("b_now")
    )
)
_SET_SUBJECT = Prepared(
    update(INVITATION)
    .where(INVITATION.c.id == bindparam("b_id"), INVITATION.c.subject_id.is_(None))
    .values(subject_id=bindparam("b_subject"))
)


@dataclass(frozen=True)
class ContactRow:
    """A partner's opaque reference to a customer, and whose wallet it is bound to, how surely.

    With an `erasure_id` it is a shell: the reference is gone and nobody is bound to it any more.
    """

    id: str
    tenant_id: str
    partner_id: str
    subject_ref_hash: str
    sealed_subject_ref: bytes
    subject_id: str | None
    grade: str
    bound_at: int | None
    created_at: int
    erasure_id: str | None = None
    minor: str | None = None
    test_subject: bool | None = None
    guardian_contact_id: str | None = None


@dataclass(frozen=True)
class InvitationRow:
    """An offer of customer credentials to one contact; codes are kept as hashes.

    `sealed_code` serves the offer by reference until it is redeemed; `subject_id` is set once
    credentials were issued. `approval` says whether an officer has to approve first, and has.
    """

    id: str
    tenant_id: str
    contact_id: str
    grade: str
    code_hash: str
    sealed_code: bytes | None
    tx_code_hash: str | None
    tx_code_failures: int
    state: str
    subject_id: str | None
    rebinding: bool
    expires_at: int
    created_at: int
    approval: str = "none"


@dataclass(frozen=True)
class Invited:
    """The holder of a wallet's token: what was offered, to whom; `expires_at` is the token's."""

    expires_at: int
    invitation: InvitationRow
    contact: ContactRow


def subject_ref_hash(key: bytes, partner_id: str, subject_ref: str) -> str:
    """HMAC-SHA256 of a partner's contact, base64url: equal contacts of two partners differ."""
    message = f"{partner_id}\x00{subject_ref}".encode("utf-8", "surrogatepass")
    return b64url(hmac.digest(key, message, hashlib.sha256))


def get_or_create(
    tx: Connection,
    master: MasterKey,
    *,
    tenant_id: str,
    partner_id: str,
    subject_ref: str,
    ref_hash: str,
    now: int,
) -> ContactRow:
    """The contact of a partner with this hash, made unbound when it is not there yet.

    An erasure of it waits for the end of `tx`; one that came first leaves a new contact here.
    """
    found = by_ref(tx, partner_id, ref_hash, lock=True)
    if found is not None:
        return found
    contact_id = new_id("ct")
    try:
        with tx.begin_nested():
            row = ContactRow(
                id=contact_id,
                tenant_id=tenant_id,
                partner_id=partner_id,
                subject_ref_hash=ref_hash,
                sealed_subject_ref=master.seal(
                    subject_ref.encode("utf-8", "surrogatepass"), f"contact:{contact_id}"
                ),
                subject_id=None,
                grade="none",
                bound_at=None,
                created_at=now,
            )
            tx.execute(insert(CONTACT).values(**vars(row)))
            return row
    except IntegrityError:
        # PostgreSQL: another transaction made the same contact first.
        made = by_ref(tx, partner_id, ref_hash)
        if made is None:
            raise
        return made


def by_ref(
    tx: Connection, partner_id: str, ref_hash: str, *, lock: bool = False
) -> ContactRow | None:
    """The contact of a partner by the hash of its reference; with `lock` as in `find`."""
    chosen = select(CONTACT).where(
        CONTACT.c.partner_id == partner_id, CONTACT.c.subject_ref_hash == ref_hash
    )
    row = tx.execute(chosen.with_for_update(key_share=True) if lock else chosen).one_or_none()
    return None if row is None else _contact(row)


def find(tx: Connection, tenant_id: str, contact_id: str, *, lock: bool = False) -> ContactRow:
    """A contact of the tenant; raises `NotFound`.

    With `lock` it cannot be bound anew before the transaction ends, and what others would do
    under the same lock waits: of two grants the later one sees the earlier, and supersedes it.
    """
    found = select(CONTACT).where(CONTACT.c.id == contact_id, CONTACT.c.tenant_id == tenant_id)
    row = tx.execute(found.with_for_update(key_share=True) if lock else found).one_or_none()
    if row is None:
        raise NotFound("no such contact")
    return _contact(row)


def of_subject(tx: Connection, tenant_id: str, subject_id: str) -> list[ContactRow]:
    """The contacts, of any partner, that are bound to a customer, oldest binding first."""
    rows = tx.execute(
        select(CONTACT)
        .where(CONTACT.c.tenant_id == tenant_id, CONTACT.c.subject_id == subject_id)
        .order_by(CONTACT.c.bound_at, CONTACT.c.id)
    )
    return [_contact(row) for row in rows]


def subject_ref(master: MasterKey, contact: ContactRow) -> str:
    """The partner's own reference, opened; raises `SealBroken` under another master key."""
    opened = master.open(contact.sealed_subject_ref, f"contact:{contact.id}")
    return opened.decode("utf-8", "surrogatepass")


def bind(
    tx: Connection,
    contact_id: str,
    *,
    subject_id: str,
    grade: str,
    now: int,
    expected: str | None = None,
) -> bool:
    """Bind a contact to a customer if it is still bound to `expected` (None: to nobody).

    False when another binding came first; then nothing was written.
    """
    which = {"b_id": contact_id, "b_expected": expected}
    to = {"b_subject": subject_id, "b_grade": grade, "b_now": now}
    return _BIND.changed(tx, {**which, **to}) == 1


def set_minor(tx: Connection, contact_id: str, minor: Minor | None) -> None:
    """Note what its partner says of a contact that is a minor, or that it is none."""
    kept, guardian = (None, None) if minor is None else (minor.dump(), minor.guardian)
    values = {"minor": kept, "guardian_contact_id": guardian}
    tx.execute(update(CONTACT).where(CONTACT.c.id == contact_id).values(**values))


def add_invitation(tx: Connection, row: InvitationRow) -> None:
    """Store a new invitation."""
    tx.execute(insert(INVITATION).values(**vars(row)))


def close_invitations(tx: Connection, contact_id: str) -> None:
    """End the open invitations of a contact, since a newer one takes their place."""
    tx.execute(
        update(INVITATION)
        .where(INVITATION.c.contact_id == contact_id, INVITATION.c.state == "open")
        .values(state="expired", sealed_code=None)
    )


def close_invitations_of(tx: Connection, partner_id: str) -> int:
    """End the open invitations of all contacts of a partner; how many there were."""
    theirs = select(CONTACT.c.id).where(CONTACT.c.partner_id == partner_id)
    return tx.execute(
        update(INVITATION)
        .where(INVITATION.c.contact_id.in_(theirs), INVITATION.c.state == "open")
        .values(state="expired", sealed_code=None)
    ).rowcount


def open_invitation(tx: Connection, contact_id: str, now: int) -> InvitationRow | None:
    """The invitation of a contact that can still be redeemed; opening one ends the earlier ones."""
    row = tx.execute(
        select(INVITATION)
        .where(
            INVITATION.c.contact_id == contact_id,
            INVITATION.c.state == "open",
            INVITATION.c.expires_at > now,
        )
        .order_by(INVITATION.c.created_at.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else InvitationRow(**row._mapping)  # noqa: SLF001


def invitation(tx: Connection, tenant_id: str, invitation_id: str) -> InvitationRow:
    """An invitation of the tenant; raises `NotFound`."""
    row = tx.execute(
        select(INVITATION).where(
            INVITATION.c.id == invitation_id, INVITATION.c.tenant_id == tenant_id
        )
    ).one_or_none()
    if row is None:
        raise NotFound("no such invitation")
    return InvitationRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def invited(tx: Connection, tenant_id: str, token_hash: str) -> Invited | None:
    """Whom a wallet's token stands for, in one statement; None when there is no such token."""
    rows = _INVITED.rows(tx, {"b_token": token_hash, "b_tenant": tenant_id})
    if not rows:
        return None
    expires_at, *values = rows[0]
    found = InvitationRow(*values[:_INVITATION_WIDTH])
    # SQLite's driver gives a number where the column is a boolean.
    found = replace(found, rebinding=bool(found.rebinding))
    return Invited(expires_at, found, ContactRow(*values[_INVITATION_WIDTH:]))


def lock_invitation(tx: Connection, invitation_id: str) -> None:
    """Keep others from changing an invitation until the end of `tx` (SQLite: nobody else can)."""
    tx.execute(select(INVITATION.c.id).where(INVITATION.c.id == invitation_id).with_for_update())


def invitation_by_code(tx: Connection, tenant_id: str, code_hash: str) -> InvitationRow | None:
    """The invitation of a pre-authorized code, by its hash; locked until the end of `tx`."""
    row = tx.execute(
        select(INVITATION)
        .where(INVITATION.c.code_hash == code_hash, INVITATION.c.tenant_id == tenant_id)
        .with_for_update()
    ).one_or_none()
    return None if row is None else InvitationRow(**row._mapping)  # noqa: SLF001


def end_invitation(tx: Connection, invitation_id: str, after: str) -> bool:
    """Move an open invitation to `after`, forget its code; False when it is not open any more."""
    changed = tx.execute(
        update(INVITATION)
        .where(INVITATION.c.id == invitation_id, INVITATION.c.state == "open")
        .values(state=after, sealed_code=None)
    )
    return changed.rowcount == 1


def count_refused(tx: Connection, invitation_id: str) -> int:
    """Count one refused redemption; how many there have been.

    While the invitation is open, each is a wrong transaction code.
    """
    counted: int = tx.execute(
        update(INVITATION)
        .where(INVITATION.c.id == invitation_id)
        .values(tx_code_failures=INVITATION.c.tx_code_failures + 1)
        .returning(INVITATION.c.tx_code_failures)
    ).scalar_one()
    return counted


def approve_invitation(tx: Connection, invitation_id: str, after: str) -> bool:
    """Approve or refuse an invitation that waits for it; False when it does not wait."""
    changed = tx.execute(
        update(INVITATION)
        .where(INVITATION.c.id == invitation_id, INVITATION.c.approval == "waiting")
        .values(approval=after)
    )
    return changed.rowcount == 1


def set_invited_subject(tx: Connection, invitation_id: str, subject_id: str) -> bool:
    """Note whom the invitation led to; False when it has led to somebody already."""
    return _SET_SUBJECT.changed(tx, {"b_id": invitation_id, "b_subject": subject_id}) == 1


def _contact(row: Row[Any]) -> ContactRow:
    return ContactRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)
