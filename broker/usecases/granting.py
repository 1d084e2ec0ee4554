"""What a verified signature changes: a consent granted or withdrawn, and what follows from it."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.consent import ConsentState, WithdrawalGrade, transition
from broker.domain.evidence.signatures import BLINDING_BYTES
from broker.domain.held import Held
from broker.domain.ids import new_id
from broker.domain.issued_claims import COARSE_SECONDS
from broker.domain.template import Template
from broker.domain.terms import Terms
from broker.store import consents, outside_copies, partners, presentations
from broker.store.consents import ConsentRow, Grant
from broker.store.contacts import ContactRow
from broker.store.credentials import CopyRow
from broker.store.outside_copies import WithdrawalCopy
from broker.store.presentations import EvidenceRow, IssuedRow, PresentationRequestRow
from broker.usecases import audit
from broker.usecases.consent_credential import issue_consent_credential, issue_receipt
from broker.usecases.context import Context
from broker.usecases.deletion import open_task
from broker.usecases.event import tell_of_consent
from broker.usecases.invitation import pairwise_id
from broker.usecases.presentation_request import Document, Question
from broker.usecases.status import Allocated, allocate, mark_changed
from broker.usecases.unlearning import note_end
from credentials.jcs import b64url
from credentials.verify import VerifiedPresentation

DAY = 86_400


@dataclass(frozen=True)
class Signed:
    """A verified presentation, the credential copy behind it, and the question that it answers."""

    presentation: VerifiedPresentation
    copy: CopyRow
    question: Question
    document: Document
    request: PresentationRequestRow


@dataclass(frozen=True)
class First:
    """What a minor has signed, to which the guardian's signature is added."""

    grade: str
    binding_grade: str
    copy_id: str
    hashes: dict[str, Any]


