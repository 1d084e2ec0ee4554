"""Rows of webhooks: where a partner's events are sent, and how the address has answered lately."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from broker.domain.errors import NotFound
from broker.domain.webhook import PAUSES
from broker.store import tables
from broker.store.outbox import FIRST
from broker.store.prepared import Prepared

WEBHOOK = tables.Webhook.__table__  # type: ignore[attr-defined]
PARTNER = tables.Partner.__table__  # type: ignore[attr-defined]
DELIVERY = tables.Delivery.__table__  # type: ignore[attr-defined]
FAILING = 3  # failures in a row, from which on an address is said to fail
REFUSING = 10  # events refused in a row, from which on it is said so too
LEASE_SECONDS = 90
"""Longer than any turn: its last event begins before `TURN_SECONDS` and takes `ANSWER_SECONDS`."""
REMOVED_AT_ONCE = 1_000
LONGEST_PAUSE = PAUSES[-1] * 6 // 5

_ACTIVE = WEBHOOK.c.state == "active"
_BESIDE = WEBHOOK.alias("beside")


@dataclass(frozen=True)
class WebhookRow:
    """A webhook; times are Unix seconds, `types` is a JSON list."""

    id: str
    tenant_id: str
    partner_id: str
    url: str
    types: str
    state: str
    sealed_secret: bytes
    sealed_previous: bytes | None
    previous_until: int | None
    failures: int
    refusals: int | None
    failing_since: int | None
    code: str | None
    retry_at: int
    leased_until: int
    delivered_at: int | None
    created_at: int


# Asked with each act that a partner may be told of. None is removed before the act is over, and one
# that is being removed is waited for and not found: no act fails because of a webhook.
_OF_PARTNER = Prepared(
    select(WEBHOOK.c.id, WEBHOOK.c.types)
    .where(WEBHOOK.c.partner_id == bindparam("b_partner"))
    .with_for_update(read=True, key_share=True)
)


def add(tx: Connection, row: WebhookRow) -> None:
    """Store a new webhook."""
    tx.execute(insert(WEBHOOK).values(**vars(row)))


def wanting(tx: Connection, partner_id: str, kind: str) -> list[str]:
    """The webhooks of a partner, disabled ones too, that are to get events of a type.

    One that names no type gets all of them, those that are still to come too.
    """
    found = _OF_PARTNER.rows(tx, {"b_partner": partner_id})
    wanted = ((webhook_id, orjson.loads(types)) for webhook_id, types in found)
    return [webhook_id for webhook_id, types in wanted if not types or kind in types]


def count(tx: Connection, partner_id: str) -> int:
    """How many webhooks a partner has; nobody adds one before the transaction ends."""
    tx.execute(
        select(PARTNER.c.id).where(PARTNER.c.id == partner_id).with_for_update(key_share=True)
    )
    found = select(func.count()).where(WEBHOOK.c.partner_id == partner_id)
    return int(tx.execute(found).scalar_one())


def find(
    tx: Connection,
    tenant_id: str,
    webhook_id: str,
    partner_id: str | None = None,
    *,
    lock: bool = False,
    alone: bool = False,
) -> WebhookRow:
    """A webhook of the tenant, and of the partner when named; raises `NotFound`.

    With `lock` nobody else changes it, and acts may go on to name it; with `alone` they wait.
    """
    chosen = select(WEBHOOK).where(WEBHOOK.c.id == webhook_id, WEBHOOK.c.tenant_id == tenant_id)
    if partner_id is not None:
        chosen = chosen.where(WEBHOOK.c.partner_id == partner_id)
    if lock or alone:
        chosen = chosen.with_for_update(key_share=not alone)
    row = tx.execute(chosen).one_or_none()
    if row is None:
        raise NotFound("no such webhook")
    return WebhookRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def of_tenant(tx: Connection, tenant_id: str, partner_id: str | None = None) -> list[WebhookRow]:
    """The webhooks of a tenant, or of one partner of it, the oldest first."""
    chosen = select(WEBHOOK).where(WEBHOOK.c.tenant_id == tenant_id)
    if partner_id is not None:
        chosen = chosen.where(WEBHOOK.c.partner_id == partner_id)
    return _rows(tx, chosen.order_by(WEBHOOK.c.created_at, WEBHOOK.c.id))


def unwell(tx: Connection) -> list[WebhookRow]:
    """Webhooks of every tenant that fail, refuse everything or were disabled."""
    fails = (WEBHOOK.c.failures >= FAILING) | (WEBHOOK.c.refusals >= REFUSING)
    chosen = select(WEBHOOK).where(fails | ~_ACTIVE)
    return _rows(tx, chosen.order_by(WEBHOOK.c.id))


def due(tx: Connection, now: int, limit: int, without: Collection[str] = ()) -> list[WebhookRow]:
    """Webhooks with something to send now that nobody holds, the longest left alone first.

    A partner of whose webhooks one is held has none. What is later than any pause was written
    before the clock was set back, and is over.
    """
    waiting = (
        select(DELIVERY.c.seq)
        .where(
            DELIVERY.c.webhook_id == WEBHOOK.c.id,
            DELIVERY.c.state == literal_column("'waiting'"),
            DELIVERY.c.next_at <= now,
            FIRST,
        )
        .exists()
    )
    rests = WEBHOOK.c.retry_at.between(now + 1, now + LONGEST_PAUSE)
    chosen = select(WEBHOOK).where(_ACTIVE, _free(now), ~rests, WEBHOOK.c.id.not_in(without))
    chosen = chosen.where(waiting, ~_beside(WEBHOOK.c.id, WEBHOOK.c.partner_id, now))
    return _rows(tx, chosen.order_by(WEBHOOK.c.leased_until, WEBHOOK.c.id).limit(limit))


def lease(tx: Connection, row: WebhookRow, now: int, until: int) -> bool:
    """Hold a webhook until then, to send to it; False when another was first.

    Of two workers that take two webhooks of a partner in the same moment both may succeed: then it
    has two turns at once, which is unfair to others for a turn and no more. Deliveries and their
    order are each webhook's own, and of one webhook nobody but its holder sends.
    """
    free = (WEBHOOK.c.id == row.id, _free(now), _ACTIVE, ~_beside(row.id, row.partner_id, now))
    return tx.execute(update(WEBHOOK).where(*free).values(leased_until=until)).rowcount == 1


def release(tx: Connection, webhook_id: str, mine: int, until: int) -> None:
    """Let others have a webhook from then on, unless it was not held until `mine` any more."""
    held = (WEBHOOK.c.id == webhook_id, WEBHOOK.c.leased_until == mine)
    tx.execute(update(WEBHOOK).where(*held).values(leased_until=until))


def failed(tx: Connection, webhook_id: str, code: str, now: int, retry_at: int) -> None:
    """Count one more failure in a row, and leave the address alone until `retry_at`."""
    tx.execute(
        update(WEBHOOK)
        .where(WEBHOOK.c.id == webhook_id)
        .values(
            failures=WEBHOOK.c.failures + 1,
            failing_since=func.coalesce(WEBHOOK.c.failing_since, now),
            code=code,
            retry_at=retry_at,
        )
    )


def refused(tx: Connection, webhook_id: str, code: str, now: int) -> None:
    """Count one more event in a row that was refused by itself."""
    change(
        tx,
        webhook_id,
        refusals=func.coalesce(WEBHOOK.c.refusals, 0) + 1,
        failing_since=func.coalesce(WEBHOOK.c.failing_since, now),
        code=code,
    )


def answered(tx: Connection, webhook_id: str, now: int) -> None:
    """Note that the address works."""
    none = {"failures": 0, "refusals": None, "failing_since": None, "code": None}
    change(tx, webhook_id, delivered_at=now, retry_at=0, **none)


def disable(tx: Connection, webhook_id: str, code: str) -> bool:
    """Send nothing there any more; False where it was so already."""
    done = tx.execute(
        update(WEBHOOK)
        .where(WEBHOOK.c.id == webhook_id, _ACTIVE)
        .values(state="disabled", code=code)
    )
    return done.rowcount == 1


def change(tx: Connection, webhook_id: str, **columns: Any) -> None:  # noqa: ANN401 (columns)
    """Write columns of a webhook."""
    tx.execute(update(WEBHOOK).where(WEBHOOK.c.id == webhook_id).values(**columns))


def empty(tx: Connection, webhook_id: str) -> bool:
    """Forget some of what was to be sent to a webhook; whether there may be more."""
    some = select(DELIVERY.c.seq).where(DELIVERY.c.webhook_id == webhook_id)
    some = some.limit(REMOVED_AT_ONCE)
    return tx.execute(delete(DELIVERY).where(DELIVERY.c.seq.in_(some))).rowcount > 0


def remove(tx: Connection, webhook_id: str) -> None:
    """Forget a webhook, with what was still to be sent there."""
    tx.execute(delete(DELIVERY).where(DELIVERY.c.webhook_id == webhook_id))
    tx.execute(delete(WEBHOOK).where(WEBHOOK.c.id == webhook_id))


def _free(now: int) -> ColumnElement[bool]:
    held: ColumnElement[bool] = WEBHOOK.c.leased_until.between(now + 1, now + LEASE_SECONDS)
    return ~held


def _beside(webhook_id: Any, partner_id: Any, now: int) -> ColumnElement[bool]:  # noqa: ANN401
    """That another webhook of the partner is held; one that was sent to lately is not."""
    return (
        select(_BESIDE.c.id)
        .where(
            _BESIDE.c.partner_id == partner_id,
            _BESIDE.c.id != webhook_id,
            _BESIDE.c.leased_until.between(now + 2, now + LEASE_SECONDS),
        )
        .exists()
    )


def _rows(tx: Connection, chosen: Select[Any]) -> list[WebhookRow]:
    return [WebhookRow(**row._mapping) for row in tx.execute(chosen)]  # noqa: SLF001
