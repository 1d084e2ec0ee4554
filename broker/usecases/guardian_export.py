"""What an export tells of somebody as the guardian of others: for whom, and what they signed.

Of the minor it tells no more than the guardian has signed: neither the partner's reference nor the
age band, and nothing that the minor signed.
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
    given = people.signed_for_others(tx, person.tenant_id, subject_id)
    # The guardian of now may have withdrawn what the one before signed.
    of_wards = people.consents(tx, [one.id for one in wards])
    others = [row for row in of_wards if row.guardian_id not in {None, subject_id}]
    told = [_consent(ctx, tx, row, copies) for row in given]
    return told + [one for row in others if (one := _consent(ctx, tx, row, copies))["evidence"]]


def _consent(
    ctx: Context, tx: Connection, row: ConsentRow, copies: Collection[str]
) -> dict[str, Any]:
    shown = row.as_published(ctx.now())
    evidence = []
    for kept in presentations.evidence(tx, row.id):
        content = orjson.loads(ctx.master.open(kept.sealed, f"evidence:{kept.id}"))
        if parse(content["presentation"]).payload().get("jti") in copies:
            times = {"created_at": kept.created_at, "kept_until": kept.kept_until}
            evidence.append({"kind": kept.kind, **times, "content": content})
    return {
        "id": row.id,
        "partner": row.partner_id,
        "item": row.item,
        "state": shown.state,
        "terms": orjson.loads(row.terms) if row.terms else None,
        "terms_hash": row.terms_hash,
        "valid_from": row.valid_from,
        "valid_until": row.valid_until,
        "decided_at": row.decided_at,
        "ended_at": shown.ended_at,
        "evidence": evidence,
    }
