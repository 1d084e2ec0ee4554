"""From any use to the signed consent, and from a consent to every use: by the log."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.agent import PERMIT_SECONDS
from broker.domain.entry import SealedEntry
from broker.domain.errors import NotFound
from broker.domain.lineage import DECISION, Act, Graph, graph_of
from broker.domain.openlineage import batches, events
from broker.domain.terms import Terms
from broker.outbound.guarded import GuardedClient, rules_of
from broker.store import audit as audit_store
from broker.store import lineage as store
from broker.store import registry
from broker.store.audit import FoundEntry
from broker.store.consents import ConsentRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.person import readable_consent

MOST_USES = 1_000
STRETCH = 1_000
LOOKED = "lineage.exported"
_TAKEN = frozenset({200, 201, 202, 204})


@dataclass(frozen=True)
class Lineage:
    """A consent's graph; `behind` is the index of the last use where there may be more."""

    consent_id: str
    graph: Graph
    behind: int | None = None


@dataclass(frozen=True)
class Stretch:
    """The events of a stretch of the log: up to which index, and how many entries were closed.

    The key of a closed one was destroyed with its customer's erasure.
    """

    events: tuple[dict[str, Any], ...]
    behind: int
    closed: int


def of_consent(
    ctx: Context,
    tenant_id: str,
    consent_id: str,
    *,
    limit: int = MOST_USES,
    after: int = -1,
) -> Lineage:
    """A consent with all that led to it, and its uses with an index above `after`: so many at once.

    What agents did by it counts as a use.

    Raises `NotFound`, `Erased`.
    """
    with ctx.db.reading() as tx:
        row = readable_consent(tx, tenant_id, consent_id, None, ctx.now())
        uses = store.uses_of_consent(tx, row.id, after, limit)
        acts = _acts(ctx, tx, [*store.acts_of_consent(tx, row.id), *uses])
    behind = uses[-1].index if len(uses) == limit else None
    return Lineage(row.id, _drawn(row, acts), behind)


def of_use(ctx: Context, tenant_id: str, entry_id: str) -> Lineage:
    """One use, or what was denied, with the consent that it rests on and what led to that.

    Raises `NotFound` (no such decision, or one that rests on no consent), `Erased`.
    """
    with ctx.db.reading() as tx:
        found = audit_store.find_entry(tx, tenant_id, entry_id)
        if found is None or found.sealed.type != DECISION:
            raise NotFound("no such use: name the entry of a decision")
        if found.sealed.consent_id is None:
            raise NotFound("this use was denied because there was no consent: nothing led to it")
        row = readable_consent(tx, tenant_id, found.sealed.consent_id, None, ctx.now())
        # A permit is acted on within its time, and not later.
        since, until = found.sealed.time, found.sealed.time + PERMIT_SECONDS
        did = store.actions_of_consent(tx, row.id, since, until, MOST_USES)
        rest = _acts(ctx, tx, [*store.acts_of_consent(tx, row.id), found])
        did_by_it = [one for one in _acts(ctx, tx, did) if entry_id in one.entry.body["decisions"]]
    return Lineage(row.id, _drawn(row, [*rest, *did_by_it]))


def stretches(ctx: Context, tenant_id: str, after: int) -> Iterator[Stretch]:
    """OpenLineage events of the tenant's decisions with an index above `after`, in order.

    Raises `NotFound` (tenant).
    """
    address = tenant_url(ctx.settings.public_url, tenant_id)
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
    while True:
        with ctx.db.reading() as tx:
            found = audit_store.decisions_after(tx, tenant_id, after, STRETCH)
            acts = [
                act for one in found if (act := _opened(ctx, tx, one.index, one.sealed)) is not None
            ]
        if not found:
            return
        after = found[-1].index
        told = [event for batch in batches(acts) for event in events(batch, address)]
        yield Stretch(tuple(told), after, len(found) - len(acts))


def send(ctx: Context, url: str, event: dict[str, Any]) -> None:
    """POST one event to a receiver (`/api/v1/lineage`); raises `FetchRefused`, `FetchFailed`."""
    client = GuardedClient(rules_of(ctx.settings))
    client.post(url, orjson.dumps(event), content_type="application/json", statuses=_TAKEN)


def record_export(ctx: Context, tenant_id: str, *, to: str, events_count: int) -> None:
    """Write into the log that events were handed out, and whereto (a host, or `file`)."""
    with ctx.db.transaction() as tx:
        body = {"by": "operator", "to": to, "events": events_count}
        audit.record(ctx, tx, tenant_id=tenant_id, type=LOOKED, body=body)


def _drawn(row: ConsentRow, acts: list[Act]) -> Graph:
    return graph_of(Terms.from_json(orjson.loads(row.terms)), row.state, acts)


def _acts(ctx: Context, tx: Connection, found: list[FoundEntry]) -> list[Act]:
    opened = (_opened(ctx, tx, one.index, one.sealed) for one in found)
    return [act for act in opened if act is not None]


def _opened(ctx: Context, tx: Connection, index: int | None, sealed: SealedEntry) -> Act | None:
    """An entry with its index; None when the key that opened it is destroyed."""
    try:
        key = ctx.keys.log_key(tx, sealed.tenant_id, sealed.subject_id)
    except NotFound:
        return None
    return Act(index, key.open(sealed))
