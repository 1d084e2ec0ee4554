"""Rows of erasures, and the statements that empty what is held about a customer.

Rows that others point at stay as shells: a consent keeps its state and its place in a status
list, because the public list is made of them; a contact keeps its id and names its erasure.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from broker.domain.errors import NotFound, StateConflict
from broker.store import tables

ERASURE = tables.Erasure.__table__  # type: ignore[attr-defined]
SUBJECT = tables.Subject.__table__  # type: ignore[attr-defined]
CONTACT = tables.Contact.__table__  # type: ignore[attr-defined]
INVITATION = tables.Invitation.__table__  # type: ignore[attr-defined]
AUTHORIZATION = tables.Authorization.__table__  # type: ignore[attr-defined]
DEFERRED = tables.DeferredIssuance.__table__  # type: ignore[attr-defined]
TOKEN = tables.AccessToken.__table__  # type: ignore[attr-defined]
COPY = tables.CredentialCopy.__table__  # type: ignore[attr-defined]
REQUEST = tables.ConsentRequest.__table__  # type: ignore[attr-defined]
CONSENT = tables.Consent.__table__  # type: ignore[attr-defined]
PROOF = tables.ProofRequest.__table__  # type: ignore[attr-defined]
PRESENTATION = tables.PresentationRequest.__table__  # type: ignore[attr-defined]
SERVED = tables.ServedRequest.__table__  # type: ignore[attr-defined]
EVIDENCE = tables.Evidence.__table__  # type: ignore[attr-defined]
ISSUED = tables.IssuedCredential.__table__  # type: ignore[attr-defined]

# What unique columns hold once they are emptied; no hash and no thumbprint looks like it.
EMPTIED = "erased:"


@dataclass(frozen=True)
class ErasureRow:
    """An erasure: by whom, since when, until when the law holds something; Unix seconds.

    `requested_by` is an officer's id, or `operator`; `shown_from`, when the partner may see it, is
    None once what it saw is emptied; `finished_at` is set once nothing is held and the customer's
    log key is destroyed.
    """

    id: str
    tenant_id: str
    subject_id: str | None
    requested_by: str
    begun_at: int
    held_until: int
    finished_at: int | None
    shown_from: int | None = None


def add(tx: Connection, row: ErasureRow) -> None:
    """Store a new erasure."""
    tx.execute(insert(ERASURE).values(**vars(row)))


def find(tx: Connection, tenant_id: str, erasure_id: str) -> ErasureRow:
    """An erasure of the tenant; raises `NotFound`."""
    chosen = select(ERASURE).where(ERASURE.c.id == erasure_id, ERASURE.c.tenant_id == tenant_id)
    for row in _rows(tx, chosen):
        return row
    raise NotFound("no such erasure")


def of_tenant(tx: Connection, tenant_id: str, *, pending: bool = False) -> list[ErasureRow]:
    """The erasures of a tenant, those first that end soonest; with `pending` what is not over."""
    chosen = select(ERASURE).where(ERASURE.c.tenant_id == tenant_id)
    if pending:
        chosen = chosen.where(ERASURE.c.finished_at.is_(None))
    return _rows(tx, chosen.order_by(ERASURE.c.held_until, ERASURE.c.id))


def releasable(tx: Connection, now: int, limit: int) -> list[ErasureRow]:
    """Erasures that are not over and hold something, or nothing, that may go by now.

    Nothing goes of one that its partner may not see yet.
    """
    held = (
        select(CONTACT.c.erasure_id)
        .join(CONSENT, CONSENT.c.contact_id == CONTACT.c.id)
        .join(EVIDENCE, EVIDENCE.c.consent_id == CONSENT.c.id)
        .where(CONTACT.c.erasure_id == ERASURE.c.id, EVIDENCE.c.kept_until <= now)
        .exists()
    )
    hidden = ERASURE.c.shown_from
    chosen = select(ERASURE).where(
        ERASURE.c.finished_at.is_(None),
        or_(hidden <= now, and_(hidden.is_(None), or_(ERASURE.c.held_until <= now, held))),
    )
    return _rows(tx, chosen.order_by(ERASURE.c.held_until, ERASURE.c.id).limit(limit))


def touched_since(tx: Connection, since: int) -> bool:
    """Whether an erasure was begun or finished since then."""
    recent = or_(ERASURE.c.begun_at >= since, ERASURE.c.finished_at >= since)
    return tx.execute(select(ERASURE.c.id).where(recent).limit(1)).first() is not None


def is_hidden(tx: Connection, tenant_id: str, erasure_id: str, now: int) -> bool:
    """Whether a partner may not see an erasure yet."""
    shown_from = find(tx, tenant_id, erasure_id).shown_from
    return shown_from is not None and now < shown_from


def shown(tx: Connection, erasure_id: str) -> None:
    """Say that what a partner saw of the customer is emptied."""
    tx.execute(update(ERASURE).where(ERASURE.c.id == erasure_id).values(shown_from=None))


def finish(tx: Connection, erasure_id: str, now: int) -> None:
    """Say that an erasure is over; raises `StateConflict` when another said so first."""
    done = tx.execute(
        update(ERASURE)
        .where(ERASURE.c.id == erasure_id, ERASURE.c.finished_at.is_(None))
        .values(finished_at=now)
    )
    if done.rowcount != 1:
        raise StateConflict("this erasure is over already")


@contextmanager
def overwriting(tx: Connection) -> Iterator[None]:
    """Within the block, SQLite overwrites with zeros what is deleted.

    PostgreSQL keeps the old version of a row until VACUUM.
    """
    if tx.dialect.name != "sqlite":
        yield
        return
    tx.exec_driver_sql("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        tx.exec_driver_sql("PRAGMA secure_delete=OFF")


def empty_contacts(tx: Connection, contact_ids: Sequence[str], erasure_id: str) -> None:
    """Forget the partners' references; the same reference may then be a new contact."""
    tx.execute(
        update(CONTACT)
        .where(CONTACT.c.id.in_(contact_ids))
        .values(
            subject_ref_hash=literal(EMPTIED) + CONTACT.c.id,
            sealed_subject_ref=b"",
            grade="none",
            bound_at=None,
            erasure_id=erasure_id,
            minor=None,
            guardian_contact_id=None,
            test_subject=None,
        )
    )


