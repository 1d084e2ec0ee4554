"""What row-level DP-SGD costs in accuracy: members of 250 to 20,000 rows, epsilons of 0.5 to 8.

Run by the environment of `make federation` (`benchmarks.dp_curve` does): prints one JSON object.

Three members, whose customers are shifted against each other, and a rule with interactions; the
model is logistic over the inputs, their squares and their products (65 numbers). 10 rounds of 20
steps, each of which draws one row in 50; FedAvg; the AUC on 10,000 rows that nobody trained on.
The same learning rate for all, and the same clipping where there is privacy, chosen once and not by
epsilon. Chance is seeded.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

from federation.aggregation import Aggregation
from federation.campaign import Campaign, bundle_hash, parameters_hash
from federation.flower.dp_sgd import private_training
from federation.flower.models import Model
from federation.flower.noise import sampled
from federation.presence import salt_hash
from federation.privacy import RowPrivacy, Spent, Step, epsilon_after
from federation.rollout import Stage

MEMBERS: Final = ("p-0", "p-1", "p-2")
SIZES: Final = (250, 2_500, 20_000)
EPSILONS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
SEEDS: Final = 5
INPUTS: Final = 10
ROUNDS, STEPS, RATE = 10, 20, 0.02
DELTA, CLIP, LEARNING_RATE = 1e-5, 1.0, 0.5
TESTED: Final = 10_000


def population(seed: int) -> Callable[[int, int], tuple[Any, Any]]:
    """`of(member, rows)`: inputs and labels of customers of a member."""
    rule = np.random.default_rng(1_000 + seed)
    weights = rule.normal(size=INPUTS) / np.sqrt(INPUTS)
    products = rule.normal(size=(INPUTS, INPUTS)) / INPUTS
    shifts = rule.normal(size=(len(MEMBERS), INPUTS)) / 2
    draw = np.random.default_rng(seed)

    def of(member: int, rows: int) -> tuple[Any, Any]:
        raw = draw.normal(size=(rows, INPUTS)) + shifts[member]
        score = 1.5 * (raw @ weights + np.einsum("ri,ij,rj->r", raw, products, raw))
        labels = (draw.random(rows) < 1 / (1 + np.exp(-score))).astype(float)
        upper = np.triu_indices(INPUTS)
        second = (raw[:, :, None] * raw[:, None, :])[:, upper[0], upper[1]]
        # By numbers known without the rows: what is measured on them would need accounting.
        return np.concatenate([raw, second / 2], axis=1) / np.sqrt(INPUTS), labels

    return of


def auc(scores: Any, labels: Any) -> float:  # noqa: ANN401 (arrays)
    """The chance that one of label 1 has more than one of label 0."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    ones = int(labels.sum())
    return float((ranks[labels == 1].sum() - ones * (ones + 1) / 2) / ones / (len(labels) - ones))


def noise_for(epsilon: float) -> float:
    """The least noise multiplier, to three digits, by which all rounds stay within an epsilon."""
    low, high = 300, 100_000
    while high - low > 1:
        middle = (low + high) // 2
        if Spent().after(Step(RATE, middle / 1_000), ROUNDS * STEPS).epsilon(DELTA) <= epsilon:
            high = middle
        else:
            low = middle
    return high / 1_000


def campaign(rows: int, noise: float, epsilon: float) -> Campaign:
    """What the board would sign."""
    parameters = {"learning_rate": str(LEARNING_RATE)}
    return Campaign(
        id="dp-curve",
        purpose="dpv:ServicePersonalisation#algo:churn-v3@1",
        attributes=("visits",),
        territories=("CN",),
        valid_from=0,
        valid_until=1,
        salt_hash=salt_hash(bytes(32)),
        bundle_hash=bundle_hash(b""),
        parameters=parameters,
        parameters_hash=parameters_hash(parameters),
        members=MEMBERS,
        minimum_members=3,
        minimum_rows=rows,
        cohort=2,
        privacy=RowPrivacy(str(epsilon), f"{DELTA:.5f}", str(noise), str(CLIP), str(RATE), STEPS),
        aggregation=Aggregation("fedavg"),
        rounds=ROUNDS,
        rollout=(Stage("consortium", MEMBERS, (), 1),),
        unlearning="exclude",
    )


def gradients_of(inputs: Any, labels: Any) -> Callable[[Model, Sequence[int]], Mapping[str, Any]]:  # noqa: ANN401
    """The logistic loss's gradient of each row."""

    def gradients(model: Model, rows: Sequence[int]) -> Mapping[str, Any]:
        chosen = inputs[list(rows)]
        error = 1 / (1 + np.exp(-(chosen @ model["weights"] + model["bias"]))) - labels[list(rows)]
        return {"weights": error[:, None] * chosen, "bias": error[:, None]}

    return gradients


def trained(rows: int, seed: int, epsilon: float | None) -> float:
    """The AUC after all rounds; without noise and clipping where epsilon is None."""
    of = population(seed)
    data = [of(member, rows) for member in range(len(MEMBERS))]
    tests = [of(member, TESTED // len(MEMBERS)) for member in range(len(MEMBERS))]
    model: Model = {"weights": np.zeros(data[0][0].shape[1]), "bias": np.zeros(1)}
    draw = np.random.default_rng(50_000 + seed).bytes
    signed = None if epsilon is None else campaign(rows, noise_for(epsilon), epsilon)
    for _ in range(ROUNDS):
        updates = []
        for inputs, labels in data:
            gradients, everybody = gradients_of(inputs, labels), range(rows)
            if signed is not None:
                updates.append(private_training(signed, model, everybody, gradients, draw))
                continue
            own = dict(model)
            for _ in range(STEPS):
                slope = gradients(own, sampled(everybody, Fraction(str(RATE)), draw))
                own = {name: own[name] - _step(slope[name], rows) for name in own}
            updates.append(own)
        model = {name: np.mean([one[name] for one in updates], axis=0) for name in model}
    inputs, labels = (np.concatenate(part) for part in zip(*tests, strict=True))
    return auc(inputs @ model["weights"] + model["bias"], labels)


def _step(slopes: Any, rows: int) -> Any:  # noqa: ANN401
    return LEARNING_RATE * slopes.sum(axis=0) / (RATE * rows)


def curve(sizes: Sequence[int], epsilons: Sequence[float], seeds: int) -> list[dict[str, Any]]:
    """Mean AUC and its spread over seeds, for each size and epsilon; None is without privacy."""
    found = []
    for rows in sizes:
        for epsilon in (None, *epsilons):
            scores = [trained(rows, seed, epsilon) for seed in range(seeds)]
            line = {"rows": rows, "epsilon": epsilon, "auc": float(np.mean(scores))}
            if epsilon is not None:
                privacy = campaign(rows, noise_for(epsilon), epsilon).privacy
                line["noise"] = noise_for(epsilon)
                line["spent"] = float(epsilon_after(privacy, ROUNDS)) if privacy else 0.0
            found.append({**line, "spread": float(np.std(scores))})
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"curve": curve(SIZES, EPSILONS, SEEDS)}))
