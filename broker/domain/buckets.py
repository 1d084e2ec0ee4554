"""How many requests each caller may still make: buckets that fill again with time, in bounded room.

The generic cell rate algorithm (ITU-T I.371): for each key one number, the moment at which its
bucket would be full again; an empty key is a full bucket. The keys that were used longest ago make
room for new ones, and those are the fullest: whoever cycles through addresses to fill the memory
gains one full bucket for each address, as without it.
"""

from collections.abc import Hashable
from dataclasses import dataclass

KEYS_AT_MOST = 20_000
ROUNDING = 1e-9  # seconds that are lost in adding


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking one has come to: whether there was one, how many are left, seconds until more.

    `reset` is how long until a next one (refused), or until the bucket is full (admitted).
    """

    admitted: bool
    left: int
    reset: float


class Buckets:
    """A bucket for each key, each for `burst` at once and `per_second` for ever.

    Not safe from several threads: it belongs to an event loop.
    """

    def __init__(self, per_second: float, burst: int, *, keys: int = KEYS_AT_MOST) -> None:
        self.burst = burst
        self.seconds = burst / per_second
        """How long an empty bucket takes to be full."""
        self._every = 1 / per_second
        self._keys = keys
        self._full_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float, number: int = 1) -> Taken:
        """Take from the bucket of `key`, all or nothing; `now` is in seconds, never goes back."""
        full_at = max(self._full_at.pop(key, now), now)
        after = full_at + self._every * number
        missing = after - now - self.seconds
        if missing > ROUNDING:
            self._keep(key, full_at)
            return Taken(admitted=False, left=0, reset=missing)
        self._keep(key, after)
        return Taken(admitted=True, left=int((ROUNDING - missing) / self._every), reset=after - now)

    def _keep(self, key: Hashable, full_at: float) -> None:
        if len(self._full_at) >= self._keys:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = full_at
