"""Group commit: writes that arrive together share one commit, and so one flush to the disk.

The work of the writes runs on the event loop, where it was going to wait for the interpreter
anyway: handing each write to a thread and its result back costs more than the write itself.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from broker.domain.errors import LogUnavailable
from broker.store.fair_lock import FairLock
from broker.store.outside_copies import commit_with, forget_with

T = TypeVar("T")
Work = Callable[[Connection], Any]

LARGEST_GROUP = 64
SMALLEST_HALF = 8


class Writing(threading.local):
    """Whether this thread is inside a write, and so would wait for itself if it began another."""

    active = False


@dataclass
class _Write:
    """One caller's work, the future it waits for, and what came of it."""

    work: Work
    future: "asyncio.Future[Any]"
    size: int = 1
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        """Tell the caller, unless it has gone away."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


@dataclass
class _Queue:
    """The writes that wait in one event loop, and the task that serves them."""

    waiting: list[_Write] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None


def _next_group(waiting: list[_Write]) -> list[_Write]:
    """Take what the next commit is to hold from the head of the queue.

    Half of what waits, if that is much: its callers go on while the other half is committed,
    instead of everybody waiting for the disk at the same time. All of it together is no larger than
    `LARGEST_GROUP` ordinary writes, if it is more than one: the event loop stands still meanwhile.
    """
    most = min(LARGEST_GROUP, max(SMALLEST_HALF, len(waiting) // 2))
    count, size = 0, 0
    while count < min(most, len(waiting)):
        size += waiting[count].size
        if count and size > LARGEST_GROUP:
            break
        count += 1
    group = waiting[:count]
    del waiting[:count]
    return group


class GroupCommit:
    """Runs writes in order, many to a commit, under the database's write lock.

    A write returns only after the commit that holds its work. A write that raises takes nothing
    else with it; a failed commit fails every write in it. `engine` must not begin transactions by
    itself and must not wait for locks: waiting is done here, in a thread.
    """

    def __init__(
        self, engine: Engine, lock: FairLock, writing: Writing, busy_timeout_ms: int
    ) -> None:
        self._engine, self._lock, self._writing = engine, lock, writing
        self._busy_timeout_ms = busy_timeout_ms
        self._queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = (
            weakref.WeakKeyDictionary()
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="group-commit")
        self._connection: Connection | None = None

    async def write(self, work: Callable[[Connection], T], size: int) -> T:
        """Run `work` in a transaction; its result, once that is durable, or its exception.

        `work` must be brief; `size` is as how many ordinary writes it counts. It may run twice:
        when another write of its group raises, all are rolled back and each runs again in a
        savepoint of its own.
        """
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(loop, _Queue())
        future: asyncio.Future[T] = loop.create_future()
        queue.waiting.append(_Write(work, future, size))
        if queue.task is None:
            queue.task = loop.create_task(self._serve(queue))
        return await future

    def close(self) -> None:
        """Release the connection; nobody may be writing any more."""
        self._thread.shutdown()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _serve(self, queue: _Queue) -> None:
        try:
            while queue.waiting:
                await self._lock.acquire_async()
                group = _next_group(queue.waiting)
                try:
                    await self._commit(group)
                except BaseException:  # cancelled: its event loop is ending
                    for write in group:
                        write.future.cancel()
                    raise
                finally:
                    self._lock.release()
                for write in group:
                    write.settle()
        finally:
            queue.task = None
            for write in queue.waiting:
                write.future.cancel()

    async def _commit(self, group: list[_Write]) -> None:
        try:
            connection = await self._begin()
            self._writing.active = True
            try:
                self._run(connection, group)
            finally:
                self._writing.active = False
            await self._in_thread(self._keep_and_commit, connection)
        except (SQLAlchemyError, LogUnavailable) as error:
            for write in group:
                write.error = write.error or error
            self._discard()

    @staticmethod
    def _keep_and_commit(connection: Connection) -> None:
        commit_with(connection)
        connection.exec_driver_sql("COMMIT")

    def _run(self, connection: Connection, group: list[_Write]) -> None:
        try:
            forget_with(connection)
            for write in group:
                write.result = write.work(connection)
        except Exception:  # noqa: BLE001 (each runs again by itself, and its caller gets its error)
            connection.exec_driver_sql("ROLLBACK")
            forget_with(connection)
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for write in group:
                self._run_alone(connection, write)

    def _run_alone(self, connection: Connection, write: _Write) -> None:
        connection.exec_driver_sql("SAVEPOINT one_write")
        try:
            write.result = write.work(connection)
        except Exception as error:  # noqa: BLE001 (handed to the caller whose work it is)
            write.error = error
            connection.exec_driver_sql("ROLLBACK TO one_write")
        connection.exec_driver_sql("RELEASE one_write")

    async def _begin(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        connection = self._connection
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError:
            # Another process is writing: wait for it where it does not hold up the event loop.
            await self._in_thread(self._begin_patiently, connection)
        return connection

    async def _in_thread(self, act: Callable[..., object], *arguments: object) -> None:
        """Wait for the disk, or for another process, while the event loop goes on."""
        await asyncio.get_running_loop().run_in_executor(self._thread, act, *arguments)

    def _begin_patiently(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        finally:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")

    def _discard(self) -> None:
        """Drop the connection and its open transaction; the next group takes a fresh one."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
