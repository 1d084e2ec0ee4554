"""A broker as its clients see it: a migrated database, the demonstration tenant, the whole stack.

Everything around the routers is as in production: problem documents, tenants by address, limits,
the request log. The clock is a list that a test turns.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from broker.api import errors, health, limits, logs, oauth, registry, tenancy
from broker.domain.entry import SealedEntry
from broker.domain.terms import Label
from broker.settings import Settings
from broker.store import audit
from broker.store.db import Database
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from broker.usecases.context import Context
from broker.usecases.keys import KeyRing
from broker.usecases.partner import NewClient, add_partner
from broker.usecases.sequencer import Sequencer
from broker.usecases.tenant import add_tenant
from credentials.keys import SoftwareKey, sign_jws
from credentials.sealing import MasterKey
from tests.broker.made_tables import make_tables

PUBLIC_URL = "https://consent.example"
START = 1_795_478_400
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MASTER = bytes(range(32))
DEPTH = 64
BYTES = 262_144


@dataclass(frozen=True)
class Client:
    """A client of the API and its private key."""

    id: str
    key: SoftwareKey
    tenant_id: str = "demo"

    @property
    def issuer(self) -> str:
        """The authorization server of its tenant."""
        return PUBLIC_URL if self.tenant_id == "demo" else f"{PUBLIC_URL}/t/{self.tenant_id}"

    def assertion(self, now: int, **claims: object) -> str:
        """A client assertion; claims given replace its own, None leaves one out."""
        payload = {
            "iss": self.id,
            "sub": self.id,
            "aud": self.issuer,
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_hex(8),
            **claims,
        }
        stated = {name: value for name, value in payload.items() if value is not None}
        return sign_jws(self.key, {"typ": "JWT"}, stated)


@dataclass
class World:
    """A broker, its clock, its clients, and ways to look behind it."""

    ctx: Context
    app: FastAPI
    http: TestClient
    time: list[int]
    partner: Client
    officer: Client
    stranger: Client
    """A partner of another tenant, `acme`."""

    def advance(self, seconds: int) -> None:
        """Let time pass, with the log keeping up."""
        self.time[0] += seconds
        while self.ctx.log.run_once(self.time[0]) is not None:
            pass

    def ask_token(self, assertion: str, path: str = "/oauth/token", **form: str) -> Any:  # noqa: ANN401 (an answer)
        """Post a token request with a client assertion."""
        fields = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": assertion,
            **form,
        }
        return self.http.post(path, data=fields)

    def bearer(self, client: Client) -> dict[str, str]:
        """Headers with a token that the client has just got."""
        prefix = "" if client.tenant_id == "demo" else f"/t/{client.tenant_id}"
        answer = self.ask_token(client.assertion(self.time[0]), f"{prefix}/oauth/token")
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def logged(self, *types: str) -> list[Mapping[str, Any]]:
        """The bodies of the audit entries of some types, oldest first."""
        with self.ctx.db.reading() as tx:
            rows = [
                *tx.execute(select(audit.ENTRY).order_by(audit.ENTRY.c.log_index)),
                *tx.execute(select(audit.PENDING).order_by(audit.PENDING.c.seq)),
            ]
            return [self._open(tx, row) for row in rows if row.type in types]

    def _open(self, tx: Any, row: Any) -> Mapping[str, Any]:  # noqa: ANN401 (rows of two tables)
        key = self.ctx.keys.log_key(tx, row.tenant_id, None)
        names = ("id", "tenant_id", "type", "subject_id", "consent_id", "leaf_data", "sealed_body")
        sealed = SealedEntry(time=row.created_at, **{name: getattr(row, name) for name in names})
        return key.open(sealed).body


@contextmanager
def world(home: Path, database_url: str = "") -> Iterator[World]:
    """A broker with the demonstration tenant, and a tenant `acme` with a partner."""
    settings = Settings(home=home, public_url=PUBLIC_URL, database_url=database_url)
    db = Database(settings.sqlalchemy_url)
    make_tables(db)
    time = [START]
    master = MasterKey.from_bytes(MASTER)
    keys = KeyRing(db, master, lambda: time[0], PUBLIC_URL)
    log = Sequencer(db, keys.log_signer(), settings, lambda: time[0])
    ctx = Context(settings=settings, db=db, master=master, keys=keys, log=log, now=lambda: time[0])
    ensure_demo_tenant(ctx)
    add_tenant(
        ctx, "acme", name=Label("顶点", "Acme"), contact="privacy@acme.example", country="CN"
    )
    other = add_partner(
        ctx, "acme", name="Acme Tea", name_zh="顶点茶", contact="tea@acme.example", country="CN"
    )
    partner, officer = demo_clients(ctx)
    app = application(ctx)
    with TestClient(app, base_url=PUBLIC_URL, raise_server_exceptions=False) as http:
        made = World(
            ctx, app, http, time, _client(partner), _client(officer), client_of(other, "acme")
        )
        made.advance(0)
        yield made
    db.close()


def application(ctx: Context) -> FastAPI:
    """The routers under test in the stack that surrounds every router."""
    app = FastAPI()
    app.state.context = ctx
    errors.install(app)
    for module in (oauth, registry, health):
        app.include_router(module.router)
    tenancy.install(app)
    limits.install(app, max_bytes=BYTES, max_depth=DEPTH)
    logs.install(app)
    return app


def client_of(added: NewClient, tenant_id: str = "demo") -> Client:
    """A new client with its key."""
    return Client(added.client_id, SoftwareKey.from_private_jwk(added.private_jwk), tenant_id)


def _client(stored: Mapping[str, Any]) -> Client:
    return Client(stored["client_id"], SoftwareKey.from_private_jwk(stored["private_jwk"]))
