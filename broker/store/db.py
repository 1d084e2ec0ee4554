"""The database: one engine to read, one way to write, on SQLite and PostgreSQL alike.

What it promises: when `transaction()` or `write()` returns, the work is durable (SQLite: WAL with
`synchronous=FULL`; PostgreSQL: its own commit); when either raises, nothing of that call has
happened. Both are safe from several threads. This is the only module that commits.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from starlette.concurrency import run_in_threadpool

from broker.store.group_commit import GroupCommit

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000


class _Writing(threading.local):
    """Whether this thread holds SQLite's write lock."""

    active = False


class Database:
    """A database address made usable. Close it when done."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._write_lock = threading.Lock()
        self._writing = _Writing()
        if self.is_sqlite:
            self._reader = _sqlite_engine(url, begin="BEGIN", read_only=True, pool_size=pool_size)
            self._writer = _sqlite_engine(url, begin="BEGIN IMMEDIATE", read_only=False, pool_size=1)
        else:
            self._writer = self._reader = create_engine(
                url, pool_size=pool_size, pool_pre_ping=True, isolation_level="READ COMMITTED"
            )
        self._group = GroupCommit(self.transaction) if self.is_sqlite else None

    @property
    def engine(self) -> Engine:
        """The writing engine, for migrations and their checks."""
        return self._writer

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One short write transaction: commits at the end of the block, rolls back on any error.

        SQLite takes its one write lock at once (`BEGIN IMMEDIATE`), so that a later upgrade cannot
        deadlock; PostgreSQL runs READ COMMITTED and relies on row locks and unique constraints.
        """
        if not self.is_sqlite:
            with self._writer.begin() as connection:
                yield connection
            return
        if self._writing.active:
            message = "a transaction is already open in this thread: a second one would wait for it for ever"
            raise RuntimeError(message)
        with self._write_lock, self._writer.begin() as connection:
            self._writing.active = True
            try:
                yield connection
            finally:
                self._writing.active = False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only snapshot (SQLite) or READ COMMITTED reads (PostgreSQL)."""
        with self._reader.connect() as connection:
            yield connection

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own, from the event loop; durable when it returns.

        On SQLite several callers share one commit (group commit), each in a savepoint, so that one
        caller's error undoes only its own work. `work` may run again only if its commit failed.
        """
        if self._group is not None:
            return await asyncio.wrap_future(self._group.submit(work))
        return await run_in_threadpool(self._write_now, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a reading connection, from the event loop.

        SQLite answers from the page cache in tens of microseconds, less than a hand-over to a
        thread costs; PostgreSQL waits for the network and so gets a thread.
        """
        if self.is_sqlite:
            with self.reading() as connection:
                return work(connection)
        return await run_in_threadpool(self._read_now, work)

    def close(self) -> None:
        """Finish queued writes and release every connection."""
        if self._group is not None:
            self._group.close()
        self._reader.dispose()
        self._writer.dispose()

    def _write_now(self, work: Callable[[Connection], T]) -> T:
        with self.transaction() as connection:
            return work(connection)

    def _read_now(self, work: Callable[[Connection], T]) -> T:
        with self.reading() as connection:
            return work(connection)


def _sqlite_engine(url: str, *, begin: str, read_only: bool, pool_size: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else 10,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 (sqlite3 driver object)
        # The driver must not begin transactions by itself: BEGIN IMMEDIATE is ours to send.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
