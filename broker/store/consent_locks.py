"""Consent requests held: whoever changes what is below one holds it first.

PostgreSQL locks rows as they are written, and two who reach the same rows from either end would
block each other for ever: a wallet's answer ends its presentation request and then the consent, an
officer's withdrawal the consent and then what waits in wallets. So all take their locks in one
order: the contact, consent requests by their ids, consents by theirs, presentation requests,
status lists. Decisions hold consents alone. SQLite needs none of it: a write transaction is the
only one.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, Select, TextClause, or_, select

from broker.store import consents
from broker.store.consents import CONSENT, REQUEST, ConsentRequestRow, ConsentRow, as_request
from broker.store.tables.consents import OPEN


def hold(tx: Connection, request: ConsentRequestRow) -> ConsentRequestRow:
    """Keep a consent request, and all below it, to `tx` alone; the row as it is now.

    A signature also ends what its contact had given to the same partner after the same template,
    so the requests of that are held with it.
    """
    found = _held(
        tx,
        REQUEST.c.contact_id == request.contact_id,
        REQUEST.c.partner_id == request.partner_id,
        REQUEST.c.template_id == request.template_id,
        or_(REQUEST.c.id == request.id, REQUEST.c.state == "answered"),
    )
    return next(row for row in found if row.id == request.id)


def hold_consent(tx: Connection, tenant_id: str, consent_id: str) -> ConsentRow:
    """A consent of the tenant, its consent request kept to `tx` alone; raises `NotFound`."""
    its_request = select(CONSENT.c.request_id).where(
        CONSENT.c.id == consent_id, CONSENT.c.tenant_id == tenant_id
    )
    _held(tx, REQUEST.c.id.in_(its_request))
    return consents.consent(tx, tenant_id, consent_id)


def hold_of_contacts(tx: Connection, contact_ids: Collection[str]) -> list[ConsentRequestRow]:
    """Keep every consent request of some contacts to `tx` alone."""
    return _held(tx, REQUEST.c.contact_id.in_(contact_ids))


def hold_asked(tx: Connection, asked: Select[tuple[str]]) -> list[ConsentRequestRow]:
    """Keep the consent requests whose ids a query finds to `tx` alone."""
    return _held(tx, REQUEST.c.id.in_(asked))


def hold_open_of(tx: Connection, partner_id: str) -> list[ConsentRequestRow]:
    """Keep the requests of a partner that wait for an answer to `tx` alone."""
    return _held(tx, REQUEST.c.partner_id == partner_id, OPEN)


def hold_due(tx: Connection, now: int, limit: int) -> list[ConsentRequestRow]:
    """Open requests whose time to answer is over, but for what others hold; kept to `tx` alone.

    Whoever waited for some while they hold others could wait for ever.
    """
    over = select(REQUEST).where(OPEN, REQUEST.c.expires_at <= now)
    chosen = over.order_by(REQUEST.c.expires_at).limit(limit)
    rows = tx.execute(chosen.with_for_update(skip_locked=True, key_share=True))
    return [as_request(row) for row in rows]


def _held(tx: Connection, *which: ColumnElement[bool] | TextClause) -> list[ConsentRequestRow]:
    # In one order, so that of two who hold several one waits; new rows may still refer to them.
    chosen = select(REQUEST).where(*which).order_by(REQUEST.c.id)
    return [as_request(row) for row in tx.execute(chosen.with_for_update(key_share=True))]
