"""The record of a consent, and its receipt, as ISO/IEC TS 27560 has them."""

from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.errors import NotFound
from broker.domain.guardian import GUARDIAN
from broker.domain.issued_claims import coarse
from broker.domain.record import Event, GuardianSigned, Recorded, receipt_of, record_of
from broker.domain.terms import Terms
from broker.store import presentations, registry
from broker.store.consents import ConsentRow
from broker.usecases.context import Context
from broker.usecases.granting import sha256
from broker.usecases.invitation import pairwise_id
from broker.usecases.person import readable_consent


def record(
    ctx: Context, tenant_id: str, consent_id: str, *, partner_id: str | None, receipt: bool = False
) -> dict[str, Any]:
    """The record of a consent in any state, or its receipt, for its partner or (None) an officer.

    A partner sees times by their minute, and a withdrawal that is held back not yet. Raises
    `NotFound` (also for a receipt of a consent that nobody has answered), `Erased`.
    """
    now = ctx.now()
    with ctx.db.reading() as tx:
        row = readable_consent(tx, tenant_id, consent_id, partner_id, now)
        if partner_id is not None:
            row = row.as_published(now)
        terms = Terms.from_json(orjson.loads(row.terms))
        about = _recorded(ctx, tx, row, terms)
        about = replace(about, guardian=_guardian(ctx, tx, row, terms))
    if partner_id is not None:
        about = _as_partners_see(about)
    if not receipt:
        return record_of(terms, about)
    if row.grade is None and row.state != "refused":
        raise NotFound("there is no receipt: the customer has not answered")
    return receipt_of(record_of(terms, _anonymous(about)), f"receipt-{row.id}", now)


def _recorded(ctx: Context, tx: Connection, row: ConsentRow, terms: Terms) -> Recorded:
    principal = None
    if row.subject_id is not None:
        principal = pairwise_id(ctx, row.subject_id, row.partner_id)
    template = registry.template(tx, row.tenant_id, terms.notice.template, terms.notice.version)
    over = row.state == "granted" and row.valid_until is not None and row.valid_until <= ctx.now()
    return Recorded(
        address=tenant_url(ctx.settings.public_url, row.tenant_id),
        principal=principal,
        state="expired" if over else row.state,
        grade=row.grade,
        shown_at=presentations.first_shown(tx, row.request_id),
        events=tuple(_events(row, terms, principal, over=over)),
        uses_left=row.uses_left,
        refuses_automated_decisions=bool(row.refuses_automated_decisions),
        title=template.title,
        assessment=template.assessment_reference,
    )


def _events(row: ConsentRow, terms: Terms, principal: str | None, *, over: bool) -> list[Event]:
    found = [Event(row.created_at, "requested", row.partner_id)]
    if row.decided_at is not None:
        if row.grade is not None:
            seconds = terms.valid_until - terms.valid_from
            found.append(Event(row.decided_at, "granted", principal, seconds))
        else:
            by = principal if row.state == "refused" else row.tenant_id
            found.append(Event(row.decided_at, row.state, by))
    if row.ended_at is not None:
        by_customer = row.state == "superseded" or row.withdrawal_grade in {
            "same_key",
            "bound_key",
        }
        by = principal if by_customer else row.tenant_id
        found.append(
            Event(row.ended_at, row.state, GUARDIAN if row.withdrawal_grade == GUARDIAN else by)
        )
    elif over and row.valid_until is not None:
        found.append(Event(row.valid_until, "expired", row.tenant_id))
    return found


def _guardian(ctx: Context, tx: Connection, row: ConsentRow, terms: Terms) -> GuardianSigned | None:
    """What the guardian signed, while it is kept; None where nobody signed as one."""
    if terms.guardian is None:
        return None
    wanted = "grant" if terms.guardian.alone else "guardian"
    for kept in presentations.evidence(tx, row.id):
        if kept.kind == wanted:
            content = orjson.loads(ctx.master.open(kept.sealed, f"evidence:{kept.id}"))
            presented = sha256(content["presentation"])
            return GuardianSigned(presented, content["signed_at"], content["signature_grade"])
    return None


def _anonymous(about: Recorded) -> Recorded:
    """The same without the customer's identifier, wherever it stands."""
    events = (
        replace(one, entity=None) if one.entity == about.principal else one for one in about.events
    )
    return replace(about, principal=None, events=tuple(events))


def _as_partners_see(about: Recorded) -> Recorded:
    """The same by the minute: two partners must not match customers by the second."""
    return replace(
        about,
        shown_at=None if about.shown_at is None else coarse(about.shown_at),
        guardian=None
        if about.guardian is None
        else replace(about.guardian, time=coarse(about.guardian.time)),
        events=tuple(replace(one, time=coarse(one.time)) for one in about.events),
    )
