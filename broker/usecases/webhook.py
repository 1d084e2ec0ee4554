"""Webhooks: where a partner's events go, under which secret, and what is sent there again."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Connection

from broker.domain.errors import FetchRefused, InvalidRequest, NotFound, StateConflict
from broker.domain.event import TYPES
from broker.domain.ids import new_id
from broker.domain.webhook import GIVE_UP_SECONDS, new_secret, written_secret
from broker.outbound.guarded import check_address, rules_of
from broker.store import outbox, partners, webhooks
from broker.store.outbox import DeliveryRow
from broker.store.webhooks import WebhookRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.rotation import rotated, secrets_that_count

WEBHOOK = "wh"
MOST_OF_A_PARTNER = 10
MOST_REPLAYED = 1_000
REMOVED = "removed"


@dataclass(frozen=True)
class Shown:
    """A webhook, and its secret, which is shown this once."""

    row: WebhookRow
    secret: str


@dataclass(frozen=True)
class Replayed:
    """How many events are sent again; `next` is the last of them where there are more."""

    count: int
    next: str | None


@dataclass(frozen=True)
class Standing:
    """A webhook, and how many of its events wait and are dead letters."""

    row: WebhookRow
    waiting: int
    dead: int


def add_webhook(
    ctx: Context, tenant_id: str, partner_id: str, *, url: str, types: Collection[str]
) -> Shown:
    """Have events of some types, or of every type there is (none named), sent to an address.

    Raises `InvalidRequest` (the address or a type), `UnknownPartner`, `StateConflict` (too many).
    """
    _check(ctx, url)
    unknown = sorted(set(types) - TYPES.keys())
    if unknown:
        raise InvalidRequest(f"events are of these types: {', '.join(TYPES)}")
    chosen = sorted(set(types))
    webhook_id, secret, now = new_id(WEBHOOK), new_secret(), ctx.now()
    row = WebhookRow(
        id=webhook_id,
        tenant_id=tenant_id,
        partner_id=partner_id,
        url=url,
        types=json.dumps(chosen),
        state="active",
        sealed_secret=ctx.master.seal(secret, _context(webhook_id)),
        sealed_previous=None,
        previous_until=None,
        failures=0,
        refusals=None,
        failing_since=None,
        code=None,
        retry_at=0,
        leased_until=0,
        delivered_at=None,
        created_at=now,
    )
    with ctx.db.transaction() as tx:
        partners.find(tx, tenant_id, partner_id)
        if webhooks.count(tx, partner_id) >= MOST_OF_A_PARTNER:
            raise StateConflict(
                f"a partner has {MOST_OF_A_PARTNER} webhooks at most: remove one that is not used"
            )
        webhooks.add(tx, row)
        body = {"webhook": row.id, "partner": partner_id, "host": urlsplit(url).hostname}
        audit.record(ctx, tx, tenant_id=tenant_id, type="webhook.added", body=body)
    return Shown(row, written_secret(secret))


def all_webhooks(ctx: Context, tenant_id: str, partner_id: str | None = None) -> list[Standing]:
    """The webhooks of a tenant, or of one partner, and what is on its way to each."""
    with ctx.db.reading() as tx:
        found = webhooks.of_tenant(tx, tenant_id, partner_id)
        return [Standing(row, *outbox.counts(tx, row.id, ctx.now())) for row in found]


def remove_webhook(ctx: Context, tenant_id: str, partner_id: str | None, webhook_id: str) -> None:
    """Forget a webhook and what was still to be sent there. Raises `NotFound`.

    It is disabled first and emptied a part at a time, while acts go on; what they add meanwhile
    goes with the webhook itself.
    """
    with ctx.db.transaction() as tx:
        webhooks.find(tx, tenant_id, webhook_id, partner_id, lock=True)
        webhooks.disable(tx, webhook_id, REMOVED)
    more = True
    while more:
        with ctx.db.transaction() as tx:
            # Before its deliveries, as whoever notes what became of one.
            webhooks.find(tx, tenant_id, webhook_id, partner_id, lock=True)
            more = webhooks.empty(tx, webhook_id)
    with ctx.db.transaction() as tx:
        row = webhooks.find(tx, tenant_id, webhook_id, partner_id, alone=True)
        webhooks.remove(tx, row.id)
        body = {"webhook": row.id, "partner": row.partner_id}
        audit.record(ctx, tx, tenant_id=tenant_id, type="webhook.removed", body=body)


def rotate_secret(ctx: Context, tenant_id: str, partner_id: str | None, webhook_id: str) -> Shown:
    """Sign with a new secret; each older one signs beside it until its day is over.

    Raises `NotFound`, `StateConflict` (too many within a day).
    """
    secret = new_secret()
    with ctx.db.transaction() as tx:
        row = webhooks.find(tx, tenant_id, webhook_id, partner_id, lock=True)
        webhooks.change(tx, row.id, **rotated(ctx, row, _context(row.id), secret))
        body = {"webhook": row.id, "partner": row.partner_id}
        audit.record(ctx, tx, tenant_id=tenant_id, type="webhook.secret_rotated", body=body)
        row = webhooks.find(tx, tenant_id, webhook_id)
    return Shown(row, written_secret(secret))


def replay(
    ctx: Context,
    tenant_id: str,
    partner_id: str | None,
    webhook_id: str,
    *,
    since: int | None = None,
    event_ids: Collection[str] = (),
    after: str | None = None,
) -> Replayed:
    """Send again: dead letters, or some events, or all since a time; `MOST_REPLAYED` of them.

    `after` is the last event of the call before. What waits for its next attempt is sent at once,
    and a webhook that was disabled is active again. Raises `NotFound`, `StateConflict` (with
    `since`, where so many wait already).
    """
    now = ctx.now()
    with ctx.db.transaction() as tx:
        row = webhooks.find(tx, tenant_id, webhook_id, partner_id, lock=True)
        behind = _behind(tx, row.id, after)
        if since is not None and outbox.wait_so_many(tx, row.id, MOST_REPLAYED):
            raise StateConflict(
                f"{MOST_REPLAYED} events or more wait for this webhook: replay when it has them"
            )
        count, last = outbox.replay(
            tx,
            row.id,
            now=now,
            expires_at=now + GIVE_UP_SECONDS,
            after=behind,
            limit=MOST_REPLAYED,
            since=since,
            event_ids=event_ids,
        )
        outbox.hasten(tx, row.id, now, now + GIVE_UP_SECONDS)
        webhooks.change(tx, row.id, state="active", retry_at=0)
        body = {"webhook": row.id, "partner": row.partner_id, "events": count, "since": since}
        audit.record(ctx, tx, tenant_id=tenant_id, type="webhook.replayed", body=body)
    return Replayed(count, last)


def dead_letters(
    ctx: Context,
    tenant_id: str,
    partner_id: str | None,
    webhook_id: str,
    *,
    limit: int,
    after: str | None = None,
) -> tuple[list[DeliveryRow], str | None]:
    """Dead letters in the order in which they happened, and the last where there are more.

    `after` is the last event of the page before. Raises `NotFound`.
    """
    with ctx.db.reading() as tx:
        row = webhooks.find(tx, tenant_id, webhook_id, partner_id)
        behind = _behind(tx, row.id, after)
        found = outbox.dead(tx, row.id, behind, limit + 1)
    return found[:limit], found[limit - 1].event_id if len(found) > limit else None


def secrets_of(ctx: Context, row: WebhookRow) -> Sequence[bytes]:
    """The secrets that sign now, the newest first."""
    return secrets_that_count(ctx, row, _context(row.id))


def _behind(tx: Connection, webhook_id: str, after: str | None) -> int:
    place = 0 if after is None else outbox.place(tx, webhook_id, after)
    if place is None:
        raise NotFound("no such event of this webhook")
    return place


def _check(ctx: Context, url: str) -> None:
    try:
        check_address(url, rules_of(ctx.settings))
    except FetchRefused as error:
        raise InvalidRequest(f"events cannot be sent there: {error}") from None


def _context(webhook_id: str) -> str:
    return f"webhook:{webhook_id}"
