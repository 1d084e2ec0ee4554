"""Group commit: writes that arrive together share one commit, and so one flush to the disk."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

T = TypeVar("T")

LARGEST_GROUP = 64


class GroupCommit:
    """A thread that runs submitted writes in order, many to a commit.

    A future resolves only after the commit that holds its work. A write that raises is rolled back
    to its own savepoint and takes nothing else with it; a failed commit fails every write in it.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction
        self._queue: queue.SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._started = False
        self._start_lock = threading.Lock()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Queue `work`; the future holds its result once it is durable, or its exception."""
        if not self._started:
            with self._start_lock:
                if not self._started:
                    self._thread.start()
                    self._started = True
        future: Future[T] = Future()
        self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Finish what is queued and stop the thread."""
        if self._started:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            last = False
            while len(group) < LARGEST_GROUP and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    last = True
                    break
                group.append(item)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._transaction() as connection:
                for work, future in group:
                    if not future.set_running_or_notify_cancel():
                        continue
                    try:
                        with connection.begin_nested():
                            outcomes.append((future, work(connection), None))
                    except Exception as error:  # noqa: BLE001 (handed to the caller whose work it is)
                        outcomes.append((future, None, error))
        except SQLAlchemyError as error:
            for future, _result, own in outcomes:
                future.set_exception(own or error)
            for _work, future in group[len(outcomes):]:
                if not future.done():
                    future.set_exception(error)
            return
        for future, result, own in outcomes:
            if own is not None:
                future.set_exception(own)
            else:
                future.set_result(result)
