"""What federated models are worth: central, by Flower and the gate, on 80 % of rows, each alone.

Mean AUC over five seeds of the demonstration's rows, three members of 250 customers each, on rows
that nobody trained on. `benchmarks.federated_grid` trains, in the environment of `make federation`,
by the code that coordinator and members run; chance is seeded, so the figures are the same at each
run.
"""

import statistics
import tempfile

from benchmarks.figure import Bound, Figure
from benchmarks.in_flower import told_by

SEEDS, BEHIND = 5, 0.01
NAMES = {
    "central": "all rows in one place",
    "federated": "federated, every row consented",
    "consented": "federated, 80 % of rows consented",
    "best": "the best single member",
    "single": "a single member",
}


def run() -> list[Figure]:
    """Measure the models. Raises `LookupError` without the environment."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        seeds = told_by("federated_grid", folder, SEEDS)["seeds"]
    worth = {
        name: statistics.mean(one[name] for one in seeds)
        for name in ("central", "federated", "consented")
    }
    worth["best"] = statistics.mean(max(one["alone"]) for one in seeds)
    worth["single"] = statistics.mean(statistics.mean(one["alone"]) for one in seeds)
    return [
        *(
            Figure(name=f"federated_auc: mean of {SEEDS} seeds: {told}", value=worth[name], unit="")
            for name, told in NAMES.items()
        ),
        Figure(
            name="federated_auc: federated behind all rows in one place",
            value=worth["central"] - worth["federated"],
            unit="",
            bound=Bound("value", "<=", BEHIND),
        ),
        Figure(
            name="federated_auc: federated above the best single member",
            value=worth["federated"] - worth["best"],
            unit="",
            bound=Bound("value", ">=", 1e-9),
        ),
        Figure(
            name="federated_auc: 80 % of rows consented, behind every row consented",
            value=worth["federated"] - worth["consented"],
            unit="",
        ),
    ]
