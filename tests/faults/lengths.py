"""How long a fault test is: short in every full run, long by `make soak`."""

import os

SOAK = os.environ.get("SOAK") == "1"


def short_or_long(short: int, long: int) -> int:
    """The number of rounds of this run."""
    return long if SOAK else short
