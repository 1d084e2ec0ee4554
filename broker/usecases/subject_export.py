"""Everything held about one customer, as one JSON object (PIPL 45, GDPR 15 and 20).

Its form is `broker/domain/schemas/subject-export-1.json`. No profile attribute is in it, because
the broker holds none; no secret either (codes and tokens are kept as hashes). Nothing in it is
about anybody else but that a minor has a guardian: each entry of the log is one of this customer's,
opened by their own key, and of what a guardian signed there is the hash. What somebody signed as
another's guardian is in their own (`guardian_export`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.consent import WithdrawalGrade
from broker.domain.errors import NotFound
from broker.domain.terms import Terms
from broker.store import audit as audit_store
from broker.store import (
    contacts,
    credentials,
    deletion_tasks,
    erasures,
    partners,
    people,
    presentations,
    proofs,
    registry,
    vault,
)
from broker.store.audit import FoundEntry
from broker.store.consents import ConsentRow
from broker.store.contacts import ContactRow
from broker.store.presentations import EvidenceRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.deletion import opened_receipt
from broker.usecases.granting import sha256
from broker.usecases.guardian_export import as_guardian
from broker.usecases.invitation import pairwise_id
from broker.usecases.person import Named, Person, find_person
from broker.usecases.proof_request import query_of
from broker.usecases.status import list_uri
from credentials.jcs import b64url

SCHEMA = "urn:consent-broker:subject-export:1"
EXPORTED = "subject.exported"
LOOKS = frozenset({EXPORTED, "evidence.exported"})
DECISION = "decision"
HELD = "signed evidence, kept sealed for the template's retention (PIPL 47, GDPR 17(3)(e))"
SHELL = "the consent's state and its place in a public status list, which is made of it"
LEAVES = "salted hashes in an append-only log; the key that opened the entries is destroyed"


def export_subject(ctx: Context, tenant_id: str, named: Named, *, by: str) -> dict[str, Any]:
    """Everything that is held about a customer; that it was handed out enters the log.

    `by` is an officer's id or `operator`. Of an erased customer it says what remains, and why.
    Raises `NotFound`.
    """
    with ctx.db.reading() as tx:
        person = find_person(ctx, tx, tenant_id, named)
        told = _told(ctx, tx, person)
    with ctx.db.transaction() as tx:
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type=EXPORTED,
            subject_id=person.subject_id,
            body={"by": by, "contacts": list(person.contact_ids)},
        )
    return told


def _told(ctx: Context, tx: Connection, person: Person) -> dict[str, Any]:
    tenant = registry.tenant(tx, person.tenant_id)
    names = {row.id: row for row in partners.of_tenant(tx, person.tenant_id)}
    consents = people.consents(tx, person.contact_ids)
    found = audit_store.entries_about(tx, person.subject_id, [row.id for row in consents])
    opened = [one for one in (_opened(ctx, tx, entry) for entry in found) if one is not None]
    return {
        "schema": SCHEMA,
        "controller": {
            "id": tenant.id,
            "name": {"zh": tenant.name_zh, "en": tenant.name_en},
            "contact": tenant.contact,
            "issuer": tenant_url(ctx.settings.public_url, tenant.id),
        },
        "created_at": ctx.now(),
        "subject": person.subject_id,
        "erasure": _erasure(tx, person, consents, closed=len(found) - len(opened)),
        "profile_attributes": [],
        "contacts": [
            {
                "id": contact.id,
                "partner": {
                    "id": contact.partner_id,
                    "name": {
                        "zh": names[contact.partner_id].name_zh,
                        "en": names[contact.partner_id].name,
                    },
                    "contact": names[contact.partner_id].contact,
                },
                **_contact(ctx, contact),
            }
            for contact in person.contacts
        ],
        "invitations": _invitations(tx, person),
        "credential_copies": _copies(ctx, tx, person),
        "consent_requests": _requests(tx, person),
        "consents": [_consent(ctx, tx, row) for row in consents],
        **as_guardian(ctx, tx, person),
        "proof_requests": _proof_requests(ctx, tx, person),
        "envelopes": _envelopes(ctx, tx, person, consents),
        "decisions": [one for one in opened if one["entry"]["type"] == DECISION],
        "acts": [one for one in opened if one["entry"]["type"] not in {DECISION, *LOOKS}],
        "looks": [one for one in opened if one["entry"]["type"] in LOOKS],
    }


def _contact(ctx: Context, row: ContactRow) -> dict[str, Any]:
    return {
        "subject_ref": None if row.erasure_id else contacts.subject_ref(ctx.master, row),
        "pairwise_id": (
            None if row.subject_id is None else pairwise_id(ctx, row.subject_id, row.partner_id)
        ),
        "binding_grade": row.grade,
        "bound_at": row.bound_at,
        "created_at": row.created_at,
        **({} if row.minor is None else {"minor": orjson.loads(row.minor)}),
        **({"test_subject": True} if row.test_subject else {}),
    }


def _invitations(tx: Connection, person: Person) -> list[dict[str, Any]]:
    return [
        {
            "id": row.id,
            "contact": row.contact_id,
            "grade": row.grade,
            "state": row.state,
            "approval": row.approval,
            "refused_redemptions": row.tx_code_failures,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
        }
        for row in people.invitations(tx, person.contact_ids)
    ]


def _copies(ctx: Context, tx: Connection, person: Person) -> list[dict[str, Any]]:
    if person.subject_id is None:
        return []
    return [
        {
            "id": row.id,
            "invitation": row.invitation_id,
            "binding_grade": row.grade,
            "state": row.state,
            "issued_at": row.issued_at,
            "expires_at": row.expires_at,
            "status": _place(ctx, row.tenant_id, row.status_list_id, row.status_index),
        }
        for row in credentials.of_subject(tx, person.subject_id, None)
    ]


def _requests(tx: Connection, person: Person) -> list[dict[str, Any]]:
    return [
        {
            "id": row.id,
            "contact": row.contact_id,
            "partner": row.partner_id,
            "template": f"{row.template_id}@{row.template_version}",
            "language": row.language,
            "state": row.state,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
        }
        for row in people.requests(tx, person.contact_ids)
    ]


def _proof_requests(ctx: Context, tx: Connection, person: Person) -> list[dict[str, Any]]:
    return [
        {
            "id": row.id,
            "contact": row.contact_id,
            "partner": row.partner_id,
            "template": f"{row.template_id}@{row.template_version}",
            "state": row.state_at(ctx.now()),
            "statements": [statement.to_json() for statement in query_of(row).statements],
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "proven_at": row.proven_at,
            "kept_until": row.kept_until,
            "proof": None
            if row.sealed_proof is None
            else orjson.loads(ctx.master.open(row.sealed_proof, f"proof:{row.id}")),
        }
        for row in proofs.of_contacts(tx, person.contact_ids)
    ]


def _consent(ctx: Context, tx: Connection, row: ConsentRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "request": row.request_id,
        "contact": row.contact_id,
        "partner": row.partner_id,
        "item": row.item,
        "state": row.state,
        "terms": orjson.loads(row.terms) if row.terms else None,
        "terms_hash": row.terms_hash,
        "signature_grade": row.grade,
        "withdrawal_grade": row.withdrawal_grade,
        "refuses_automated_decisions": bool(row.refuses_automated_decisions),
        "uses_left": row.uses_left,
        "valid_from": row.valid_from,
        "valid_until": row.valid_until,
        "created_at": row.created_at,
        "decided_at": row.decided_at,
        "ended_at": row.ended_at,
        "status": _place(ctx, row.tenant_id, row.status_list_id, row.status_index),
        "consent_credential": _issued(ctx, tx, row, "consent"),
        "receipt": _issued(ctx, tx, row, "receipt"),
        "evidence": [
            {
                "kind": kept.kind,
                "created_at": kept.created_at,
                "kept_until": kept.kept_until,
                "content": _content(ctx, row, kept),
            }
            for kept in presentations.evidence(tx, row.id)
        ],
        "deletion": _deletion(ctx, tx, row),
    }


def _content(ctx: Context, row: ConsentRow, kept: EvidenceRow) -> dict[str, Any]:
    """What was signed; of a guardian's signature the terms and when, with the hash of the rest."""
    content: dict[str, Any] = orjson.loads(ctx.master.open(kept.sealed, f"evidence:{kept.id}"))
    guardian = Terms.from_json(orjson.loads(content["terms"])).guardian
    by_guardian = {
        "grant": guardian is not None and guardian.alone,
        "guardian": True,
        "withdrawal": guardian is not None
        and (guardian.alone or row.withdrawal_grade == WithdrawalGrade.GUARDIAN),
    }
    if not by_guardian[kept.kind]:
        return content
    told = ("kind", "consent_id", "terms", "signature_grade", "signed_at", "accepted_at")
    return {
        **{name: content[name] for name in told},
        "presentation_hash": sha256(content["presentation"]),
    }


