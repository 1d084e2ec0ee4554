"""Zero-knowledge proofs checked over HTTP: what a second worker adds, and what HTTP costs.

Each request hands in a proof of its own for an open request; the answer comes when the proof was
verified and its row and log entry are durable (PostgreSQL). Before each turn the requests are
opened again, which nobody else can do: the proofs stay good. The probe is `zkp.verify` on the same
proofs and nothing else, in as many processes: what the machine has to give.
"""

import json
import multiprocessing
import secrets
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import update

from benchmarks.figure import Figure, ratio_at_least
from benchmarks.load import driven, post, write_requests
from benchmarks.probe import interleaved
from benchmarks.seeding import TEMPLATE, new_partner, token_of
from benchmarks.workers import COUNTS, SETTINGS
from broker.composition import build_context, prepare
from broker.domain.addresses import ROOT_TENANT
from broker.settings import Settings
from broker.store.acting import acting_for
from broker.store.proofs import REQUEST
from broker.usecases.context import Context
from broker.usecases.proof_request import open_request
from credentials.jcs import b64url
from dev.running import running_broker
from tests.postgres import throw_away_server
from tests.zkp.world import ISSUER, PERSON, World
from wallet_adapters.openid4vp.proof import read_proof, write_proof
from zkp import ProofRequest, prove, verify

ROUNDS = 5
PROOFS = 200
PROBED = 20
PROBE_SECONDS = 1.5
LIFETIME = 900
PUBLIC_URL = "http://127.0.0.1:8000"
PROVEN = '"state":"proven"'

Checked = tuple[dict[str, Any], dict[str, object]]
"""A proof's request and its answer as JSON: points go to no other process."""


@dataclass(frozen=True)
class _Seeded:
    """A broker's database with open requests, and the proofs that answer them."""

    ctx: Context
    token: str
    answers: tuple[tuple[str, dict[str, object]], ...]
    checks: tuple[Checked, ...]

    def requests(self) -> list[bytes]:
        """What the partner sends, each time under keys of its own."""
        return [
            post(
                "/v1/proofs/verify",
                json.dumps({"request": request_id, "presentation": shown}).encode(),
                [
                    f"Authorization: Bearer {self.token}",
                    f"Idempotency-Key: {secrets.token_hex(8)}",
                ],
            )
            for request_id, shown in self.answers
        ]

    @acting_for(ROOT_TENANT)
    def open_again(self) -> None:
        """Take back that the requests were answered."""
        fresh: dict[str, Any] = {"state": "open", "sealed_proof": None, "shown": None}
        with self.ctx.db.transaction() as tx:
            tx.execute(update(REQUEST).values(**fresh, expires_at=self.ctx.now() + LIFETIME))


def run() -> list[Figure]:
    """Measure with one worker and with two."""
    with ExitStack() as stack:
        server = stack.enter_context(throw_away_server(SETTINGS))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        url = server.create("broker")
        seeded = _seed(Settings(home=home, database_url=url, public_url=PUBLIC_URL))
        stack.callback(seeded.ctx.db.close)
        measurements = {}
        for count in COUNTS:
            changes = {
                "DATABASE_URL": url,
                "WORKERS": str(count),
                "PUBLIC_URL": PUBLIC_URL,
                "BROKER_RATE_LIMITS": "off",
            }
            broker = stack.enter_context(running_broker(home, changes, log_name=f"{count}.log"))
            port = urlsplit(broker.address).port or 0
            pool = stack.enter_context(
                ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
            )
            measurements[f"checked {count}"] = partial(_checked, home, port, seeded)
            measurements[f"probe {count}"] = partial(_probe, pool, count, seeded.checks)
        taken = interleaved(measurements, rounds=ROUNDS)
    return [
        Figure(
            name="proofs: checked over HTTP by two workers, as a multiple of one worker's",
            value=taken["checked 2"] / taken["checked 1"],
            unit="times",
            probe=taken["probe 2"] / taken["probe 1"],
            bound=ratio_at_least(0.8),
        ),
        *(
            Figure(
                name=f"proofs: checked over HTTP on PostgreSQL, {count} at work",
                value=taken[f"checked {count}"],
                unit="1/s",
                probe=taken[f"probe {count}"],
            )
            for count in COUNTS
        ),
    ]


def _checked(home: Path, port: int, seeded: _Seeded) -> float:
    seeded.open_again()
    path = write_requests(home / "proofs.requests", seeded.requests())
    return driven(port, path, PROVEN, once=True).rate


def _probe(pool: ProcessPoolExecutor, count: int, checks: tuple[Checked, ...]) -> float:
    return sum(pool.map(_verify_for, [checks] * count))


def _verify_for(checks: tuple[Checked, ...]) -> float:
    """Verify again and again; how many a second."""
    ready = [
        (ProofRequest.from_json(asked), (received := read_proof(shown)).presentation(), received)
        for asked, shown in checks
    ]
    work = [
        (asked, shown, {name: frozenset({one.key}) for name, one in received.credentials.items()})
        for asked, shown, received in ready
    ]
    verify(*work[0])
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < PROBE_SECONDS:
        verify(*work[done % len(work)])
        done += 1
    return done / spent


@acting_for(ROOT_TENANT)
def _seed(settings: Settings) -> _Seeded:
    """Eight attributes, of which a birth date is shown to be 18 years ago or more."""
    ctx = build_context(settings)
    prepare(ctx)
    partner_id = new_partner(ctx)
    world = World.make(birth_date="1996-05-17")
    key = world.key.public.data
    adult = {"type": "older_than", "credential": "id", "attribute": "birth_date", "years": 18}
    meta = {
        "version": "consent-broker-proof/1",
        "credentials": {
            "id": {"schema": PERSON.id, "issuers": [{"issuer": ISSUER, "key": b64url(key)}]}
        },
        "statements": [adult | {"on": "2026-11-26"}],
    }
    answers, checks = [], []
    for _ in range(PROOFS):
        opened = open_request(ctx, ROOT_TENANT, partner_id, template_id=TEMPLATE, meta=meta)
        shown = prove(opened.request, world.held)
        answers.append((opened.row.id, write_proof(opened.request, shown)))
        checks.append((opened.request.to_json(), answers[-1][1]))
    token = token_of(ctx, partner_id, "partner")
    return _Seeded(ctx, token, tuple(answers), tuple(checks[:PROBED]))
