"""What `federated_auc` measures, in the environment with Flower: prints one JSON object.

Three members of 250 customers of the demonstration's rule, FedAvg over six rounds by
`federation.flower.rounds` on a grid in this process: signed campaign, status lists, consent gate,
difference guard, receipts, weights by bucket, as in processes, without a broker and without TLS.
Rows are gated by consent credentials that an issuer signed. `python -m benchmarks.federated_grid
FOLDER SEEDS`.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from dev.federation import data
from federation.flower.in_process import InProcess
from federation.flower.member import Task, Trained
from federation.flower.models import Model
from federation.presence import CampaignSalt
from tests.federation.flower import training

Rows = tuple[Any, Any]
LEFT_OUT: Final = data.CUSTOMERS // 5
"""Of each member's rows: those without a live consent, half never given, half withdrawn."""


def consents(member: int) -> list[str]:
    """The consent credential of each row of a member."""
    name = f"p-{member}"
    return [
        training.BROKER.consent(place_of(member, row), recipients=[name])
        for row in range(data.CUSTOMERS)
    ]


def place_of(member: int, row: int) -> int:
    """Where a row's consent is in the status list."""
    return member * data.CUSTOMERS + row


@dataclass
class Site(training.Site):
    """A member of the demonstration, which trains as its application does."""

    rows: Rows = field(kw_only=True)
    credentials: Sequence[str] = field(kw_only=True)

    def consents(self) -> Sequence[str]:
        """A line for each row."""
        return self.credentials

    def train(self, task: Task, rows: Sequence[int]) -> Trained:
        """On these rows alone."""
        self.trained_on.append(len(rows))
        inputs, labels = self.rows
        some = inputs[list(rows)], labels[list(rows)]
        return Trained(data.trained(some, data.STEPS, task.model), {})


class Consortium(training.World):
    """The members, each with its rows and their consents."""

    def __init__(self, rows: Sequence[Rows], credentials: Sequence[Sequence[str]]) -> None:
        """Take both by member."""
        self._rows, self._credentials = rows, credentials
        super().__init__(data.MEMBERS, data.ROUNDS, method="fedavg")

    def site(self, name: str, salt: CampaignSalt) -> Site:
        """Of one member."""
        at = int(name[2:])
        rows, credentials = self._rows[at], self._credentials[at]
        return Site(name, salt, self.clock, rows=rows, credentials=credentials)

    def model(self) -> Model:
        """What all rounds give."""
        nodes = {int(name[2:]) + 1: self.node(name) for name in self.sites}
        return self.rounds().go_on(InProcess(nodes), data.beginning())


def federated(rows: Sequence[Rows], given: Sequence[Sequence[str]], seed: int | None) -> Model:
    """The model of a consortium: of all rows, or without those that a seed leaves no consent.

    Raises `ValueError` where the gate let in another number of rows.
    """
    credentials, gone = [list(one) for one in given], list[int]()
    for member in range(data.MEMBERS if seed is not None else 0):
        draw = np.random.default_rng([seed or 0, member, 7])
        out = [int(row) for row in draw.choice(data.CUSTOMERS, LEFT_OUT, replace=False)]
        for row in out[::2]:
            credentials[member][row] = ""
        gone += [place_of(member, row) for row in out[1::2]]
    made = Consortium(rows, credentials)
    training.BROKER.statuses.set_all(gone, 1)
    try:
        model = made.model()
    finally:
        training.BROKER.statuses.set_all(gone, 0)
    due = data.CUSTOMERS - (LEFT_OUT if seed is not None else 0)
    seen = {count for site in made.sites.values() for count in site.trained_on}
    if seen != {due}:
        raise ValueError(f"members trained on {sorted(seen)} rows, and not on {due}")
    return model


def over_seeds(seeds: int) -> list[dict[str, Any]]:
    """AUC by seed: of all rows in one place, federated, federated on consented rows, each alone."""
    given = [consents(member) for member in range(data.MEMBERS)]
    found = []
    for seed in range(seeds):
        tested = data.test_customers(seed)
        rows = [
            data.customers(seed, member, data.CUSTOMERS, data.TRAINING)
            for member in range(data.MEMBERS)
        ]
        together = np.vstack([one[0] for one in rows]), np.concatenate([one[1] for one in rows])
        steps = data.STEPS * data.ROUNDS
        models = {
            "central": data.trained(together, steps),
            "federated": federated(rows, given, None),
            "consented": federated(rows, given, seed),
        }
        alone = [data.worth(data.trained(one, steps), tested) for one in rows]
        worth = {name: data.worth(one, tested) for name, one in models.items()}
        found.append({**worth, "alone": alone})
    return found


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    print(json.dumps({"seeds": over_seeds(int(sys.argv[2]))}))
