"""Decisions over HTTP, each with its durable entry, against an endpoint of one insert and read."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.figure import Figure, ratio_at_least
from benchmarks.insert_and_read import running_probe
from benchmarks.load import post, rate, write_requests
from benchmarks.probe import interleaved
from benchmarks.seeding import granted, new_partner, token_of
from broker.composition import build_context, prepare
from broker.settings import Settings
from dev.running import running_broker

CUSTOMERS = 300
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
        body = {
            "subject": {"type": "partner", "id": self.partner_id},
            "action": {"name": "read"},
            "resource": {
                "type": "attribute",
                "id": attribute,
                "properties": {"subject_ref": contact},
            },
            "context": {"purpose": PURPOSE, "territory": "CN"},
        }
        return post(
            "/access/v1/evaluation",
            json.dumps(body).encode(),
            [f"Authorization: Bearer {self.token}"],
        )


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
    ]


def _rate(
    home: Path, name: str, port: int, requests: list[bytes], expect: str
) -> Callable[[], float]:
    path = write_requests(home / f"{name}.requests", requests)
    return lambda: rate(port, path, expect)


def populate(settings: Settings) -> Asked:
    """A broker's database with customers who have granted what the template asks for."""
    ctx = build_context(settings)
    prepare(ctx)
    partner_id = new_partner(ctx)
    names = granted(ctx, partner_id, CUSTOMERS)
    token = token_of(ctx, partner_id, "partner")
    ctx.db.close()
    return Asked(partner_id, token, names)
