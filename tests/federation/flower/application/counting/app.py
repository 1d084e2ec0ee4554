"""FedAvg over members that each add one; one of them can be made to wait in a round."""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    number = message.content["config"]["server-round"]
    if os.environ.get("HELD_ROUND") == str(number):
        held = Path(os.environ["HELD_IN"])
        (held / "reached").touch()
        until = time.monotonic() + 240
        while not (held / "released").exists() and time.monotonic() < until:
            time.sleep(0.1)
    weights = message.content["arrays"].to_numpy_ndarrays()[0]
    return Message(
        RecordDict(
            {
                "arrays": ArrayRecord([weights + 1]),
                "metrics": MetricRecord(
                    {
                        "num-examples": 1,
                        "telemetry": _telemetry(),
                        "members": int(context.run_config["members"]),
                    }
                ),
            }
        ),
        reply_to=message,
    )


class Counting(FedAvg):
    """FedAvg that writes down who answered."""

    def __init__(self, members: int) -> None:
        super().__init__(
            fraction_evaluate=0.0, min_train_nodes=members, min_available_nodes=members
        )
        self.told: list[dict[str, object]] = []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.told.append(
            {
                "answered": sum(reply.has_content() for reply in replies),
                "errors": sorted(reply.error.code for reply in replies if reply.has_error()),
                "weight": None if arrays is None else float(arrays.to_numpy_ndarrays()[0][0]),
                "telemetry": None if metrics is None else metrics["telemetry"],
                "members": None if metrics is None else metrics["members"],
            }
        )
        return arrays, metrics


@server.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    strategy = Counting(int(config["members"]))
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(1)]),
        num_rounds=int(config["rounds"]),
        timeout=300,
    )
    told = json.dumps({"rounds": strategy.told, "telemetry": _telemetry()})
    Path(os.environ["REPORTS"], str(config["report"])).write_text(told)


def _telemetry() -> int:
    return int(os.environ.get("FLWR_TELEMETRY_ENABLED", "1"))
