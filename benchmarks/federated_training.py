"""Federated training over real processes: what gate and receipt cost a round.

Needs `make federation`. Three members of 1,000 customers, who all sign with wallets over HTTP
before it begins (minutes), a broker and a coordinator, each a process; each ClientApp message is a
cold start of Flower's, which is most of a round.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figure import Bound, Figure
from dev.federation.consortium import Consortium, consortium

CUSTOMERS, ROUNDS = 1_000, 3
SHARE = 0.05


def run() -> list[Figure]:
    """Measure the rounds."""
    with tempfile.TemporaryDirectory() as place:
        members: list[dict[str, Any]] = []
        rounds: dict[str, dict[tuple[str, int], float]] = {"opened": {}, "closed": {}}

        def told(_name: str, event: dict[str, Any]) -> None:
            if event["event"] == "trained":
                members.append(event)
            if event["event"] in {"round_opened", "round_closed"}:
                # By number, which a round that failed uses up: it opened and never closes.
                at = event["stage"], event["number"]
                rounds[event["event"].removeprefix("round_")][at] = event["when"]

        with consortium(Path(place), told) as made:
            _train(made)
    lengths = [end - rounds["opened"][at] for at, end in rounds["closed"].items()]
    length = statistics.median(lengths)
    ours, worked = (
        statistics.median(one[clock]["gate"] + one[clock]["receipt"] for one in members)
        for clock in ("seconds", "processor")
    )
    return [
        Figure(
            name=f"federated training: gate and receipt of a member of {CUSTOMERS:,}, of a round",
            value=ours,
            unit="s",
            probe=length,
            bound=Bound("ratio", "<=", SHARE),
        ),
        Figure(
            name="federated training: the same, as processor time of the member",
            value=worked,
            unit="s",
            probe=length,
        ),
    ]


def _train(made: Consortium) -> None:
    made.draw(0, CUSTOMERS)
    made.sign_consents(CUSTOMERS, lambda: None)
    made.sign_campaign(ROUNDS)
    made.settle()
    made.set_state("running")
    made.start().await_event(lambda event: event["event"] == "campaign_state", "the end")
