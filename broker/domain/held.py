"""A withdrawal of everything, held back from partners: when each of them may see its part.

Time is cut into windows of 30 s. What a customer ends within one window is shown within the next,
to each partner at a second of its own: drawn anew for each, evenly over the whole window. So the
second at which it is shown tells nothing of the second at which it was done, nor of the second at
which another partner is shown the same customer's; only the window does, which all who withdrew
in it have in common. No delay is longer than 60 s.
"""

from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 30
LONGEST_SECONDS = 2 * WINDOW_SECONDS


@dataclass(frozen=True)
class Held:
    """Until when one partner's part of a withdrawal is held back (Unix seconds)."""

    until: int

    @classmethod
    def at(cls, now: int, draw: Callable[[int], int]) -> "Held":
        """A fresh hold for what is done at `now`; `draw(n)` is an even secret below `n`."""
        return cls((now // WINDOW_SECONDS + 1) * WINDOW_SECONDS + draw(WINDOW_SECONDS))
