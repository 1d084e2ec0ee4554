"""Decisions over HTTP, each with its durable entry, against an endpoint of one insert and read.

And in batches of 100, against single calls; and in the process, without the entry (one read and the
engine), with few consents in the database and with a million. 250 us were asked of that where an
ES256 signature is made and checked in 88; here they are as many signatures, measured in turns.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figure import Figure, ratio_at_least, ratio_at_most
from benchmarks.insert_and_read import running_probe
from benchmarks.load import post, rate, write_requests
from benchmarks.many_consents import grow
from benchmarks.probe import SIGNATURE_MS, interleaved, seconds_per_call, signature
from benchmarks.seeding import granted, new_partner, token_of
from broker.composition import build_context, prepare
from broker.domain.access import Question
from broker.domain.addresses import ROOT_TENANT
from broker.domain.policy import consent_policies
from broker.domain.terms import parse_purpose
from broker.settings import Settings
from broker.store import decisions
from broker.store.acting import acting_for
from broker.store.contacts import subject_ref_hash
from broker.store.decisions import Asker
from credentials.jcs import b64url
from dev.running import running_broker

CUSTOMERS = 300
BATCH = 100
FEW_CONSENTS, MANY_CONSENTS = 2_000, 1_000_000
ASKED_US = 250
ROUNDS = 5
ATTRIBUTE, PERMITTED = "purchase_count_12m", '"decision":true'
PURPOSE = "dpv:ServicePersonalisation#algo:churn-v3@1"


@dataclass(frozen=True)
class Asked:
    """Whose consents there are, and the token that asks about them."""

    partner_id: str
    token: str
    contacts: tuple[str, ...]

    def evaluation(self, contact: str, attribute: str) -> bytes:
        """An evaluation request as bytes."""
        body = self._body(contact, attribute)
        return self._post("/access/v1/evaluation", body)

    def batch(self, contacts: Sequence[str], attribute: str) -> bytes:
        """A request of many evaluations, each of another contact, as bytes."""
        body = self._body("", attribute)
        resource = body.pop("resource")
        body["evaluations"] = [
            {"resource": {**resource, "properties": {"subject_ref": contact}}}
            for contact in contacts
        ]
        return self._post("/access/v1/evaluations", body)

    def _body(self, contact: str, attribute: str) -> dict[str, Any]:
        return {
            "subject": {"type": "partner", "id": self.partner_id},
            "action": {"name": "read"},
            "resource": {
                "type": "attribute",
                "id": attribute,
                "properties": {"subject_ref": contact},
            },
            "context": {"purpose": PURPOSE, "territory": "CN"},
        }

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        return post(path, json.dumps(body).encode(), [f"Authorization: Bearer {self.token}"])


def run() -> list[Figure]:
    """Measure permits and denials over HTTP."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        home = Path(folder)
        asked = populate(Settings(home=home))
        with running_broker(home) as broker, running_probe(home) as probe:
            port = urlsplit(broker.address).port or 0
            row = post("/row", b'{"kind": "decision"}')
            taken = interleaved(
                {
                    "probe": _rate(home, "probe", probe, [row], '"kind":"decision"'),
                    "permit": _rate(
                        home,
                        "permit",
                        port,
                        [asked.evaluation(one, ATTRIBUTE) for one in asked.contacts],
                        PERMITTED,
                    ),
                    "batch": _rate(
                        home,
                        "batch",
                        port,
                        [
                            asked.batch(asked.contacts[first : first + BATCH], ATTRIBUTE)
                            for first in range(0, CUSTOMERS, BATCH)
                        ],
                        PERMITTED,
                        connections=2,
                    ),
                    "deny": _rate(
                        home,
                        "deny",
                        port,
                        [asked.evaluation(one, "phone") for one in asked.contacts],
                        '"attribute_outside_terms"',
                    ),
                },
                rounds=ROUNDS,
            )
    return [
        Figure(
            name=f"decisions: {name} over HTTP with a durable audit entry",
            value=taken[name],
            unit="1/s",
            probe=taken["probe"],
            bound=ratio_at_least(0.6),
        )
        for name in ("permit", "deny")
    ] + [
        Figure(
            name=f"decisions: in batches of {BATCH} against single calls",
            value=taken["batch"] * BATCH,
            unit="1/s",
            probe=taken["permit"],
            bound=ratio_at_least(3),
        ),
        *in_process(),
    ]


def in_process() -> list[Figure]:
    """What a decision takes without its entry: its one read, and the engine."""
    with contextlib.ExitStack() as stack:
        few, many = (
            stack.enter_context(_deciding(consents)) for consents in (FEW_CONSENTS, MANY_CONSENTS)
        )
        taken = interleaved(
            {"few": few, "many": many, "signature": signature(clock=time.process_time)},
            rounds=ROUNDS,
        )
    return [
        Figure(
            name=f"decisions: read and judged in the process, {MANY_CONSENTS:,} consents, "
            "in signatures",
            value=taken["many"] * 1e6,
            unit="us",
            probe=taken["signature"] * 1e6,
            bound=ratio_at_most(ASKED_US / 1e3 / SIGNATURE_MS),
        ),
        Figure(
            name=f"decisions: the same against {FEW_CONSENTS:,} consents",
            value=taken["many"] * 1e6,
            unit="us",
            probe=taken["few"] * 1e6,
            bound=ratio_at_most(1.2),
        ),
    ]


@contextlib.contextmanager
def _deciding(consents: int) -> Iterator[Callable[[], float]]:
    """A measurement of decisions over so many consents: CPU seconds of one."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        acting_for(ROOT_TENANT),
    ):
        settings = Settings(home=Path(folder))
        asked = populate(settings)
        ctx = build_context(settings)
        grow(ctx, asked.partner_id, consents)
        token_hash = b64url(sha256(asked.token.encode()).digest())
        key = ctx.keys.hmac_key("contact")
        questions = [
            (
                Asker(
                    ROOT_TENANT,
                    token_hash,
                    asked.partner_id,
                    subject_ref_hash(key, asked.partner_id, name),
                    settings.public_url,
                ),
                Question("read", ATTRIBUTE, *parse_purpose(PURPOSE), "CN", subject_ref=name),
            )
            for name in asked.contacts
        ]
        with ctx.db.reading() as tx:

            def decide() -> None:
                for asker, question in questions:
                    snapshot = decisions.read(tx, asker, question)
                    verdict = snapshot and consent_policies().judge(
                        question, snapshot.facts, ctx.now()
                    )
                    if not verdict or not verdict.permit:
                        raise RuntimeError("a decision that was to be measured is no permit")

            measure = seconds_per_call(decide, calls=5, clock=time.process_time)
            yield lambda: measure() / len(questions)
        ctx.db.close()


def _rate(
    home: Path, name: str, port: int, requests: list[bytes], expect: str, *, connections: int = 16
) -> Callable[[], float]:
    path = write_requests(home / f"{name}.requests", requests)
    return lambda: rate(port, path, expect, connections=connections)


def populate(settings: Settings) -> Asked:
    """A broker's database with customers who have granted what the template asks for."""
    ctx = build_context(settings)
    prepare(ctx)
    partner_id = new_partner(ctx)
    names = granted(ctx, partner_id, CUSTOMERS)
    token = token_of(ctx, partner_id, "partner")
    ctx.db.close()
    return Asked(partner_id, token, names)
