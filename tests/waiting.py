"""Whether one transaction on PostgreSQL waits for another: how tests know that two have met."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from broker.store.acting import acting_for_all
from broker.store.db import Database

T = TypeVar("T")

WAIT_SECONDS = 30

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


class Met:
    """Two acts of which the first stops at a place, until the other waits for it or is over."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._reached, self._over = threading.Event(), threading.Event()

    def stop(self) -> None:
        """Stop here; later calls do nothing."""
        if self._reached.is_set():
            return
        self._reached.set()
        until = time.monotonic() + WAIT_SECONDS
        while not (self._over.is_set() or somebody_waits(self._db)):
            assert time.monotonic() < until, "the other act neither ends nor waits"
            time.sleep(0.02)

    def before(self, act: Callable[..., T]) -> Callable[..., T]:
        """The same, but it stops first."""

        def stopping(*of: Any, **more: Any) -> T:  # noqa: ANN401 (as it is)
            self.stop()
            return act(*of, **more)

        return stopping

    def run(self, first: Callable[[], object], other: Callable[[], object]) -> tuple[Any, Any]:
        """Run both, the other one once the first has stopped; what they return, or raise."""

        @acting_for_all()
        def late() -> object:
            assert self._reached.wait(WAIT_SECONDS), "the first act has not come to its place"
            try:
                return other()
            finally:
                self._over.set()

        with ThreadPoolExecutor(2) as pool:
            begun, met = pool.submit(acting_for_all()(first)), pool.submit(late)
            return begun.result(2 * WAIT_SECONDS), met.result(2 * WAIT_SECONDS)
