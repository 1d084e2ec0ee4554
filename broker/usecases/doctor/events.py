"""Events: do partners' webhooks take them, are others' taken and fetched?"""

from collections.abc import Iterator

from broker.domain.finding import Finding, fine, warning
from broker.store import inbox, outbox
from broker.store import sources as source_rows
from broker.store import webhooks as rows
from broker.store.acting import acting_for_all
from broker.store.db import Database

HOUR = 3_600
DAY = 86_400


def webhooks(db: Database, now: int) -> Iterator[Finding]:
    """Webhooks that fail or are disabled, and events that nobody has taken in time."""
    with acting_for_all(), db.reading() as tx:
        unwell = rows.unwell(tx)
        waiting, dead = outbox.totals(tx)
    for row in unwell:
        named: dict[str, object] = {"webhook": row.id, "partner": row.partner_id}
        named |= {"tenant": row.tenant_id, "reason": row.code}
        if row.state == "disabled":
            yield warning("events", "webhook_disabled", **named)
        else:
            hours = (now - (row.failing_since or now)) // HOUR
            count = max(row.failures, row.refusals or 0)
            yield warning("events", "webhook_failing", **named, count=count, hours=hours)
    if dead:
        yield warning("events", "dead_letters", count=dead)
    else:
        yield fine("events", "events_fine", waiting=waiting)


def sources(db: Database, now: int) -> Iterator[Finding]:
    """Sources whose circuit is open or half open, and events that no consumer fetches."""
    with acting_for_all(), db.reading() as tx:
        refused = source_rows.refused(tx)
        count, since = inbox.waiting(tx)
    for row in refused:
        state = "open" if now < row.open_until else "half open"
        named: dict[str, object] = {"tenant": row.tenant_id, "source": row.name}
        yield warning("events", "source_refused", **named, state=state, reason=row.reason)
    if since is not None and now - since > DAY:
        yield warning("events", "inbox_waiting", count=count, days=(now - since) // DAY)
    else:
        yield fine("events", "inbox_fine", count=count)
