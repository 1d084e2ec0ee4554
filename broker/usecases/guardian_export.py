"""What an export tells of somebody as the guardian of others: for whom, and what they signed.

Of the minor it tells no more than the guardian has signed: neither the partner's reference nor the
age band, and nothing that the minor signed; and of a consent how it stands only while they are the
guardian, or where they have withdrawn it themselves.
"""

from collections.abc import Collection
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.guardian import stored_minor
from broker.store import credentials, people, presentations
from broker.store.consents import ConsentRow
from broker.store.contacts import ContactRow
from broker.usecases.context import Context
from broker.usecases.person import Person
from credentials.sdjwt import parse


def as_guardian(ctx: Context, tx: Connection, person: Person) -> dict[str, Any]:
    """The members `guardian_of` and `signed_as_guardian` of an export."""
    wards = people.wards(tx, person.tenant_id, person.contact_ids)
    return {
        "guardian_of": [_ward(one) for one in wards],
        "signed_as_guardian": [] if person.subject_id is None else _signed(ctx, tx, person, wards),
    }


def _ward(contact: ContactRow) -> dict[str, Any]:
    minor = stored_minor(contact.minor)
    told = {} if minor is None else {"relation": minor.relation, "alone": minor.alone}
    return {"contact": contact.id, "partner": contact.partner_id, **told}


def _signed(
    ctx: Context, tx: Connection, person: Person, wards: Collection[ContactRow]
) -> list[dict[str, Any]]:
    subject_id = person.subject_id or ""
    copies = {one.id for one in credentials.of_subject(tx, subject_id, None)}
    of_now = {one.id for one in wards}
    # The guardian of now may have withdrawn what the one before signed; of what no guardian signed
    # they withdraw nothing.
    found = people.for_others(tx, person.tenant_id, subject_id, of_now)
    rows = [row for row in found if row.guardian_id is not None]
    told = [_consent(ctx, tx, row, copies, is_ward=row.contact_id in of_now) for row in rows]
    return [
        one
        for row, one in zip(rows, told, strict=True)
        if one["evidence"] or row.guardian_id == subject_id
    ]


def _consent(
    ctx: Context, tx: Connection, row: ConsentRow, copies: Collection[str], *, is_ward: bool
) -> dict[str, Any]:
    shown = row.as_published(ctx.now())
    evidence = []
    for kept in presentations.evidence(tx, row.id):
        content = orjson.loads(ctx.master.open(kept.sealed, f"evidence:{kept.id}"))
        if parse(content["presentation"]).payload().get("jti") in copies:
            times = {"created_at": kept.created_at, "kept_until": kept.kept_until}
            evidence.append({"kind": kept.kind, **times, "content": content})
    # Whoever is the guardian no more learns nothing new: what they have withdrawn they know.
    is_told = is_ward or any(one["kind"] == "withdrawal" for one in evidence)
    return {
        "id": row.id,
        "partner": row.partner_id,
        "item": row.item,
        "state": shown.state if is_told else None,
        "terms": orjson.loads(row.terms) if row.terms else None,
        "terms_hash": row.terms_hash,
        "valid_from": row.valid_from,
        "valid_until": row.valid_until,
        "decided_at": row.decided_at,
        "ended_at": shown.ended_at if is_told else None,
        "evidence": evidence,
    }