def close_invitations(tx: Connection, contact_ids: Sequence[str]) -> None:
    """End invitations with every code, token and waiting request that came of them."""
    theirs = select(INVITATION.c.id).where(INVITATION.c.contact_id.in_(contact_ids))
    # First, as a wallet takes them that redeems a code: the request, then its invitation.
    waiting = select(AUTHORIZATION.c.id).where(AUTHORIZATION.c.invitation_id.in_(theirs))
    tx.execute(waiting.order_by(AUTHORIZATION.c.id).with_for_update())
    tx.execute(
        update(INVITATION)
        .where(INVITATION.c.contact_id.in_(contact_ids), INVITATION.c.state == "open")
        .values(state="expired")
    )
    tx.execute(
        update(INVITATION)
        .where(INVITATION.c.contact_id.in_(contact_ids))
        .values(
            code_hash=literal(EMPTIED) + INVITATION.c.id,
            sealed_code=None,
            tx_code_hash=None,
            approval="none",
        )
    )
    tx.execute(delete(TOKEN).where(TOKEN.c.role == "wallet", TOKEN.c.subject.in_(theirs)))
    tx.execute(delete(DEFERRED).where(DEFERRED.c.invitation_id.in_(theirs)))
    tx.execute(delete(AUTHORIZATION).where(AUTHORIZATION.c.invitation_id.in_(theirs)))


