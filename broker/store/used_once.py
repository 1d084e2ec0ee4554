"""Values that may be used once: a row is written when one is spent, and pruned when it is over."""

from sqlalchemy import Connection, delete
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_on_sqlite

from broker.store import tables
from broker.store.prepared import Prepared
from broker.store.unheld import unheld

USED = tables.UsedOnce.__table__  # type: ignore[attr-defined]

_SPEND = {
    "sqlite": Prepared(insert_on_sqlite(USED).on_conflict_do_nothing()),
    "postgresql": Prepared(insert_on_postgresql(USED).on_conflict_do_nothing()),
}


def spend(tx: Connection, kind: str, value_hash: str, *, expires_at: int, now: int) -> bool:
    """Use a value for the first and only time; False when it was used before.

    `kind` keeps values of different protocols apart. `expires_at` is when the value would be
    refused for its age anyway. Of several uses at once exactly one gets True.
    """
    done = _SPEND[tx.dialect.name].changed(
        tx, {"kind": kind, "value_hash": value_hash, "expires_at": expires_at, "used_at": now}
    )
    return done == 1


def prune(tx: Connection, now: int) -> int:
    """Forget values that are refused for their age by now; how many there were."""
    return tx.execute(delete(USED).where(unheld(USED, USED.c.expires_at < now))).rowcount
