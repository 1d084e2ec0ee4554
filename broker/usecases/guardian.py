"""Minors and their guardians, as partners mark them, and whose turn it is to sign."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson
from sqlalchemy import Connection

from broker.domain.errors import InvalidRequest, NotFound, StateConflict, UnknownPartner
from broker.domain.guardian import CUSTOMER, GUARDIAN, Minor, check_minor, stored_minor
from broker.domain.terms import Terms
from broker.store import contacts, partners, people, presentations
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.store.contacts import ContactRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.presentation_request import Document


@dataclass(frozen=True)
class Marked:
    """A contact that is a minor, and what its partner says of it."""

    contact: ContactRow
    minor: Minor


def mark(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    subject_ref: str,
    *,
    age_band: str,
    guardian_ref: str,
    relation: str,
    alone: bool = False,
    of_age_at: int | None = None,
) -> Marked:
    """Say that a contact is a minor, and whose contact the guardian's is; in place of before.

    From then on decisions need a guardian's signature where a law asks for it. Raises
    `UnknownPartner`, `InvalidRequest`, `StateConflict` (the contact is somebody's guardian).
    """
    if guardian_ref == subject_ref:
        raise InvalidRequest("nobody is their own guardian: name another contact")
    minor = Minor(age_band, "", relation, alone, of_age_at)
    check_minor(minor, ctx.now())
    with ctx.db.transaction() as tx:
        if partners.find(tx, tenant_id, partner_id, lock=True).state != "active":
            raise UnknownPartner("the partner is suspended")
        # Always in the same order: two who mark at once wait for each other.
        refs = sorted((subject_ref, guardian_ref))
        _hold(ctx, tx, partner_id, refs)
        found = {ref: _contact(ctx, tx, tenant_id, partner_id, ref) for ref in refs}
        contact, guardian = found[subject_ref], found[guardian_ref]
        if any(one.minor is not None for one in _same_person(tx, guardian)):
            raise InvalidRequest(
                "the guardian is marked as a minor: name another, or take that mark away first"
            )
        if people.wards(tx, tenant_id, [one.id for one in _same_person(tx, contact)]):
            raise StateConflict(
                "the contact is the guardian of another minor: name another guardian there first"
            )
        minor = replace(minor, guardian=guardian.id)
        contacts.set_minor(tx, contact.id, minor)
        # With nobody bound yet the entry is sealed for good: then it names no guardian.
        relative = {} if contact.subject_id is None else {"guardian": guardian.id}
        if relative:
            relative["relation"] = relation
        _told(ctx, tx, contact, "minor.marked", **relative)
    return Marked(contact, minor)


def unmark(ctx: Context, tenant_id: str, partner_id: str, contact_id: str) -> None:
    """Say that a contact is no minor: what a guardian has signed for it permits nothing any more.

    Raises `NotFound`.
    """
    with ctx.db.transaction() as tx:
        contact = _marked(tx, tenant_id, partner_id, contact_id).contact
        contacts.set_minor(tx, contact.id, None)
        _told(ctx, tx, contact, "minor.unmarked")


def find(ctx: Context, tenant_id: str, partner_id: str | None, contact_id: str) -> Marked:
    """A contact that is marked as a minor, of its partner (officers: of any); raises `NotFound`."""
    with ctx.db.reading() as tx:
        return _marked(tx, tenant_id, partner_id, contact_id)


def turn(tx: Connection, request: ConsentRequestRow, rows: Sequence[ConsentRow]) -> str:
    """Whose turn it is on a consent request: of whoever its wallet's request asks now.

    In the fallback a minor may have signed some, and be asked for the others still.
    """
    if request.state != "open":
        return CUSTOMER
    for one in presentations.open_ones(tx, request.id):
        if one.kind == "consent":
            return Document.load(one.document).signer
    return signer_of(rows)


def signer_of(rows: Sequence[ConsentRow]) -> str:
    """Who is to be asked for these consents next: a minor before the guardian, if at all."""
    for row in rows:
        guardian = Terms.from_json(orjson.loads(row.terms)).guardian
        if guardian is not None and (guardian.alone or row.awaits_guardian):
            return GUARDIAN
    return CUSTOMER


def signer(tx: Connection, contact: ContactRow, whose: str) -> ContactRow:
    """The contact whose wallet signs: the customer's own, or that of the guardian of now.

    Where the partner has taken the mark away meanwhile, or has marked the guardian as a minor too,
    an unbound one, which nobody can sign for.
    """
    if whose != GUARDIAN:
        return contact
    minor = stored_minor(contact.minor)
    if minor is None:
        return replace(contact, subject_id=None)
    guardian = contacts.find(tx, contact.tenant_id, minor.guardian)
    if any(one.minor is not None for one in _same_person(tx, guardian)):
        return replace(guardian, subject_id=None)
    return guardian


def _same_person(tx: Connection, contact: ContactRow) -> list[ContactRow]:
    """A contact with the others that its partner has of the same wallet."""
    if contact.subject_id is None:
        return [contact]
    found = contacts.of_subject(tx, contact.tenant_id, contact.subject_id)
    return [one for one in found if one.partner_id == contact.partner_id]


def _hold(ctx: Context, tx: Connection, partner_id: str, refs: Sequence[str]) -> None:
    """Hold the contacts of these references, with all of the same wallets, by their ids.

    So nobody makes a minor's person a guardian through another contact of theirs meanwhile.
    """
    key = ctx.keys.hmac_key("contact")
    every = set[str]()
    for ref in refs:
        hashed = contacts.subject_ref_hash(key, partner_id, ref)
        contact = contacts.by_ref(tx, partner_id, hashed)
        every |= set() if contact is None else {one.id for one in _same_person(tx, contact)}
    people.hold(tx, sorted(every))


def _contact(
    ctx: Context, tx: Connection, tenant_id: str, partner_id: str, subject_ref: str
) -> ContactRow:
    key = ctx.keys.hmac_key("contact")
    return contacts.get_or_create(
        tx,
        ctx.master,
        tenant_id=tenant_id,
        partner_id=partner_id,
        subject_ref=subject_ref,
        ref_hash=contacts.subject_ref_hash(key, partner_id, subject_ref),
        now=ctx.now(),
    )


def _marked(tx: Connection, tenant_id: str, partner_id: str | None, contact_id: str) -> Marked:
    contact = contacts.find(tx, tenant_id, contact_id)
    minor = stored_minor(contact.minor)
    if minor is None or partner_id not in {None, contact.partner_id}:
        raise NotFound("no such minor")
    return Marked(contact, minor)


def _told(
    ctx: Context,
    tx: Connection,
    contact: ContactRow,
    type: str,  # noqa: A002
    **more: str,
) -> None:
    body = {"contact": contact.id, "partner": contact.partner_id, **more}
    audit.record(
        ctx,
        tx,
        tenant_id=contact.tenant_id,
        type=type,
        subject_id=contact.subject_id,
        body=body,
    )
