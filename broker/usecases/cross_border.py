"""Transfers abroad: what is filed for them, and whose data left, counted with the decision.

1. A decision whose use is a transfer reads what is filed for it and the year's counts.
2. The policies judge by them (`transfer.*`).
3. A permit counts its subject in its own transaction, unless it was counted this year. Where the
   last place below a band was taken meanwhile, the decision is judged again, by the new count.

Subjects are named by a hash under a key of the tenant, for the handler and the year: nobody finds
out from the rows who they are, nor that two years hold the same person.
"""

import hmac
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from broker.domain.access import Question, best_consent, territory_of
from broker.domain.cross_border import (
    PIPL,
    Count,
    Mechanism,
    TransferFacts,
    check_mechanism,
    chosen,
    destinations,
    room,
    year_and_month,
)
from broker.domain.errors import InvalidRequest
from broker.domain.ids import new_id
from broker.store import cross_border as store
from broker.store import partners, registry
from broker.store.decisions import Snapshot
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.tenant import require_country
from credentials.jcs import b64url

OPERATOR = "operator"
_KEY_BYTES = 16
FIRST_YEAR, LAST_YEAR = 2020, 2999


def with_transfer(ctx: Context, tx: Connection, question: Question, snapshot: Snapshot) -> Snapshot:
    """The snapshot with what a transfer rests on, where the use is one."""
    facts = snapshot.facts
    to = destinations(
        facts.attribute.stored_in, facts.partner.country, territory_of(question, facts)
    )
    if to is None:
        return snapshot
    now = ctx.now()
    consent = best_consent(question, facts, now)
    subject = facts.subject_id if consent is None else consent.subject_id
    exporter = (consent and consent.terms.controller_id) or facts.tenant_id
    filed = store.of_partner(tx, facts.tenant_id, exporter, facts.partner.id)
    level, exemption, used = chosen(filed, to, question.purpose_id, now)
    year, month = year_and_month(now)
    found = TransferFacts(
        law=to.law,
        filed=level,
        exemption=exemption,
        exporter=exporter,
        subject_key=_subject_key(ctx, facts.tenant_id, exporter, year, subject or ""),
        year=year,
        month=month,
        is_sensitive=facts.attribute.sensitive,
        mechanisms=tuple(one.id for one in used),
        until=min((one.valid_until for one in used if one.valid_until is not None), default=None),
    )
    if to.law == PIPL:
        counted = store.counted(tx, facts.tenant_id, found)
        general, sensitive = store.this_year(tx, facts.tenant_id, exporter, year)
        if not counted and exemption is None:
            general, sensitive = (
                general + (not found.is_sensitive),
                sensitive + found.is_sensitive,
            )
        found = replace(found, subjects=general, sensitive=sensitive, counted=counted)
    return replace(snapshot, facts=replace(facts, transfer=found))


def stands(transfer: TransferFacts | None, now: int) -> bool:
    """Whether what a permit rests on is not over meanwhile: its mechanisms, and the year."""
    if transfer is None:
        return True
    in_time = transfer.until is None or now < transfer.until
    return in_time and (transfer.law != PIPL or year_and_month(now)[0] == transfer.year)


def is_counted(transfer: TransferFacts | None) -> bool:
    """Whether the year's count has the subject, or nothing is counted."""
    return transfer is None or transfer.law != PIPL or transfer.counted


def count(tx: Connection, tenant_id: str, transfer: TransferFacts | None) -> bool:
    """Count the subject of a permitted transfer; False where its band has no place left."""
    if transfer is None or is_counted(transfer):
        return True
    return store.count(
        tx, tenant_id, transfer, room(transfer.filed, sensitive=transfer.is_sensitive)
    )


def register(
    ctx: Context,
    tenant_id: str,
    *,
    partner_id: str,
    destination: str,
    kind: str,
    ground: str | None = None,
    purpose: str | None = None,
    filing_number: str | None = None,
    valid_from: int | None = None,
    valid_until: int | None = None,
    exporter: str | None = None,
    by: str = OPERATOR,
) -> Mechanism:
    """Register what a handler's transfers to a partner in a country rest on.

    The handler is the tenant, unless `exporter` is a partner whom terms name as controller. Once
    this returns, decisions follow it. Raises `InvalidRequest`, `NotFound` (tenant),
    `UnknownPartner`.
    """
    require_country(destination)
    now = ctx.now()
    made = Mechanism(
        id=new_id("tm"),
        exporter=exporter or tenant_id,
        partner=partner_id,
        destination=destination,
        kind=kind,
        ground=ground,
        purpose=purpose,
        filing_number=filing_number,
        valid_from=now if valid_from is None else valid_from,
        valid_until=valid_until,
        ended_at=None,
        registered_by=by,
        created_at=now,
    )
    check_mechanism(made)
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        partners.find(tx, tenant_id, partner_id)
        if made.exporter != tenant_id:
            partners.find(tx, tenant_id, made.exporter)
        if purpose is not None and purpose not in registry.registry(tx, tenant_id).purposes:
            raise InvalidRequest(f"the purpose {purpose} is not registered")
        store.add(tx, tenant_id, made)
        body = {name: value for name, value in vars(made).items() if value is not None}
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="transfer.registered",
            body={"mechanism": body.pop("id"), "by": body.pop("registered_by"), **body},
        )
    return made


def end(ctx: Context, tenant_id: str, mechanism_id: str, *, by: str = OPERATOR) -> bool:
    """End a mechanism at once; whether that changed anything. Raises `NotFound`."""
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        changed = store.end(tx, tenant_id, mechanism_id, ctx.now())
        if changed:
            body = {"mechanism": mechanism_id, "by": by}
            audit.record(ctx, tx, tenant_id=tenant_id, type="transfer.ended", body=body)
    return changed


def listed(ctx: Context, tenant_id: str) -> list[Mechanism]:
    """All mechanisms of a tenant, those that are over too; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return store.every(tx, tenant_id)


def counts(ctx: Context, tenant_id: str, year: int | None = None) -> list[Count]:
    """The counts of a year (else this one, in Beijing), the tenant's own first.

    Raises `InvalidRequest`, `NotFound` (tenant).
    """
    this_year, _ = year_and_month(ctx.now())
    chosen_year = this_year if year is None else year
    if not FIRST_YEAR <= chosen_year <= LAST_YEAR:
        raise InvalidRequest("a year is written like 2026")
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        found = store.counts(tx, tenant_id, chosen_year)
    if all(one.exporter != tenant_id for one in found):
        found.append(Count(tenant_id, chosen_year, {}))
    return sorted(found, key=lambda one: (one.exporter != tenant_id, one.exporter))


def _subject_key(ctx: Context, tenant_id: str, exporter: str, year: int, subject: str) -> str:
    # A key of the tenant from a secret that every broker with a contact has: making one of its own
    # here would take a transaction within another.
    secret = ctx.keys.hmac_key("contact")
    key = hmac.digest(secret, b"transfer\x00" + tenant_id.encode(), "sha256")
    whole = hmac.digest(key, f"{year}\x00{exporter}\x00{subject}".encode(), "sha256")
    return b64url(whole[:_KEY_BYTES])


def told(one: Mechanism, now: int) -> dict[str, Any]:
    """A mechanism as the API and commands tell it, with whether it is in force."""
    return {**one.to_json(), "in_force": one.in_force(now)}