def _envelopes(
    ctx: Context, tx: Connection, person: Person, consents: Iterable[ConsentRow]
) -> list[dict[str, Any]]:
    """Where sealed attributes lie; the broker cannot open them."""
    names = ("id", "attribute", "masking", "vault", "digest", "size", "state", "created_at")
    return [
        {
            "consent": row.consent_id,
            **{name: getattr(row, name) for name in names},
            "deleted_at": row.deleted_at,
            "reference": ctx.master.open(row.sealed_reference, f"envelope:{row.id}").decode()
            if row.sealed_reference
            else None,
        }
        for row in vault.of_consents(tx, person.tenant_id, [one.id for one in consents])
    ]


def _issued(ctx: Context, tx: Connection, row: ConsentRow, kind: str) -> str | None:
    try:
        issued = presentations.issued(tx, row.tenant_id, row.id, kind)
    except NotFound:
        return None
    return ctx.master.open(issued.sealed, f"issued:{row.id}:{kind}").decode()


def _deletion(ctx: Context, tx: Connection, row: ConsentRow) -> dict[str, Any] | None:
    task = deletion_tasks.of_consent(tx, row.id)
    if task is None:
        return None
    return {
        "task": task.id,
        "reason": task.reason,
        "attributes": orjson.loads(task.attributes),
        "state": task.state,
        "created_at": task.created_at,
        "due_at": task.due_at,
        "received_at": task.received_at,
        "receipt": opened_receipt(ctx, task),
    }


