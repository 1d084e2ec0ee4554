"""Decisions over HTTP, each with its durable entry, against an endpoint of one insert and read."""

import json
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import update

from benchmarks.figure import Figure, ratio_at_least
from benchmarks.insert_and_read import running_probe
from benchmarks.load import post, rate, write_requests
from benchmarks.probe import interleaved
from broker.app import build_context, prepare
from broker.domain.addresses import ROOT_TENANT
from broker.domain.ids import new_id
from broker.settings import Settings
from broker.store import access_tokens, contacts, subjects
from broker.store.consents import CONSENT
from broker.usecases.consent_request import open_request
from broker.usecases.context import Context
from broker.usecases.partner import add_partner
from credentials.jcs import b64url
from dev.running import running_broker

CUSTOMERS = 300
ROUNDS = 5
TEMPLATE = "loyalty-churn"
PURPOSE = "dpv:ServicePersonalisation#algo:churn-v3@1"
DAY_SECONDS = 86_400


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
        asked = _populate(home)
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
                        [asked.evaluation(one, "purchase_count_12m") for one in asked.contacts],
                        '"decision":true',
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


def _populate(home: Path) -> Asked:
    """A broker's database with customers who have granted what the template asks for."""
    ctx = build_context(Settings(home=home))
    prepare(ctx)
    partner = add_partner(
        ctx,
        ROOT_TENANT,
        name="Benchmark",
        name_zh="基准",
        contact="privacy@brand.example",
        country="CN",
    )
    names = tuple(f"crm-{number:06}" for number in range(CUSTOMERS))
    for name in names:
        open_request(
            ctx,
            ROOT_TENANT,
            partner.client_id,
            subject_ref=name,
            template_id=TEMPLATE,
            language="zh",
        )
    grant_all(ctx, partner.client_id)
    token = b64url(secrets.token_bytes(32))
    with ctx.db.transaction() as tx:
        access_tokens.add(
            tx,
            token_hash=b64url(sha256(token.encode()).digest()),
            tenant_id=ROOT_TENANT,
            subject=partner.client_id,
            role="partner",
            expires_at=ctx.now() + DAY_SECONDS,
        )
    ctx.db.close()
    return Asked(partner.client_id, token, names)


def grant_all(ctx: Context, partner_id: str) -> None:
    """Put every consent where a customer's signature would have put it, each customer apart."""
    now = ctx.now()
    with ctx.db.transaction() as tx:
        rows = tx.execute(CONSENT.select().where(CONSENT.c.partner_id == partner_id)).all()
        for contact_id in {row.contact_id for row in rows}:
            subject_id = new_id("s")
            key = ctx.keys.new_log_key(f"subject:{subject_id}")
            subjects.add(tx, subject_id, tenant_id=ROOT_TENANT, sealed_log_key=key, now=now)
            contacts.bind(tx, contact_id, subject_id=subject_id, grade="link", now=now)
            tx.execute(
                update(CONSENT)
                .where(CONSENT.c.contact_id == contact_id)
                .values(
                    state="granted",
                    subject_id=subject_id,
                    valid_from=now,
                    valid_until=now + 180 * DAY_SECONDS,
                )
            )
