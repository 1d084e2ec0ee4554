"""The model and its training, with NumPy alone: no state, no chance, the same bytes each time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FEATURES = 5
Numbers = Any
"""A NumPy array."""
Model = Mapping[str, Numbers]


def read_rows(file: Path) -> tuple[Numbers, Numbers]:
    """Rows of a CSV file: features, and last whether the customer left. Each line is a row.

    A place is that of a line: one that is blank or no numbers is refused, and never passed over.
    """
    lines = file.read_text().splitlines()
    if not all(line.strip() for line in lines):
        raise ValueError("a line of the rows is blank: each line is a customer's row")
    table = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)
    return table[:, :-1], table[:, -1]


def count_rows(file: Path) -> int:
    """How many rows there are."""
    return len(read_rows(file)[1])


def first_model() -> dict[str, Numbers]:
    """What the first round begins with."""
    wide = FEATURES + FEATURES * (FEATURES + 1) // 2
    return {"weights": np.zeros(wide), "bias": np.zeros(1)}


def with_interactions(inputs: Numbers) -> Numbers:
    """Features, their squares and their products."""
    pairs = [(one, two) for one in range(FEATURES) for two in range(one, FEATURES)]
    return np.hstack([inputs, *((inputs[:, one] * inputs[:, two])[:, None] for one, two in pairs)])


def scores(model: Model, inputs: Numbers) -> Numbers:
    """The higher, the likelier the customer leaves."""
    return with_interactions(inputs) @ model["weights"] + model["bias"]


def fitted(
    model: Model,
    inputs: Numbers,
    labels: Numbers,
    *,
    steps: int,
    rate: float,
    shrinkage: float,
    near: float = 0,
) -> dict[str, Numbers]:
    """Gradient steps from a model; `near` holds back from it (FedProx's mu)."""
    wide = with_interactions(inputs)
    weights, bias = model["weights"].copy(), model["bias"].copy()
    for _ in range(steps):
        wrong = 1 / (1 + np.exp(-(wide @ weights + bias))) - labels
        pull = shrinkage * weights + near * (weights - model["weights"])
        weights -= rate * (wide.T @ wrong / len(labels) + pull)
        bias -= rate * wrong.mean()
    return {"weights": weights, "bias": bias}


def gradients_of(
    model: Model, inputs: Numbers, labels: Numbers, shrinkage: float
) -> dict[str, Numbers]:
    """The loss's gradient at a model, a line for each row by itself."""
    wide = with_interactions(inputs)
    wrong = 1 / (1 + np.exp(-(wide @ model["weights"] + model["bias"]))) - labels
    return {
        "weights": wide * wrong[:, None] + shrinkage * model["weights"],
        "bias": wrong[:, None],
    }


def auc(ranked: Numbers, labels: Numbers) -> float:
    """The area under the ROC curve, equal scores half and half; 0.5 where all left, or none."""
    _, of, alike = np.unique(ranked, return_inverse=True, return_counts=True)
    places = (np.cumsum(alike) - (alike - 1) / 2)[of]
    left = float(labels.sum())
    stayed = len(labels) - left
    if not left or not stayed:
        return 0.5
    return float((places[labels == 1].sum() - left * (left + 1) / 2) / (left * stayed))