def forget_keys_of_copies(tx: Connection, subject_id: str) -> None:
    """Forget to which keys a customer's copies were bound."""
    tx.execute(
        update(COPY)
        .where(COPY.c.subject_id == subject_id)
        .values(holder_thumbprint=literal(EMPTIED) + COPY.c.id)
    )


def empty_requests(tx: Connection, contact_ids: Sequence[str]) -> None:
    """Forget what wallets were asked, and the pages: their addresses lead nowhere any more.

    Proofs go with them: nothing was granted by them that would have to be shown later.
    """
    tx.execute(delete(PROOF).where(PROOF.c.contact_id.in_(contact_ids)))
    theirs = select(REQUEST.c.id).where(REQUEST.c.contact_id.in_(contact_ids))
    asked = select(PRESENTATION.c.id).where(PRESENTATION.c.consent_request_id.in_(theirs))
    tx.execute(delete(SERVED).where(SERVED.c.presentation_request_id.in_(asked)))
    tx.execute(delete(PRESENTATION).where(PRESENTATION.c.consent_request_id.in_(theirs)))
    tx.execute(
        update(REQUEST)
        .where(REQUEST.c.contact_id.in_(contact_ids))
        .values(page_token_hash=literal(EMPTIED) + REQUEST.c.id, short_code="")
    )


def seen_by_partners(tx: Connection, contact_ids: Sequence[str]) -> bool:
    """Whether a partner has asked these contacts for anything, and so could see it go."""
    return any(
        tx.execute(select(table.c.id).where(table.c.contact_id.in_(contact_ids)).limit(1)).first()
        for table in (REQUEST, PROOF)
    )


def held_until(tx: Connection, contact_ids: Sequence[str]) -> int | None:
    """When the last signed evidence about these contacts may go; None when there is none."""
    latest = (
        select(func.max(EVIDENCE.c.kept_until))
        .join(CONSENT, CONSENT.c.id == EVIDENCE.c.consent_id)
        .where(CONSENT.c.contact_id.in_(contact_ids))
    )
    return tx.execute(latest).scalar_one_or_none()


def release(tx: Connection, contact_ids: Sequence[str], now: int) -> int:
    """Delete what the law does not hold any more; how many pieces of evidence there were.

    A consent whose last evidence goes loses its credentials and its terms with it, as does one
    that never had any.
    """
    theirs = select(CONSENT.c.id).where(CONSENT.c.contact_id.in_(contact_ids))
    gone = tx.execute(
        delete(EVIDENCE).where(EVIDENCE.c.consent_id.in_(theirs), EVIDENCE.c.kept_until <= now)
    )
    held = select(EVIDENCE.c.consent_id).where(EVIDENCE.c.consent_id.in_(theirs))
    tx.execute(
        delete(ISSUED).where(ISSUED.c.consent_id.in_(theirs), ISSUED.c.consent_id.not_in(held))
    )
    tx.execute(
        update(CONSENT)
        .where(CONSENT.c.contact_id.in_(contact_ids), CONSENT.c.id.not_in(held))
        .values(
            terms="",
            signed_copy_id=None,
            guardian_id=case((CONSENT.c.guardian_id.is_(None), None), else_=""),
        )
    )
    return gone.rowcount


def forget_guardian(tx: Connection, subject_id: str) -> None:
    """That a guardian signed stays with the minors' consents; who it was does not."""
    tx.execute(update(CONSENT).where(CONSENT.c.guardian_id == subject_id).values(guardian_id=""))


def destroy_log_key(tx: Connection, subject_id: str) -> None:
    """Destroy a customer's log key: nobody opens the bodies of their entries any more."""
    tx.execute(update(SUBJECT).where(SUBJECT.c.id == subject_id).values(sealed_log_key=None))


def _rows(tx: Connection, chosen: Select[tuple[object, ...]]) -> list[ErasureRow]:
    return [ErasureRow(**row._mapping) for row in tx.execute(chosen)]  # noqa: SLF001
