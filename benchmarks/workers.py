"""A second worker on PostgreSQL: what it adds, against what it adds to one insert and read.

Both cores also run PostgreSQL and the load, so two workers are never twice one: the probe says
what the machine has to give. All four servers are up all the time, each in its turn under load.
"""

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.decisions import ATTRIBUTE, PERMITTED, populate
from benchmarks.figure import Figure, ratio_at_least
from benchmarks.insert_and_read import running_probe
from benchmarks.load import post, rate, write_requests
from benchmarks.probe import interleaved
from broker.settings import Settings
from dev.running import running_broker
from tests.postgres import throw_away_server

ROUNDS = 7
COUNTS = (1, 2)
# Each commit is durable, as in earnest.
SETTINGS = ("-c shared_buffers=128MB", "-c max_connections=100", "-c timezone=UTC")


def run() -> list[Figure]:
    """Measure permits with one worker and with two."""
    with ExitStack() as stack:
        server = stack.enter_context(throw_away_server(SETTINGS))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        url, raw = server.create("broker"), server.create("probe")
        asked = populate(Settings(home=home, database_url=url))
        row = write_requests(home / "row.requests", [post("/row", b'{"kind": "decision"}')])
        questions = write_requests(
            home / "permit.requests", [asked.evaluation(one, ATTRIBUTE) for one in asked.contacts]
        )
        measurements = {}
        for count in COUNTS:
            changes = {"DATABASE_URL": url, "WORKERS": str(count)}
            broker = stack.enter_context(running_broker(home, changes, log_name=f"{count}.log"))
            port = urlsplit(broker.address).port or 0
            probe = stack.enter_context(
                running_probe(home, url=raw.replace("://", "+psycopg://"), workers=count)
            )
            measurements[f"permit {count}"] = partial(rate, port, questions, PERMITTED)
            measurements[f"probe {count}"] = partial(rate, probe, row, '"kind":"decision"')
        taken = interleaved(measurements, rounds=ROUNDS)
    return [
        Figure(
            name="workers: decisions of two workers, as a multiple of one worker's",
            value=taken["permit 2"] / taken["permit 1"],
            unit="times",
            probe=taken["probe 2"] / taken["probe 1"],
            bound=ratio_at_least(0.85),
        ),
        *(
            Figure(
                name=f"workers: decisions on PostgreSQL, {count} at work",
                value=taken[f"permit {count}"],
                unit="1/s",
                probe=taken[f"probe {count}"],
            )
            for count in COUNTS
        ),
    ]
