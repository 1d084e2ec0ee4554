"""Who is meant: the customer behind a partner's reference or a consent, with all their contacts."""

from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.errors import Erased, InvalidRequest, NotFound
from broker.store import consents, contacts, erasures, people
from broker.store.consents import ConsentRow
from broker.store.contacts import ContactRow
from broker.usecases.context import Context


@dataclass(frozen=True)
class Named:
    """A customer as a caller names them: by a partner's reference, or by one of their consents.

    After an erasure the reference leads nowhere, a consent still does.
    """

    partner_id: str | None = None
    subject_ref: str | None = None
    consent_id: str | None = None

    def __post_init__(self) -> None:
        """Raise `InvalidRequest` unless it is one of the two."""
        by_ref = (self.partner_id, self.subject_ref)
        if (self.consent_id is None) != all(by_ref) or (self.consent_id and any(by_ref)):
            raise InvalidRequest("name the customer by partner and subject_ref, or by a consent")


@dataclass(frozen=True)
class Person:
    """A customer of a tenant: their contacts with its partners, and who they are once bound."""

    tenant_id: str
    subject_id: str | None
    contacts: tuple[ContactRow, ...]

    @property
    def contact_ids(self) -> tuple[str, ...]:
        """The contacts by id."""
        return tuple(contact.id for contact in self.contacts)

    @property
    def erasure_id(self) -> str | None:
        """The erasure that emptied the contacts."""
        return next((contact.erasure_id for contact in self.contacts if contact.erasure_id), None)


def find_person(
    ctx: Context, tx: Connection, tenant_id: str, named: Named, *, hold: bool = False
) -> Person:
    """The customer, or `NotFound`; with `hold` nobody else changes the contacts meanwhile."""
    found = _contact(ctx, tx, tenant_id, named)
    if hold:
        people.hold(tx, [found.id])
        found = contacts.find(tx, tenant_id, found.id)
    every = [found]
    if found.subject_id is not None:
        every = contacts.of_subject(tx, tenant_id, found.subject_id)
        if hold:
            people.hold(tx, [contact.id for contact in every])
            every = contacts.of_subject(tx, tenant_id, found.subject_id)
    return Person(tenant_id, found.subject_id, tuple(every))


def readable_consent(
    tx: Connection, tenant_id: str, consent_id: str, partner_id: str | None, now: int
) -> ConsentRow:
    """A consent of a partner, or (None) for an officer.

    Raises `NotFound`; `Erased` once the customer was: for the partner as soon as it may see it,
    for officers when the law lets go of what was signed.
    """
    row = consents.consent(tx, tenant_id, consent_id)
    if partner_id is not None and row.partner_id != partner_id:
        raise NotFound("no such consent")
    erasure_id = contacts.find(tx, tenant_id, row.contact_id).erasure_id
    if erasure_id is None:
        return row
    gone = partner_id is not None and not erasures.is_hidden(tx, tenant_id, erasure_id, now)
    if gone or not row.terms:
        raise Erased("the customer was erased: stop using what you had; see your deletion tasks")
    return row


def _contact(ctx: Context, tx: Connection, tenant_id: str, named: Named) -> ContactRow:
    if named.consent_id is not None:
        row = consents.consent(tx, tenant_id, named.consent_id)
        return contacts.find(tx, tenant_id, row.contact_id)
    hashed = contacts.subject_ref_hash(
        ctx.keys.hmac_key("contact"), named.partner_id or "", named.subject_ref or ""
    )
    found = contacts.by_ref(tx, named.partner_id or "", hashed)
    if found is None or found.tenant_id != tenant_id:
        raise NotFound(
            "nothing is held under this reference of this partner; what was erased can be named "
            "by one of its consents"
        )
    return found
