"""Brokers that serve in processes of their own, and customers, partners and officers in a hurry."""

import hashlib
import http.client
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import select, update

from broker.composition import build_context
from broker.domain.ids import new_id
from broker.domain.vault import piece_digests
from broker.settings import read_settings
from broker.store import tables, vault
from broker.store.consents import CONSENT
from broker.store.vault import EnvelopeRow
from broker.usecases import audit
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from broker.usecases.status import allocate
from broker.usecases.vault_register import open_to_change
from credentials.jcs import b64url
from dev.running import Broker, free_port, running_broker
from tests.broker import builders

T = TypeVar("T")

WIRE = builders.WIRE
TIMEOUT = 30


@dataclass(frozen=True)
class Answer:
    """An answer: its status and its JSON, None where it is none."""

    status: int
    json: Any


class Caller:
    """One connection to one server, as a client with a token; connects again when it was cut."""

    def __init__(self, address: str, token: str) -> None:
        self._netloc = urlsplit(address).netloc
        self._token = token
        self._connection = http.client.HTTPConnection(self._netloc, timeout=TIMEOUT)

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> Answer:
        """POST JSON. Raises `OSError` or `http.client.HTTPException` where nothing was answered."""
        told = {"Content-Type": "application/json", **headers}
        return self._send("POST", path, json.dumps(body).encode(), told)

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None, **headers: str
    ) -> Answer:
        """Any method, with JSON where there is a body, and the errors of `post`."""
        if body is None:
            return self._send(method, path, None, headers)
        told = {"Content-Type": "application/json", **headers}
        return self._send(method, path, json.dumps(body).encode(), told)

    def get(self, path: str) -> Answer:
        """GET, with the errors of `post`."""
        return self._send("GET", path, None, {})

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self._token}", **headers}
        try:
            self._connection.request(method, path, body, sent)
            answer = self._connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Answer(answer.status, json.loads(data) if is_json else None)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._connection.close()


@dataclass
class Deployment:
    """Servers of one database, and a look behind them."""

    servers: list[Broker]
    ctx: Context
    seeds: builders.Broker
    partner_id: str
    officer_id: str
    tokens: dict[str, str] = field(default_factory=dict)
    _callers: list[Caller] = field(default_factory=list)

    def caller(self, role: str, server: int = 0) -> Caller:
        """A new connection to a server, as the partner or the officer."""
        if role not in self.tokens:
            client = self.partner_id if role == "partner" else self.officer_id
            self.tokens[role] = self.seeds.token(client, role, seconds=86_400)
        made = Caller(self.servers[server].address, self.tokens[role])
        self._callers.append(made)
        return made

    def close(self) -> None:
        """Close everything that was opened here; the servers go on."""
        for caller in self._callers:
            caller.close()
        self.ctx.db.close()

    def granted(self, subject_ref: str) -> str:
        """A consent that was granted, with its place in a status list and its entry."""
        consent_id = self.seeds.consent(self.partner_id, subject_ref)
        with self.ctx.db.transaction() as tx:
            place = allocate(self.ctx, tx, builders.TENANT, self.partner_id)
            row = CONSENT.c.id == consent_id
            placed = {"status_list_id": place.list_id, "status_index": place.index}
            tx.execute(update(CONSENT).where(row).values(placed))
            subject_id = tx.execute(select(CONSENT.c.subject_id).where(row)).scalar_one()
            audit.record(
                self.ctx,
                tx,
                tenant_id=builders.TENANT,
                type="consent.granted",
                consent_id=consent_id,
                subject_id=subject_id,
                body={"partner": self.partner_id},
            )
        return consent_id


def asked(partner_id: str, subject_ref: str) -> dict[str, Any]:
    """May the partner read where the customer lives?"""
    return {
        "subject": {"type": "partner", "id": partner_id},
        "action": {"name": "read"},
        "resource": {
            "type": "attribute",
            "id": "home_city",
            "properties": {"subject_ref": subject_ref},
        },
        "context": {"purpose": WIRE, "territory": "CN"},
    }


@contextmanager
def deployment(
    home: Path, database_url: str = "", *, servers: int = 1, **environment: str
) -> Iterator[Deployment]:
    """So many servers over one database and one home folder, each ready in its `environment`."""
    home.mkdir(parents=True, exist_ok=True)
    port = environment.pop("PORT", None) or str(free_port())
    common = {"PUBLIC_URL": f"http://127.0.0.1:{port}", "DATABASE_URL": database_url, **environment}
    with ExitStack() as running:
        started = [
            running.enter_context(
                running_broker(
                    home,
                    common | ({"PORT": port} if number == 0 else {}),
                    log_name=f"serve-{number}.log",
                )
            )
            for number in range(servers)
        ]
        with behind(started) as made:
            yield made


@contextmanager
def behind(servers: list[Broker]) -> Iterator[Deployment]:
    """The look behind servers that run."""
    ctx = build_context(read_settings(servers[0].environment))
    partner, officer = demo_clients(ctx)
    made = Deployment(
        servers, ctx, builders.Broker(ctx), partner["client_id"], officer["client_id"]
    )
    with closing(made):
        yield made


def at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    """Do all in threads of their own; their results. Raises the first error."""
    with ThreadPoolExecutor(len(acts)) as pool:
        return [done.result() for done in [pool.submit(act) for act in acts]]


def fresh_key() -> str:
    """An Idempotency-Key."""
    return secrets.token_hex(8)


def count(ctx: Context, table: str, *where: Any) -> int:  # noqa: ANN401 (conditions)
    """How many rows a table has."""
    with ctx.db.reading() as tx:
        return len(tx.execute(select(tables.metadata.tables[table]).where(*where)).all())


def store_envelope(at: Deployment, consent_id: str, path: str, content: bytes) -> None:
    """Put bytes into the vault as the envelope of `home_city` under a consent, and its row."""
    row = EnvelopeRow(
        id=new_id("env"),
        tenant_id="demo",
        partner_id=at.partner_id,
        consent_id=consent_id,
        attribute="home_city",
        masking="none",
        vault="local",
        path=path,
        kid="k",
        digest=b64url(hashlib.sha256(content).digest()),
        size=len(content),
        pieces=piece_digests(content),
        sealed_reference=b"",
        state="stored",
        signed_at=at.ctx.now(),
        created_at=at.ctx.now(),
    )
    open_to_change(at.ctx, "local").put(row.path, content)
    with at.ctx.db.transaction() as tx:
        vault.add(tx, row)
