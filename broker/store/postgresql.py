"""Transactions on PostgreSQL begin with the tenant that they are for, in the round trip that pings.

SQLAlchemy looks whether a pooled connection still lives before it hands it out; what a transaction
begins with would say so too. So that statement is the ping: a dead connection is noticed before
anything was done on it, is replaced, and each transaction costs a round trip less.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, PoolProxiedConnection, create_engine

from broker.store.acting import acting, is_acting
from broker.store.row_security import SETTING


class _Next(threading.local):
    """This thread's next transaction: whether it only reads, and what a ping has begun."""

    reads = False
    begun: tuple[Any, str] | None = None


_next = _Next()


@contextmanager
def read_only() -> Iterator[None]:
    """Within the block, transactions that this thread begins on PostgreSQL write nothing."""
    _next.reads = True
    try:
        yield
    finally:
        _next.reads = False


def postgresql_engine(url: str, *, pool_size: int) -> Engine:
    """An engine whose transactions begin with the tenant that they are for.

    The driver would send its own BEGIN, and the tenant would cost another round trip: so it is
    told to leave that to us. COMMIT and ROLLBACK it sends all the same, as soon as one is open.
    The setting is the transaction's: a pooled connection carries nobody's tenant on.
    (SQLAlchemy's event would do; by the dialect's own steps it costs 150 us less.)
    """
    engine = create_engine(
        url, pool_size=pool_size, pool_pre_ping=True, isolation_level="AUTOCOMMIT"
    )
    engine.dialect.do_ping = _ping  # type: ignore[method-assign, assignment]
    engine.dialect.do_begin = _begin  # type: ignore[method-assign]
    return engine


def _ping(driver: Any) -> bool:  # noqa: ANN401 (the driver's connection)
    if not is_acting():
        # The transaction that is to come says so; the pool would give a sound connection up.
        driver.execute("SELECT 1", prepare=False)
        return True
    statement = _opening()
    driver.execute(statement, prepare=False)
    _next.begun = driver, statement
    return True


def _begin(dbapi_connection: PoolProxiedConnection) -> None:
    driver: Any = dbapi_connection.driver_connection
    statement = _opening()
    begun, _next.begun = _next.begun, None
    # What was begun may have ended, or was for somebody else: that a thread takes a connection and
    # begins later is not how this program does it, and has to be right all the same.
    open_now = driver.info.transaction_status == TransactionStatus.INTRANS
    if open_now and begun == (driver, statement):
        return
    if open_now:
        driver.rollback()
    driver.execute(statement, prepare=False)


def _opening() -> str:
    mode = " READ ONLY" if _next.reads else ""
    whom = acting()  # a tenant's id or *: nothing to quote
    return f"BEGIN ISOLATION LEVEL READ COMMITTED{mode}; SET LOCAL {SETTING} = '{whom}'"