def sha256(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, base64url."""
    return b64url(hashlib.sha256(text.encode()).digest())


def grant_consent(
    ctx: Context,
    tx: Connection,
    row: ConsentRow,
    signed: Signed,
    *,
    contact: ContactRow,
    template: Template,
    first: First | None = None,
) -> None:
    """Write a grant: state, evidence, both credentials, audit, the end of what it replaces.

    `contact` is the customer's, bound. Where a minor has signed `first`, `signed` is by the
    guardian. Raises `StateConflict` when the consent is not requested.
    """
    terms = Terms.from_json(orjson.loads(signed.question.terms))
    status = allocate(ctx, tx, row.tenant_id, row.partner_id)
    given = _grant(signed, terms, status, contact, first)
    consents.grant(
        tx, row.id, transition(ConsentState(row.state), ConsentState.GRANTED), given, ctx.now()
    )
    kept = keep_evidence(
        ctx,
        tx,
        row,
        signed,
        kind="grant" if first is None else "guardian",
        kept_until=terms.valid_until + template.evidence_retention_days * DAY,
        binding_grade=contact.grade,
    )
    hashes = kept if first is None else {**first.hashes, "guardian": kept}
    issued = _issue(ctx, tx, row, given, terms, status=status, hashes=hashes)
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="consent.granted",
        consent_id=row.id,
        subject_id=given.subject_id,
        body={
            "request": row.request_id,
            "partner": row.partner_id,
            "terms_hash": signed.question.terms_hash,
            "signature_grade": given.grade,
            "binding_grade": contact.grade if first is None else first.binding_grade,
            "evidence": hashes,
            **issued,
        },
    )
    tell_of_consent(ctx, tx, row, "consent.granted")
    _supersede(ctx, tx, row, template)


def withdraw_consent(
    ctx: Context,
    tx: Connection,
    row: ConsentRow,
    signed: Signed | None,
    *,
    officer_id: str | None = None,
    held: Held | None = None,
) -> WithdrawalGrade:
    """Write a withdrawal, signed by a wallet or taken by an officer in the tenant's own channel.

    The next decision denies: it reads the row that this changes. With `held`, all else that the
    partner may fetch shows it only when that is over, and nothing tells of other partners' parts.
    Raises `StateConflict` when the consent is not granted.
    """
    grade = _withdrawal_grade(row, signed)
    body: dict[str, Any] = {
        "terms_hash": row.terms_hash,
        "grade": str(grade),
        "partner": row.partner_id,
    }
    if held is not None:
        body["time_grain"] = COARSE_SECONDS
    consents.move(
        tx,
        row.id,
        transition(ConsentState(row.state), ConsentState.WITHDRAWN),
        ctx.now(),
        withdrawal_grade=str(grade),
        shown_from=None if held is None else held.until,
    )
    if held is None:
        # Held back, the link that a partner may have asked for before works on until it expires.
        presentations.replace_open(tx, row.request_id, "withdrawal", ctx.now(), row.id)
        if row.status_list_id is not None:
            mark_changed(tx, row.status_list_id)
    if signed is not None:
        granted = presentations.evidence(tx, row.id)
        kept_until = max((one.kept_until for one in granted), default=ctx.now())
        body["evidence"] = keep_evidence(
            ctx,
            tx,
            row,
            signed,
            kind="withdrawal",
            kept_until=kept_until,
            blinding=None if held is None else b64url(secrets.token_bytes(BLINDING_BYTES)),
        )
        body["signature_grade"] = signed.document.grade
    if officer_id is not None:
        body["officer"] = officer_id
    task_id = open_task(ctx, tx, row, "withdrawn", since=None if held is None else held.until)
    if task_id is not None:
        body["deletion_task"] = task_id
    note_end(ctx, tx, row, None if held is None else held.until)
    # A copy that a restored backup does not take back.
    copy = WithdrawalCopy(row.tenant_id, row.id, ctx.now())
    outside_copies.keep_with(tx, ctx.settings.home, copy)
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="consent.withdrawn",
        consent_id=row.id,
        subject_id=row.subject_id,
        body=body,
        held=held,
    )
    tell_of_consent(ctx, tx, row, "consent.withdrawn", held)
    return grade


def keep_evidence(
    ctx: Context,
    tx: Connection,
    row: ConsentRow,
    signed: Signed,
    *,
    kind: str,
    kept_until: int,
    binding_grade: str | None = None,
    blinding: str | None = None,
) -> dict[str, Any]:
    """Keep what was signed, sealed; return its hashes (base64url SHA-256) for credentials and log.

    The presentation is over the customer credential, which holds no profile attribute, so all of
    its disclosures are kept: dropping one would break `sd_hash`. A request object that was about
    several partners' consents is hashed after `blinding`, kept beside it: its bare hash in the
    evidence of two partners would tell them that they have a customer in common.
    """
    served = [
        ctx.master.open(one.sealed, f"served:{signed.request.id}").decode()
        for one in presentations.served(tx, signed.request.id)
    ]
    evidence_id = new_id("ev")
    content = {
        "kind": kind,
        "consent_id": row.id,
        "presentation": signed.presentation.raw,
        "request_objects": served,
        "client_id": signed.presentation.audience,
        "nonce": signed.request.nonce,
        "terms": signed.question.terms,
        "transaction_data": signed.question.transaction_data,
        "bound_random": signed.document.random,
        "signature_grade": signed.document.grade,
        "binding_grade": binding_grade,
        "signed_at": signed.presentation.signed_at,
        "accepted_at": ctx.now(),
    }
    if blinding is not None:
        content["blinding"] = blinding
    presentations.add_evidence(
        tx,
        EvidenceRow(
            id=evidence_id,
            tenant_id=row.tenant_id,
            consent_id=row.id,
            kind=kind,
            sealed=ctx.master.seal(orjson.dumps(content), f"evidence:{evidence_id}"),
            kept_until=kept_until,
            created_at=ctx.now(),
        ),
    )
    return {
        "presentation": sha256(signed.presentation.raw),
        "request_objects": [sha256((blinding or "") + one) for one in served],
        "terms": signed.question.terms_hash,
    }


def _grant(
    signed: Signed, terms: Terms, status: Allocated, contact: ContactRow, first: First | None
) -> Grant:
    return Grant(
        # Of a child with no wallet it is not who signed.
        subject_id=contact.subject_id or signed.copy.subject_id,
        terms=signed.question.terms,
        terms_hash=signed.question.terms_hash,
        grade=signed.document.grade if first is None else first.grade,
        signed_copy_id=signed.copy.id if first is None else first.copy_id,
        valid_from=terms.valid_from,
        valid_until=terms.valid_until,
        uses_left=terms.max_uses,
        status_list_id=status.list_id,
        status_index=status.index,
        guardian_id=None if terms.guardian is None else signed.copy.subject_id,
    )


def _withdrawal_grade(row: ConsentRow, signed: Signed | None) -> WithdrawalGrade:
    if signed is None:
        return WithdrawalGrade.TENANT_CHANNEL
    if signed.copy.id == row.signed_copy_id:
        return WithdrawalGrade.SAME_KEY
    by_customer = signed.copy.subject_id == row.subject_id
    return WithdrawalGrade.BOUND_KEY if by_customer else WithdrawalGrade.GUARDIAN


def _issue(
    ctx: Context,
    tx: Connection,
    row: ConsentRow,
    given: Grant,
    terms: Terms,
    *,
    status: Allocated,
    hashes: dict[str, Any],
) -> dict[str, str]:
    """Issue the partner's credential and the customer's receipt; their hashes, by name."""
    now = ctx.now()
    partner = partners.find(tx, row.tenant_id, row.partner_id)
    consent_credential = issue_consent_credential(
        ctx,
        terms=terms,
        tenant_id=row.tenant_id,
        partner_jwk=orjson.loads(partner.jwk),
        pairwise=pairwise_id(ctx, given.subject_id, row.partner_id),
        status=status,
        evidence_hashes=hashes,
        grade=given.grade,
        now=now,
    )
    receipt = issue_receipt(
        ctx,
        terms=terms,
        tenant_id=row.tenant_id,
        evidence_hashes=hashes,
        now=now,
    )
    for kind, credential in (("consent", consent_credential), ("receipt", receipt)):
        presentations.add_issued(
            tx,
            IssuedRow(
                id=new_id("ic"),
                tenant_id=row.tenant_id,
                consent_id=row.id,
                kind=kind,
                sealed=ctx.master.seal(credential.encode(), f"issued:{row.id}:{kind}"),
                issued_at=now,
            ),
        )
    return {"consent_credential": sha256(consent_credential), "receipt": sha256(receipt)}


def _supersede(ctx: Context, tx: Connection, row: ConsentRow, template: Template) -> None:
    for older in consents.live_twins(tx, row, template.id):
        change = transition(ConsentState.GRANTED, ConsentState.SUPERSEDED)
        consents.move(tx, older.id, change, ctx.now())
        presentations.replace_open(tx, older.request_id, "withdrawal", ctx.now(), older.id)
        if older.status_list_id is not None:
            mark_changed(tx, older.status_list_id)
        audit.record(
            ctx,
            tx,
            tenant_id=older.tenant_id,
            type="consent.superseded",
            consent_id=older.id,
            subject_id=older.subject_id,
            body={"by": row.id, "terms_hash": older.terms_hash},
        )
        tell_of_consent(ctx, tx, older, "consent.superseded")
