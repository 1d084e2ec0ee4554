"""Entries of the log by the consent that they are under: what led to it, and its uses."""

from typing import Any, Final

from sqlalchemy import Connection, select

from broker.store.audit import DECISION, ENTRY, PENDING, FoundEntry, each_once

AGENT_ACTION: Final = "agent.action"
# What a consent has without end: told a page at a time.
USES: Final = (DECISION, AGENT_ACTION)


def acts_of_consent(tx: Connection, consent_id: str) -> list[FoundEntry]:
    """A consent's entries but for its uses, those that wait last, each once."""
    # In this order: an entry that gets its index meanwhile is found twice, not missed.
    waiting = tx.execute(
        select(PENDING)
        .where(PENDING.c.consent_id == consent_id, PENDING.c.type.not_in(USES))
        .order_by(PENDING.c.seq)
    ).all()
    logged = tx.execute(
        select(ENTRY)
        .where(ENTRY.c.consent_id == consent_id, ENTRY.c.type.not_in(USES))
        .order_by(ENTRY.c.log_index)
    )
    return each_once(logged, waiting)


def uses_of_consent(tx: Connection, consent_id: str, after: int, limit: int) -> list[FoundEntry]:
    """Decisions on a consent and what agents did by them, with an index above `after`, in order.

    Those that wait for an index come last.
    """
    waiting = tx.execute(
        select(PENDING)
        .where(PENDING.c.consent_id == consent_id, PENDING.c.type.in_(USES))
        .order_by(PENDING.c.seq)
        .limit(limit)
    ).all()
    logged = tx.execute(
        select(ENTRY)
        .where(ENTRY.c.consent_id == consent_id, ENTRY.c.log_index > after)
        .where(ENTRY.c.type.in_(USES))
        .order_by(ENTRY.c.log_index)
        .limit(limit)
    )
    return each_once(logged, waiting)[:limit]


def actions_of_consent(
    tx: Connection, consent_id: str, since: int, until: int, limit: int
) -> list[FoundEntry]:
    """What agents did by a consent from `since` to `until` (Unix seconds), so many at most."""

    def done(table: Any) -> Any:  # noqa: ANN401 (a table of either, SQLModel's are untyped)
        return (
            select(table)
            .where(table.c.consent_id == consent_id, table.c.type == AGENT_ACTION)
            .where(table.c.created_at >= since, table.c.created_at <= until)
            .limit(limit)
        )

    waiting = tx.execute(done(PENDING).order_by(PENDING.c.seq)).all()
    return each_once(tx.execute(done(ENTRY).order_by(ENTRY.c.log_index)), waiting)[:limit]
