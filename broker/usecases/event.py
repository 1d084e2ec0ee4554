"""Tell a partner what happened, in the transaction of the act: neither exists without the other.

Nothing is written for a partner without a webhook that wants the type. `usecases/delivery.py`
sends what is written here.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.event import Event
from broker.domain.held import Held
from broker.domain.ids import new_id
from broker.domain.webhook import GIVE_UP_SECONDS
from broker.store import outbox, webhooks
from broker.store.consents import ConsentRow
from broker.store.outbox import EventRow
from broker.usecases.context import Context

EVENT = "evt"
MOST_OF_A_SECOND = 60


def tell(
    ctx: Context,
    tx: Connection,
    *,
    tenant_id: str,
    partner_id: str,
    type: str,  # noqa: A002 (the attribute's name in CloudEvents)
    subject: str,
    data: Mapping[str, Any],
    held: Held | None = None,
    each: bool = False,
) -> None:
    """Put an event into the outbox, once for each subject, type and second.

    `subject` and `data` hold identifiers of this partner alone. One that is `held` is dated and
    sent when that is over, at this partner's own moment. Where `each` says that another of this
    second is no repetition, it is dated at the next one that is free.
    """
    wanted = webhooks.wanting(tx, partner_id, type)
    if not wanted:
        return
    first = ctx.now() if held is None else held.until
    source = tenant_url(ctx.settings.public_url, tenant_id)
    for time in range(first, first + (MOST_OF_A_SECOND if each else 1)):
        event = Event(new_id(EVENT), source, type, subject, time, data)
        row = EventRow(
            id=event.id,
            tenant_id=tenant_id,
            partner_id=partner_id,
            type=type,
            subject=subject,
            time=time,
            body=event.to_json().decode(),
            created_at=ctx.now(),
        )
        if outbox.add(tx, row):
            outbox.address(tx, row, wanted, time + GIVE_UP_SECONDS)
            return


def tell_of_consent(
    ctx: Context,
    tx: Connection,
    row: ConsentRow,
    type: str,  # noqa: A002
    held: Held | None = None,
) -> None:
    """Tell the partner of a consent that its state has changed."""
    tell(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        partner_id=row.partner_id,
        type=type,
        subject=row.id,
        data={"consent": row.id, "request": row.request_id},
        held=held,
    )