def _place(
    ctx: Context, tenant_id: str, list_id: str | None, index: int | None
) -> dict[str, Any] | None:
    if list_id is None or index is None:
        return None
    return {"uri": list_uri(ctx, tenant_id, list_id), "index": index}


def _erasure(
    tx: Connection, person: Person, rows: Iterable[ConsentRow], *, closed: int
) -> dict[str, Any] | None:
    if person.erasure_id is None:
        return None
    erasure = erasures.find(tx, person.tenant_id, person.erasure_id)
    remains: list[Mapping[str, Any]] = []
    for row in rows:
        kept = presentations.evidence(tx, row.id)
        if kept:
            until = max(one.kept_until for one in kept)
            remains.append({"what": "evidence", "consent": row.id, "until": until, "why": HELD})
        elif row.status_list_id is not None:
            remains.append(
                {"what": "consent_state", "consent": row.id, "until": None, "why": SHELL}
            )
    if closed:
        remains.append({"what": "log_leaves", "count": closed, "until": None, "why": LEAVES})
    return {
        "id": erasure.id,
        "begun_at": erasure.begun_at,
        "held_until": erasure.held_until,
        "finished_at": erasure.finished_at,
        "remains": remains,
    }


def _opened(ctx: Context, tx: Connection, found: FoundEntry) -> dict[str, Any] | None:
    """An entry with what proves it; None when the key that opened it is destroyed."""
    sealed = found.sealed
    try:
        key = ctx.keys.log_key(tx, sealed.tenant_id, sealed.subject_id)
    except NotFound:
        return None
    return {
        "index": found.index,
        "salt": b64url(key.salt(sealed.id)),
        "entry": orjson.loads(key.open(sealed).canonical()),
    }
