"""The database: one engine to read, one way to write, on SQLite and PostgreSQL alike.

What it promises: when `transaction()`, `run()` or `write()` returns, the work is durable (SQLite:
WAL with `synchronous=FULL`; PostgreSQL: its own commit); when one raises, nothing of that call has
happened. All are safe from several threads. Only this module and `group_commit.py` commit.

Each transaction is for one tenant or for all (`acting`), as said where it begins: without that it
raises `NobodyActing`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from broker.domain.tracing import span
from broker.store.acting import acting
from broker.store.fair_lock import FairLock
from broker.store.group_commit import GroupCommit, Writing
from broker.store.outside_copies import commit_with, forget_with
from broker.store.postgresql import postgresql_engine, read_only

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
ATTEMPTS = 4
PAUSE_SECONDS = 0.05
_DEADLOCK = "40P01"


class _First(threading.local):
    """What this thread's next transaction begins with."""

    step: Callable[[Connection], None] | None = None


class Database:
    """A database address made usable. Close it when done."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._write_lock = FairLock()
        self._writing = Writing()
        self._first = _First()
        self._group: GroupCommit | None = None
        if self.is_sqlite:
            self._reader = _sqlite_engine(url, begin="BEGIN", read_only=True, pool_size=pool_size)
            self._writer = _sqlite_engine(url, begin="BEGIN IMMEDIATE", pool_size=1)
            self._loop_reader = _sqlite_engine(url, begin=None, read_only=True)
            self._loop_writer = _sqlite_engine(url, begin=None, busy_timeout_ms=0)
            self._idle: deque[Connection] = deque()
            self._group = GroupCommit(
                self._loop_writer, self._write_lock, self._writing, BUSY_TIMEOUT_MS
            )
        else:
            self._writer = self._reader = postgresql_engine(url, pool_size=pool_size)

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
        acting()
        if not self.is_sqlite:
            with span("transaction"), self._writer.begin() as connection:
                forget_with(connection)
                self._run_first(connection)
                yield connection
                commit_with(connection)
            return
        if self._writing.active:
            message = "a transaction is open in this thread: a second would wait for it for ever"
            raise RuntimeError(message)
        self._write_lock.acquire()
        try:
            with span("transaction"), self._writer.begin() as connection:
                self._writing.active = True
                try:
                    forget_with(connection)
                    self._run_first(connection)
                    yield connection
                    commit_with(connection)
                finally:
                    self._writing.active = False
        finally:
            self._write_lock.release()

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own; durable when it returns.

        Where PostgreSQL ends it to break a deadlock, nothing of it has happened and it runs again,
        `ATTEMPTS` times in all. So `work` has to act through its connection alone. Locks are taken
        in one order (`consent_locks`); this is for what nobody has thought of.
        """
        step, left = self._first.step, ATTEMPTS
        while True:
            self._first.step, left = step, left - 1
            try:
                with self.transaction() as connection:
                    return work(connection)
            except OperationalError as error:
                if not left or getattr(error.orig, "sqlstate", None) != _DEADLOCK:
                    raise
            # Whoever waited for this one goes first: at once, both would meet again.
            time.sleep(PAUSE_SECONDS)

    @contextmanager
    def first(self, step: Callable[[Connection], None]) -> Iterator[None]:
        """Within the block, begin this thread's next transaction with `step`, once.

        What `step` writes and what the transaction writes are there together or not at all, even
        where the transaction is opened deep inside of a use case. An error of `step` undoes both.
        """
        self._first.step = step
        try:
            yield
        finally:
            self._first.step = None

    def _run_first(self, connection: Connection) -> None:
        step, self._first.step = self._first.step, None
        if step is not None:
            step(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only snapshot (SQLite) or READ COMMITTED reads (PostgreSQL)."""
        acting()
        with ExitStack() as stack:
            with read_only():
                connection = stack.enter_context(self._reader.connect())
                connection.begin()  # here, for whom this block is
            yield connection
            if not self.is_sqlite:
                # After a ROLLBACK the driver would forget every statement that it has prepared.
                connection.commit()

    async def write(self, work: Callable[[Connection], T], *, size: int = 1) -> T:
        """Run `work` in a transaction of its own, from the event loop; durable when it returns.

        On SQLite several callers share one commit, and one caller's error undoes only its own
        work. `work` has to be brief, no longer than `size` ordinary writes, and to act through its
        connection alone: it may run twice.
        """
        acting()
        if self._group is not None:
            with span("transaction"):
                return await self._group.write(work, size)
        return await run_in_threadpool(self.run, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a reading connection, from the event loop.

        SQLite answers from the page cache in tens of microseconds, less than a hand-over to a
        thread costs; PostgreSQL waits for the network and so gets a thread.
        """
        if self.is_sqlite:
            return self._read_here(work)
        return await run_in_threadpool(self._read_now, work)

    def empty_write_ahead_log(self) -> bool:
        """SQLite: write what is in the write-ahead log into the database and empty the log.

        Otherwise pages with what was just erased stay there until they are overwritten. False when
        somebody reads or writes: nothing waits, and the caller tries again later.
        """
        if not self.is_sqlite:
            return True
        self._write_lock.acquire()
        try:
            with self._writer.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA busy_timeout=0")
                try:
                    (busy, *_) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        finally:
            self._write_lock.release()
        return not busy

    def close(self) -> None:
        """Release every connection; nobody may be writing any more."""
        if self.is_sqlite:
            if self._group is not None:
                self._group.close()
            while self._idle:
                self._idle.pop().close()
            self._loop_reader.dispose()
            self._loop_writer.dispose()
        self._reader.dispose()
        self._writer.dispose()

    def _read_now(self, work: Callable[[Connection], T]) -> T:
        with self.reading() as connection:
            return work(connection)

    def _read_here(self, work: Callable[[Connection], T]) -> T:
        acting()
        # Kept connections: taking one from the pool and giving it back costs as much as a read.
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._loop_reader.connect()
            connection.begin()  # in name only: the engine sends nothing, what follows does
        clean = False
        try:
            driver: Any = connection.connection.driver_connection
            driver.execute("BEGIN")
            result = work(connection)
            driver.execute("ROLLBACK")
            clean = True
        finally:
            if not clean:
                connection.invalidate()
                connection.close()
        self._idle.append(connection)
        return result


def _sqlite_engine(
    url: str,
    *,
    begin: str | None,
    read_only: bool = False,
    pool_size: int = 10,
    busy_timeout_ms: int = BUSY_TIMEOUT_MS,
) -> Engine:
    """An engine that sends `begin` at the start of transactions; None leaves it to the caller."""
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else 10,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401 (sqlite3's own)
        # The driver must not begin transactions by itself: BEGIN IMMEDIATE is ours to send.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    if begin is not None:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine
