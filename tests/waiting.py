"""Whether one transaction on PostgreSQL waits for another: how tests know that two have met."""

from sqlalchemy import Connection, text

from broker.store.db import Database

_FOR_MINE = text(
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"
)
_FOR_ANY = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def waited_for(tx: Connection) -> bool:
    """Whether somebody waits for what this transaction holds."""
    return bool(tx.execute(_FOR_MINE).scalar_one())


def somebody_waits(db: Database) -> bool:
    """Whether anybody in this database waits for a lock.

    Each look is a transaction of its own: one transaction sees no session but those that there
    were when it first looked.
    """
    with db.reading() as tx:
        return bool(tx.execute(_FOR_ANY).scalar_one())
