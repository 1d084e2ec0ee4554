"""Row-level DP-SGD: AUC by epsilon for members of 250, 2,500 and 20,000 rows, means of five seeds.

`benchmarks.dp_training` trains, in the environment of `make federation`, with the code that
members run; chance is seeded, so the figures are the same at each run of one release. What has to
hold is that rows enough carry it, and that 250 a member do not.
"""

from typing import Any

from benchmarks.figure import Bound, Figure
from benchmarks.in_flower import told_by

LOST_BY_MANY, KEPT_BY_FEW = 0.97, 0.97
MANY, FEW = 20_000, 250


def run() -> list[Figure]:
    """Measure the curve. Raises `LookupError` without the environment."""
    lines = curve()
    plain = {one["rows"]: one["auc"] for one in lines if one["epsilon"] is None}
    return [_figure(one, plain[one["rows"]]) for one in lines]


def curve() -> list[dict[str, Any]]:
    """Of each number of rows and epsilon the mean AUC, as `dp_training` says; `LookupError`."""
    lines: list[dict[str, Any]] = told_by("dp_training")["curve"]
    return lines


def _figure(line: dict[str, Any], plain: float) -> Figure:
    rows, epsilon = line["rows"], line["epsilon"]
    if epsilon is None:
        return Figure(name=f"{rows:,} rows, without privacy", value=line["auc"], unit="AUC")
    bound = None
    if rows == MANY and epsilon >= 1:
        bound = Bound("ratio", ">=", LOST_BY_MANY)
    if rows == FEW and epsilon <= 1:
        bound = Bound("ratio", "<=", KEPT_BY_FEW)
    name = f"{rows:,} rows, epsilon {line['spent']:.3f} (noise {line['noise']:.2f})"
    return Figure(name=name, value=line["auc"], unit="AUC", probe=plain, bound=bound)
