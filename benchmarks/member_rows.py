"""What a member's process spends on its rows in a round: consents verified anew, and kept.

Needs `make federation`. Each is a process of its own in the environment with Flower, as each
message of a round is; measured is its processor time from its settings file until the gate has
judged (the files read, each consent's line hashed, what is kept read or each consent verified, 5 in
100 withdrawn), without the start of Python and of Flower. The probe is an ES256 verification of the
same process.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, ratio_at_most
from benchmarks.in_flower import told_by

ROWS = (1_000, 10_000, 100_000)
PROCESSES = 5
MOST_WARM = 0.3
"""Verifications for each row, where its consent was verified before."""


def run() -> list[Figure]:
    """Measure a first process, which verifies, and those after it."""
    figures = []
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as place:
            member = Path(place) / "member"
            told_by("member_process", "settle", member, rows)
            cold, *warm = (
                told_by("member_process", "answer", member) for _ in range(1 + PROCESSES)
            )
        figures.append(_figure(f"member: {rows:,} rows until judged, verified anew", [cold]))
        name = f"member: {rows:,} rows until judged, verified before"
        figures.append(_figure(name, warm, MOST_WARM * rows))
    return figures


def _figure(name: str, taken: list[dict[str, Any]], most: float | None = None) -> Figure:
    value, probe = (statistics.median(one[part] for one in taken) for part in ("seconds", "verify"))
    bound = None if most is None else ratio_at_most(most)
    return Figure(name=name, value=1e3 * value, unit="ms", probe=1e3 * probe, bound=bound)
