"""Rows of credentials that may have to be issued again: those of consents that still count."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from broker.store.consents import CONSENT
from broker.store.presentations import ISSUED, IssuedRow


@dataclass(frozen=True)
class Live:
    """Which consents: of a tenant (None: of all), not over at `now`, live or granted `since`."""

    tenant_id: str | None
    now: int
    since: int


def count(tx: Connection, live: Live) -> int:
    """How many consents there are."""
    found = select(func.count()).select_from(ISSUED.join(CONSENT)).where(_is(live))
    return int(tx.execute(found).scalar_one())


def batch(tx: Connection, live: Live, after: str, limit: int) -> list[IssuedRow]:
    """Consent credentials in the order of their consents, after one of them ("": the first)."""
    found = (
        select(ISSUED)
        .join(CONSENT)
        .where(_is(live), ISSUED.c.consent_id > after)
        .order_by(ISSUED.c.consent_id)
        .limit(limit)
    )
    return [IssuedRow(**row) for row in tx.execute(found).mappings()]


def replace(tx: Connection, row: IssuedRow, *, sealed: bytes, now: int) -> bool:
    """Put a newer credential in a row's place; False when somebody else has done so."""
    done = tx.execute(
        update(ISSUED)
        .where(ISSUED.c.id == row.id, ISSUED.c.issued_at == row.issued_at)
        .values(sealed=sealed, issued_at=now)
    )
    return done.rowcount == 1


def _is(live: Live) -> ColumnElement[bool]:
    counts = or_(CONSENT.c.state == "granted", CONSENT.c.decided_at >= live.since)
    found = and_(ISSUED.c.kind == "consent", counts, CONSENT.c.valid_until > live.now)
    return found if live.tenant_id is None else and_(found, CONSENT.c.tenant_id == live.tenant_id)
