"""Withdrawals over HTTP, each durable in two places, against an endpoint of one insert and read.

Each consent can be withdrawn once, so each request is sent once. A withdrawal is in the database
and in a file outside of it before it is acknowledged. The time of an answer is what one of 16
connections waits, each with its next request as soon as its answer is there.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import insert, select

from benchmarks.figure import Figure, ratio_at_least, ratio_at_most
from benchmarks.insert_and_read import running_probe
from benchmarks.load import Taken, driven, post, write_requests
from benchmarks.probe import interleaved
from benchmarks.seeding import granted, new_partner, token_of
from broker.composition import build_context, prepare
from broker.domain.addresses import ROOT_TENANT
from broker.domain.ids import new_id
from broker.settings import Settings
from broker.store.acting import acting_for
from broker.store.consents import CONSENT
from broker.usecases.context import Context
from broker.usecases.partner import add_officer
from broker.usecases.status import allocate_many
from dev.running import running_broker

ROUNDS = 5
CUSTOMERS = 20
REQUESTS = 1_000


def run() -> list[Figure]:
    """Measure withdrawals by an officer over HTTP."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        home = Path(folder)
        files = iter(_populate(home))
        row = post("/row", b'{"kind": "withdrawal"}')
        rows = write_requests(home / "probe.requests", [row] * REQUESTS)
        late: dict[str, list[float]] = {"probe": [], "withdraw": []}
        with (
            running_broker(home, {"BROKER_RATE_LIMITS": "off"}) as broker,
            running_probe(home) as probe,
        ):
            port = urlsplit(broker.address).port or 0
            taken = interleaved(
                {
                    "probe": _rate(
                        late["probe"], lambda: driven(probe, rows, '"withdrawal"', once=True)
                    ),
                    "withdraw": _rate(
                        late["withdraw"],
                        lambda: driven(port, next(files), '"withdrawn"', once=True),
                    ),
                },
                rounds=ROUNDS,
            )
    p99 = {name: 1e3 * statistics.median(found[1:]) for name, found in late.items()}
    return [
        Figure(
            name="withdrawals: over HTTP, durable in the database and outside of it",
            value=taken["withdraw"],
            unit="1/s",
            probe=taken["probe"],
            bound=ratio_at_least(0.6),
        ),
        Figure(
            name="withdrawals: 99 of 100 are answered within",
            value=p99["withdraw"],
            unit="ms",
            probe=p99["probe"],
            bound=ratio_at_most(3),
        ),
    ]


def _rate(late: list[float], drive: Callable[[], Taken]) -> Callable[[], float]:
    """The rate as the measurement; how long answers took is noted beside it."""

    def measure() -> float:
        taken = drive()
        late.append(taken.p99)
        return taken.rate

    return measure


@acting_for(ROOT_TENANT)
def _seeded(ctx: Context) -> tuple[str, list[str]]:
    """An officer's token, and consents that were granted, each with its place in a list."""
    partner_id = new_partner(ctx)
    granted(ctx, partner_id, CUSTOMERS)
    officer = add_officer(ctx, ROOT_TENANT, name="Benchmark")
    token = token_of(ctx, officer.client_id, "officer")
    with ctx.db.transaction() as tx:
        rows = tx.execute(select(CONSENT).where(CONSENT.c.partner_id == partner_id)).all()
        places = allocate_many(ctx, tx, ROOT_TENANT, partner_id, REQUESTS * (ROUNDS + 1))
        # Each as a customer's signature would have left it; copied, since asking takes long.
        given = [
            {
                **rows[number % len(rows)]._mapping,  # noqa: SLF001 (SQLAlchemy's public accessor)
                "id": new_id("c"),
                "status_list_id": place.list_id,
                "status_index": place.index,
            }
            for number, place in enumerate(places)
        ]
        tx.execute(insert(CONSENT), given)
    return token, [str(row["id"]) for row in given]


def _populate(home: Path) -> list[Path]:
    """A file of withdrawals for each time that a rate is taken, and one to warm up."""
    ctx = build_context(Settings(home=home))
    prepare(ctx)
    token, given = _seeded(ctx)
    ctx.db.close()
    headers = [f"Authorization: Bearer {token}"]
    return [
        write_requests(
            home / f"withdraw-{number}.requests",
            [
                post(f"/v1/consents/{consent_id}/withdrawal", b"{}", headers)
                for consent_id in given[number * REQUESTS : (number + 1) * REQUESTS]
            ],
        )
        for number in range(ROUNDS + 1)
    ]
