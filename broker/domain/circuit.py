"""A circuit for each source: what is refused too often in a row is refused unread for a while.

closed      taken
open        refused, without a look at it, until a time
half open   that time is over: one request at a time is looked at; a good one closes the
            circuit, a bad one opens it again, for twice as long
"""

from collections.abc import Hashable
from typing import Final

STRIKES: Final = 50
"""Refusals in a row that open a closed circuit."""
SHORTEST_SECONDS: Final = 10
LONGEST_SECONDS: Final = 320
KEYS_AT_MOST: Final = 20_000


def pause_seconds(opened: int) -> int:
    """How long a circuit stays open that was opened so many times in a row before."""
    return min(SHORTEST_SECONDS << min(opened, 16), LONGEST_SECONDS)


class Strikes:
    """Refusals in a row by key, in bounded room. It belongs to an event loop."""

    def __init__(self) -> None:
        self._count: dict[Hashable, int] = {}

    def strike(self, key: Hashable) -> bool:
        """Count one more; True, and a count from zero, when there were `STRIKES`."""
        count = self._count.pop(key, 0) + 1
        if count >= STRIKES:
            return True
        if len(self._count) >= KEYS_AT_MOST:
            del self._count[next(iter(self._count))]
        self._count[key] = count
        return False

    def clear(self, key: Hashable) -> None:
        """Begin from zero."""
        self._count.pop(key, None)
