"""A customer's refusal of decisions that a program makes by itself (PIPL 24, GDPR 22).

It is of one consent, and takes effect at the next decision for an algorithm that decides by itself;
every other use goes on. Whoever has the consent's own page may refuse: that takes away nothing from
the customer. Only the company, on the customer's word, allows it again.
"""

from typing import Final

from sqlalchemy import Connection

from broker.domain.consent import ConsentState
from broker.domain.errors import NotFound, StateConflict
from broker.store import consents
from broker.store.consents import ConsentRow
from broker.usecases import audit
from broker.usecases.consent_request import token_hash
from broker.usecases.context import Context

OPERATOR: Final = "operator"
CUSTOMER: Final = "customer"


def refuse_on_page(ctx: Context, tenant_id: str, page_token: str, consent_id: str) -> bool:
    """The customer refuses, on the consent's page; whether that changed anything.

    Raises `NotFound`, `StateConflict` (not granted).
    """
    with ctx.db.transaction() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        row = consents.consent(tx, tenant_id, consent_id)
        if row.request_id != request.id:
            raise NotFound("no such consent")
        return _set(ctx, tx, row.as_published(ctx.now()), refused=True, by=CUSTOMER)


def set_refusal(
    ctx: Context, tenant_id: str, consent_id: str, *, refused: bool, by: str = OPERATOR
) -> bool:
    """Refuse or allow again on the customer's word; whether that changed anything.

    `by` is an officer's id. Raises `NotFound`, `StateConflict` (not granted).
    """
    with ctx.db.transaction() as tx:
        row = consents.consent(tx, tenant_id, consent_id)
        return _set(ctx, tx, row, refused=refused, by=by)


def _set(ctx: Context, tx: Connection, row: ConsentRow, *, refused: bool, by: str) -> bool:
    if row.state != ConsentState.GRANTED:
        raise StateConflict(f"only of a granted consent; this one is {row.state}")
    if not consents.set_refusal(tx, row.id, refused=refused):
        return False
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="automated_decisions.refused" if refused else "automated_decisions.allowed",
        consent_id=row.id,
        subject_id=row.subject_id,
        body={"by": by},
    )
    return True
