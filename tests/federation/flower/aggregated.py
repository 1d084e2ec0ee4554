"""Models of one round as they must come of members' rows, by the formulas and without Flower.

Run by the environment of `make federation`: `python -m tests.federation.flower.aggregated DIRECTORY
MU FILE...` says how far the models in these files (FedProx, trimmed mean, Krum) lie from those.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from dev.federation.data import RATE, SHRINKAGE, STEPS, flat, trained

# After `data`, which makes the application importable.
from churn.training import first_model, fitted, read_rows  # isort: skip


def main(directory: Path, mu: float, files: list[Path]) -> list[float]:
    rows = [read_rows(file) for file in sorted(directory.glob("rows-*.csv"))]
    alone = np.array([flat(trained(one, STEPS)) for one in rows])
    near = [
        flat(fitted(first_model(), *one, steps=STEPS, rate=RATE, shrinkage=SHRINKAGE, near=mu))
        for one in rows
    ]
    fedprox, trimmed, krum = (np.array(flat(load_file(file))) for file in files)
    # All have as many rows; one of five is cut at each end, and one of five may be hostile.
    middle = np.sort(alone, axis=0)[1:-1].mean(axis=0)
    apart = np.sort(((alone[:, None] - alone[None]) ** 2).sum(axis=2), axis=1)
    chosen = alone[np.argmin(apart[:, 1 : len(rows) - 2].sum(axis=1))]
    return [
        _apart(fedprox, np.mean(near, axis=0)),
        _apart(trimmed, middle),
        _apart(krum, chosen),
    ]


def _apart(one: Any, other: Any) -> float:  # noqa: ANN401 (NumPy arrays)
    return float(np.abs(one - other).max())


if __name__ == "__main__":
    place, near, *kept = sys.argv[1:]
    sys.stdout.write(json.dumps(main(Path(place), float(near), [Path(one) for one in kept])))
