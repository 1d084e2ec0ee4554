"""Close consent requests: refused, not answered in time; write the expiry of consents."""

from sqlalchemy import Connection

from broker.domain.consent import ConsentState, transition
from broker.domain.errors import Gone
from broker.store import consent_locks, consents, contacts, presentations
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.event import tell_of_consent

DUE_AT_ONCE = 500


def close_request(
    ctx: Context, tx: Connection, request: ConsentRequestRow, state: str, *, reason: str
) -> None:
    """Refuse (or let expire) what is still requested, and close the request to every wallet.

    `request` is held (`consent_locks`).
    Raises `Gone` when the request was closed before.
    """
    now = ctx.now()
    if not consents.set_request_state(tx, request.id, ("open",), state):
        raise Gone("this request has been answered")
    presentations.replace_open(tx, request.id, "consent", now)
    after = ConsentState.EXPIRED if state == "expired" else ConsentState.REFUSED
    for row in consents.of_request(tx, request.id):
        if row.state == ConsentState.REQUESTED:
            close_consent(ctx, tx, row, after, reason=reason)


def close_consent(
    ctx: Context, tx: Connection, row: ConsentRow, after: ConsentState, *, reason: str
) -> None:
    """End a consent that was never given; raises `StateConflict` when it is not requested."""
    consents.move(tx, row.id, transition(ConsentState(row.state), after), ctx.now())
    if row.awaits_guardian:
        presentations.drop_evidence(tx, row.id)
    contact = contacts.find(tx, row.tenant_id, row.contact_id)
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type=f"consent.{after}",
        consent_id=row.id,
        subject_id=contact.subject_id,
        body={"request": row.request_id, "terms_hash": row.terms_hash, "reason": reason},
    )
    tell_of_consent(ctx, tx, row, f"consent.{after}")


def expire_due(ctx: Context) -> int:
    """Write the expiry of consents and requests whose time is over; how many were written.

    Decisions do not wait for this: they compare the validity with the clock.
    """
    now = ctx.now()
    with ctx.db.transaction() as tx:
        late = consent_locks.hold_due(tx, now, DUE_AT_ONCE)
        for request in late:
            close_request(ctx, tx, request, "expired", reason="not_answered_in_time")
        over = consents.due(tx, now, DUE_AT_ONCE)
        # By their ids, as whoever ends several: what was asked under each is held with it.
        for row in sorted(over, key=lambda one: one.id):
            consents.move(tx, row.id, transition(ConsentState.GRANTED, ConsentState.EXPIRED), now)
            audit.record(
                ctx,
                tx,
                tenant_id=row.tenant_id,
                type="consent.expired",
                consent_id=row.id,
                subject_id=row.subject_id,
                body={"terms_hash": row.terms_hash, "reason": "validity_over"},
            )
            tell_of_consent(ctx, tx, row, "consent.expired")
    return len(late) + len(over)
