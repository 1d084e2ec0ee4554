"""A minor's consent takes two signatures over the same terms; what each of them changes.

The minor's is kept, and the consent stays requested; with the guardian's it is granted. A child
with no wallet signs nothing: the guardian's signature alone grants, and the child becomes a
customer without a wallet.
"""

from dataclasses import replace

import orjson
from sqlalchemy import Connection

from broker.domain.guardian import GUARDIAN
from broker.domain.ids import new_id
from broker.domain.template import Template
from broker.domain.terms import Terms
from broker.store import consents, contacts, presentations, subjects
from broker.store.consents import ConsentRow
from broker.store.contacts import ContactRow
from broker.usecases import audit
from broker.usecases.answering import Refused
from broker.usecases.context import Context
from broker.usecases.granting import DAY, First, Signed, grant_consent, keep_evidence, sha256
from broker.usecases.guardian import signer


def take(
    ctx: Context,
    tx: Connection,
    row: ConsentRow,
    signed: Signed,
    *,
    contact: ContactRow,
    template: Template,
) -> None:
    """Take a signature on a consent by whoever's turn it is: it is granted, or waits for another.

    Raises `Refused`, `StateConflict`.
    """
    terms = Terms.from_json(orjson.loads(signed.question.terms))
    by_guardian = signed.document.signer == GUARDIAN
    if terms.guardian is None:
        grant_consent(ctx, tx, row, signed, contact=contact, template=template)
    elif terms.guardian.alone:
        child = _child(ctx, tx, contact, signed)
        grant_consent(ctx, tx, row, signed, contact=child, template=template)
    elif not by_guardian:
        _sign_first(ctx, tx, row, signed, contact=contact, template=template)
    else:
        if signed.copy.subject_id == contact.subject_id:
            raise Refused("guardian_is_minor", "the minor cannot sign as their own guardian")
        first = _first(ctx, tx, row)
        guardian = signer(tx, contact, GUARDIAN)
        bound = replace(contact, grade=guardian.grade)
        grant_consent(ctx, tx, row, signed, contact=bound, template=template, first=first)


def _sign_first(
    ctx: Context,
    tx: Connection,
    row: ConsentRow,
    signed: Signed,
    *,
    contact: ContactRow,
    template: Template,
) -> None:
    question = signed.question
    consents.sign_first(
        tx,
        row.id,
        terms=question.terms,
        terms_hash=question.terms_hash,
        signed_copy_id=signed.copy.id,
    )
    valid_until = Terms.from_json(orjson.loads(question.terms)).valid_until
    hashes = keep_evidence(
        ctx,
        tx,
        row,
        signed,
        kind="grant",
        kept_until=valid_until + template.evidence_retention_days * DAY,
        binding_grade=contact.grade,
    )
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="consent.signed",
        consent_id=row.id,
        subject_id=signed.copy.subject_id,
        body={
            "request": row.request_id,
            "partner": row.partner_id,
            "terms_hash": question.terms_hash,
            "signature_grade": signed.document.grade,
            "evidence": hashes,
            "awaits": GUARDIAN,
        },
    )


def _first(ctx: Context, tx: Connection, row: ConsentRow) -> First:
    """What the minor has signed; raises `Refused` where there is nothing."""
    kept = [one for one in presentations.evidence(tx, row.id) if one.kind == "grant"]
    if row.signed_copy_id is None or not kept:
        raise Refused("minor_has_not_signed", "the minor signs before the guardian")
    content = orjson.loads(ctx.master.open(kept[0].sealed, f"evidence:{kept[0].id}"))
    return First(
        grade=content["signature_grade"],
        binding_grade=content["binding_grade"],
        copy_id=row.signed_copy_id,
        hashes={
            "presentation": sha256(content["presentation"]),
            "request_objects": [sha256(one) for one in content["request_objects"]],
            "terms": row.terms_hash,
        },
    )


def _child(ctx: Context, tx: Connection, contact: ContactRow, signed: Signed) -> ContactRow:
    """The contact of a child with no wallet, as a customer of its own, bound by the guardian."""
    guardian = signer(tx, contact, GUARDIAN)
    if contact.subject_id is not None:
        return replace(contact, grade=guardian.grade)
    subject_id = new_id("s")
    subjects.add(
        tx,
        subject_id,
        tenant_id=contact.tenant_id,
        sealed_log_key=ctx.keys.new_log_key(f"subject:{subject_id}"),
        now=ctx.now(),
    )
    contacts.bind(tx, contact.id, subject_id=subject_id, grade=guardian.grade, now=ctx.now())
    audit.record(
        ctx,
        tx,
        tenant_id=contact.tenant_id,
        type="contact.bound",
        subject_id=subject_id,
        body={
            "contact": contact.id,
            "partner": contact.partner_id,
            "grade": guardian.grade,
            "by_guardian": guardian.id,
            "copy": signed.copy.id,
        },
    )
    return replace(contact, subject_id=subject_id, grade=guardian.grade)
