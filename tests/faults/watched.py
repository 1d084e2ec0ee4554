"""What a process costs: CPU time and memory, read from /proc while it lives."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1_048_576
_TICK = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """CPU milliseconds (of all threads, in steps of ten) and bytes above what was held before."""

    cpu_ms: float = 0
    growth: int = 0


@contextmanager
def watched(pid: int) -> Iterator[Cost]:
    """What the process `pid` spends within the block; filled in at its end."""
    # 5: the peak counts from here on (proc(5), clear_refs).
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    held, spent = _status(pid, "VmRSS"), _cpu(pid)
    cost = Cost()
    yield cost
    cost.cpu_ms = _cpu(pid) - spent
    cost.growth = max(0, _status(pid, "VmHWM") - held)


def cheapest(pid: int, act: Callable[[], object], tries: int = 3) -> Cost:
    """The least of some tries: what else the process did meanwhile is not the act's."""
    costs = []
    for _ in range(tries):
        with watched(pid) as cost:
            act()
        costs.append(cost)
    return Cost(min(one.cpu_ms for one in costs), min(one.growth for one in costs))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(found.split()[1]) * 1024
