"""A lock that is given in the order in which it was asked for, to threads and event loops alike.

`threading.Lock` goes to whoever runs first. An event loop that writes all the time would keep a
withdrawal, which waits in a thread, from the database for as long as the load lasts.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable


class FairLock:
    """A first-come, first-served lock. It belongs to an activity, not to a thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._held = False
        self._waiting: deque[Callable[[], object]] = deque()

    def acquire(self) -> None:
        """Wait, blocking this thread, until the lock is ours."""
        turn = threading.Lock()
        turn.acquire()
        if not self._take_or_queue(turn.release):
            turn.acquire()

    async def acquire_async(self) -> None:
        """Wait, leaving the event loop free, until the lock is ours.

        When the wait is cancelled, the lock goes to the next in line.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()

        def give() -> None:
            if turn.cancelled():
                self.release()
            else:
                turn.set_result(None)

        if self._take_or_queue(lambda: loop.call_soon_threadsafe(give)):
            return
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give the lock to whoever has waited longest."""
        with self._mutex:
            while self._waiting:
                try:
                    self._waiting.popleft()()
                except RuntimeError:  # its event loop has been closed meanwhile
                    continue
                return
            self._held = False

    def _take_or_queue(self, wake: Callable[[], object]) -> bool:
        with self._mutex:
            if not self._held:
                self._held = True
                return True
            self._waiting.append(wake)
            return False
