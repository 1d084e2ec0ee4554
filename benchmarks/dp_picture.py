"""Draw the accuracy-epsilon curve of `benchmarks dp_curve`: `python -m benchmarks.dp_picture OUT`.

With the code that `federation report` draws with.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.dp_curve import curve
from broker.web.plot import Line, Mark, Picture, Point, draw

MARGIN = 0.06


def picture(lines: Sequence[Mapping[str, Any]]) -> str:
    """AUC by epsilon as SVG, a line for each number of rows; without privacy at the right end."""
    epsilons = sorted({one["epsilon"] for one in lines if one["epsilon"] is not None})
    sizes = sorted({one["rows"] for one in lines})
    steps = [math.log2(one / epsilons[0]) for one in epsilons]
    # One doubling beyond the last.
    room = (1 - 2 * MARGIN) / (steps[-1] + 1)
    places = {one: MARGIN + room * step for one, step in zip(epsilons, steps, strict=True)}
    places[None] = 1 - MARGIN

    def point(one: Mapping[str, Any]) -> Point:
        where = "∞" if one["epsilon"] is None else f"{one['epsilon']:g}"
        told = f"{one['rows']:,} rows, epsilon {where}: {one['auc']:.3f}"
        return Point(places[one["epsilon"]], one["auc"], told)

    drawn = [
        Line(
            sorted((point(one) for one in lines if one["rows"] == rows), key=lambda one: one.at),
            f"{rows:,} 行 rows",
        )
        for rows in sizes
    ]
    said = "; ".join(one.told for line in drawn for one in line.points)
    return draw(
        Picture(
            name="AUC",
            title="差分隐私的代价 · What row-level DP-SGD costs in accuracy",
            description=f"每个成员这么多行。Three members of so many rows each. {said}.",
            lines=drawn,
            axis="ε（∞：无差分隐私 without privacy）",
            labels=[
                *(Mark(places[one], f"{one:g}") for one in epsilons),
                Mark(places[None], "∞"),
            ],
        )
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(curve()), "utf-8")
