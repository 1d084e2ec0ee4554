"""The demonstration's customers, and what a model is worth; run in the environment with Flower.

`python -m dev.federation.data draw SEED DIRECTORY CUSTOMERS MEMBERS` writes each member's rows;
`judge` compares the models that a coordinator kept with one trained on all rows and with each
member alone, as JSON.

Members share one rule with interactions, and their customers are shifted against each other: each
sees a part of the space, so that a model of all is worth more than any member's own. A single
shared distribution with many rows would show no gain.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent / "application"))

from churn.training import (
    FEATURES,
    Model,
    auc,
    first_model,
    fitted,
    read_rows,
    scores,
)

MEMBERS, CUSTOMERS, ASKED = 3, 250, 4_000
SHIFT, SHARPNESS, INTERACTING = 0.5, 0.8, 6
TRAINING, TEST = 1, 2
RATE, SHRINKAGE = 0.3, 0.005
"""As `consortium.PARAMETERS`."""
ROUNDS = 6
STEPS = 15


def customers(seed: int, member: int, count: int, part: int) -> tuple[Any, Any]:
    """Customers of a member: features, and who left. `part` tells training from test."""
    rule = np.random.default_rng(seed)
    straight = rule.normal(size=FEATURES)
    pairs = [(one, two) for one in range(FEATURES) for two in range(one + 1, FEATURES)]
    together = np.zeros(len(pairs))
    chosen = rule.choice(len(pairs), INTERACTING, replace=False)
    together[chosen] = 1.1 * rule.normal(size=INTERACTING)
    shift = SHIFT * np.random.default_rng([seed, member, 99]).normal(size=FEATURES)
    draw = np.random.default_rng([seed, member, part])
    inputs = draw.normal(size=(count, FEATURES)) + shift
    drawn = inputs @ straight
    for weight, (one, two) in zip(together, pairs, strict=True):
        drawn = drawn + weight * inputs[:, one] * inputs[:, two]
    left = draw.random(count) < 1 / (1 + np.exp(-SHARPNESS * drawn))
    return inputs, left.astype(float)


def test_customers(seed: int) -> tuple[Any, Any]:
    """Customers of all members whom nobody trained on."""
    drawn = [customers(seed, member, ASKED, TEST) for member in range(MEMBERS)]
    return np.vstack([one[0] for one in drawn]), np.concatenate([one[1] for one in drawn])


def draw(seed: int, directory: Path, count: int, members: int = MEMBERS) -> None:
    """Write each member's rows."""
    for member in range(members):
        inputs, labels = customers(seed, member, count, TRAINING)
        rows = np.hstack([inputs, labels[:, None]])
        np.savetxt(directory / f"rows-{member}.csv", rows, delimiter=",", fmt="%.9g")


def beginning() -> dict[str, Any]:
    """What the first round begins with."""
    model: dict[str, Any] = first_model()
    return model


def trained(rows: tuple[Any, Any], steps: int, begun: Model | None = None) -> dict[str, Any]:
    """A model of these rows, by the parameters of the campaign."""
    begun = beginning() if begun is None else begun
    model: dict[str, Any] = fitted(begun, *rows, steps=steps, rate=RATE, shrinkage=SHRINKAGE)
    return model


def worth(model: Model, tested: tuple[Any, Any]) -> float:
    """The AUC of a model on customers, as `test_customers` gives them."""
    inputs, labels = tested
    return float(auc(scores(model, inputs), labels))


def judge(
    seed: int,
    directory: Path,
    models: list[Path],
    took_part: list[list[int]],
    gone: int,
    reference: Path,
) -> dict[str, Any]:
    """AUC on the test customers: each round's model, all rows together, each member alone.

    `gone` is the row of the first member that was withdrawn: `reference` is written: the
    model of the same rounds by the same members, as `took_part` says of each, on all rows but that.
    """
    tested = test_customers(seed)
    rows = [read_rows(directory / f"rows-{member}.csv") for member in range(MEMBERS)]
    steps = STEPS * max(1, len(models))
    save_file(dict(_replayed(rows, took_part, gone)), reference)
    together = np.vstack([one[0] for one in rows]), np.concatenate([one[1] for one in rows])

    return {
        "central": worth(trained(together, steps), tested),
        "alone": [worth(trained(one, steps), tested) for one in rows],
        "federated": [worth(load_file(file), tested) for file in models],
    }


def _replayed(rows: list[tuple[Any, Any]], took_part: list[list[int]], gone: int) -> Model:
    """The model of the same rounds had the row never been there."""
    kept = [
        (np.delete(one[0], gone, axis=0), np.delete(one[1], gone)) if member == 0 else one
        for member, one in enumerate(rows)
    ]
    model = beginning()
    for members in took_part:
        model = averaged([kept[one] for one in members], model)
    return model


def averaged(rows: list[tuple[Any, Any]], model: Model) -> dict[str, Any]:
    """One round of FedAvg over these rows."""
    updates = [trained(one, STEPS, model) for one in rows]
    weights = np.array([len(one[1]) for one in rows], float)
    return {
        name: np.average([one[name] for one in updates], axis=0, weights=weights) for name in model
    }


def flat(model: Model) -> list[float]:
    """A model as one vector, tensors by name."""
    return [float(one) for name in sorted(model) for one in model[name]]


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "draw":
        draw(int(rest[0]), Path(rest[1]), *map(int, rest[2:]))
    else:
        reference, *files = (Path(one) for one in rest[4:])
        took_part, gone = json.loads(rest[3]), int(rest[2])
        judged = judge(int(rest[0]), Path(rest[1]), files, took_part, gone, reference)
        print(json.dumps(judged))
