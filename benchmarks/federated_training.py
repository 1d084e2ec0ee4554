"""Federated training over real processes: what gate and receipt cost a round, what it is worth.

Needs `make federation`. Three members of 1,000 customers, who all sign with wallets over HTTP
before it begins (minutes), a broker and a coordinator, each a process; each ClientApp message is a
cold start of Flower's, which is most of a round. The models' worth is
measured in one process over five seeds of the demonstration's rows: 3 members of 250 customers.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figure import Bound, Figure
from dev.federation.consortium import Consortium, consortium

CUSTOMERS, ROUNDS, SEEDS = 1_000, 3, 5
SHARE, BEHIND = 0.05, 0.01


def run() -> list[Figure]:
    """Measure the rounds, then the models."""
    with tempfile.TemporaryDirectory() as place:
        members: list[dict[str, Any]] = []
        rounds: dict[str, list[float]] = {"opened": [], "closed": []}

        def told(_name: str, event: dict[str, Any]) -> None:
            if event["event"] == "trained":
                members.append(event["seconds"])
            if event["event"] in {"round_opened", "round_closed"}:
                rounds[event["event"].removeprefix("round_")].append(event["when"])

        with consortium(Path(place), told) as made:
            _train(made)
            seeds = json.loads(made.in_flower("-m", "dev.federation.data", "seeds", SEEDS))
    lengths = [end - begin for begin, end in zip(rounds["opened"], rounds["closed"], strict=True)]
    length = statistics.median(lengths)
    ours = statistics.median(one["gate"] + one["receipt"] for one in members)
    worth = {
        "central": statistics.mean(one["central"][0] for one in seeds),
        "federated": statistics.mean(one["federated"][0] for one in seeds),
        "best": statistics.mean(max(one["alone"]) for one in seeds),
        "single": statistics.mean(statistics.mean(one["alone"]) for one in seeds),
    }
    return [
        Figure(
            name=f"federated training: gate and receipt of a member of {CUSTOMERS:,}, of a round",
            value=ours,
            unit="s",
            probe=length,
            bound=Bound("ratio", "<=", SHARE),
        ),
        *(
            Figure(
                name=f"federated training: AUC, mean of {SEEDS} seeds: {name}", value=one, unit=""
            )
            for name, one in worth.items()
        ),
        Figure(
            name="federated training: AUC behind all rows in one place",
            value=worth["central"] - worth["federated"],
            unit="",
            bound=Bound("value", "<=", BEHIND),
        ),
        Figure(
            name="federated training: AUC above the best single member",
            value=worth["federated"] - worth["best"],
            unit="",
            bound=Bound("value", ">=", 1e-9),
        ),
    ]


def _train(made: Consortium) -> None:
    made.draw(0, CUSTOMERS)
    made.sign_consents(CUSTOMERS, lambda: None)
    made.sign_campaign(ROUNDS)
    made.settle()
    made.set_state("running")
    coordinator = made.start_coordinator()
    for member in made.members:
        made.start_member(member)
        made.admit(member)
    coordinator.await_event(lambda event: event["event"] == "campaign_state", "the end")
