"""Evidence whose time is over: which there is, and its deletion."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from broker.store.consents import CONSENT
from broker.store.contacts import CONTACT
from broker.store.presentations import EVIDENCE, ISSUED


def evidence_over(tx: Connection, now: int, limit: int) -> list[tuple[str, str, str]]:
    """Consents whose every piece of evidence may go by `now`: tenant, consent and customer.

    Of customers who were erased `erasures` looks after it. The rows are locked; those of contacts
    that others hold are passed over, because an erasure takes them in another order.
    """
    due = (EVIDENCE.c.kept_until <= now, CONTACT.c.erasure_id.is_(None))
    later = EVIDENCE.alias()
    held = select(later.c.id).where(
        later.c.consent_id == EVIDENCE.c.consent_id, later.c.kept_until > now
    )
    found = tx.execute(
        select(CONSENT.c.tenant_id, CONSENT.c.id, CONSENT.c.subject_id)
        .join(EVIDENCE, EVIDENCE.c.consent_id == CONSENT.c.id)
        .join(CONTACT, CONTACT.c.id == CONSENT.c.contact_id)
        .where(*due, ~held.exists())
        .order_by(EVIDENCE.c.kept_until, EVIDENCE.c.id)
        .limit(limit)
        .with_for_update(of=[EVIDENCE, CONTACT], key_share=True, skip_locked=True)
    )
    return list(dict.fromkeys((row.tenant_id, row.id, row.subject_id) for row in found))


def forget_evidence(tx: Connection, consent_ids: Sequence[str]) -> None:
    """Delete what was signed about consents, and the credentials that were issued about them."""
    tx.execute(delete(EVIDENCE).where(EVIDENCE.c.consent_id.in_(consent_ids)))
    tx.execute(delete(ISSUED).where(ISSUED.c.consent_id.in_(consent_ids)))
