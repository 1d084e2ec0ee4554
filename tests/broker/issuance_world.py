"""A broker without its server: a real SQLite database, keys, log and the apps of the issuance."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from broker.api import errors, invitations, oauth, openid4vci, status, tenancy, wellknown
from broker.domain.entry import Entry, SealedEntry
from broker.settings import Settings
from broker.store import access_tokens, audit, tables
from broker.store.credentials import COPY, CopyRow
from broker.store.db import Database
from broker.usecases.context import Context
from broker.usecases.keys import KeyRing
from broker.usecases.sequencer import Sequencer
from credentials.jcs import b64url
from credentials.keys import SoftwareKey, sign_jws
from credentials.sealing import MasterKey
from tests.broker.made_tables import make_tables
from wallet_adapters.loopback import Answer, Message, Wallet, accept_offer
from wallet_adapters.loopback.state import HeldCredential

PUBLIC_URL = "http://127.0.0.1:8000"
START = 1_795_478_400
PARTNER = "p-" + "a" * 20
OTHER_PARTNER = "p-" + "b" * 20
OFFICER = "o-" + "c" * 20
PROOF_TYPE = "openid4vci-proof+jwt"
PRE_AUTHORIZED = "urn:ietf:params:oauth:grant-type:pre-authorized_code"


@dataclass
class World:
    """A broker, its clock, and ways to look behind it."""

    ctx: Context
    http: TestClient
    time: list[int] = field(default_factory=lambda: [START])

    def advance(self, seconds: int) -> None:
        """Let time pass, with the log keeping up."""
        self.time[0] += seconds
        while self.ctx.log.run_once(self.time[0]) is not None:
            pass

    def token(self, client_id: str, role: str, tenant_id: str = "demo") -> dict[str, str]:
        """Headers with a fresh bearer token of a client."""
        token = b64url(secrets.token_bytes(32))
        with self.ctx.db.transaction() as tx:
            access_tokens.add(
                tx,
                token_hash=b64url(sha256(token.encode()).digest()),
                tenant_id=tenant_id,
                subject=client_id,
                role=role,
                expires_at=self.time[0] + 3600,
            )
        return {"Authorization": f"Bearer {token}"}

    def invite(
        self, subject_ref: str = "crm-1", partner: str = PARTNER, **more: object
    ) -> dict[str, Any]:
        """Open an invitation by the API, by an officer where only they may."""
        officer = more.get("rebind") or more.get("grade") == "verified_person"
        body = {"subject_ref": subject_ref, "grade": "link", **more}
        if officer:
            body["partner"] = partner
        headers = self.token(OFFICER, "officer") if officer else self.token(partner, "partner")
        headers["Idempotency-Key"] = secrets.token_hex(8)
        answer = self.http.post("/v1/invitations", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def carry(self, message: Message) -> Answer:
        """Carry a loopback wallet's message."""
        answer = self.http.request(
            message.method,
            message.url,
            headers=dict(message.headers),
            content=message.body,
            follow_redirects=False,
        )
        return Answer(answer.status_code, answer.content)

    def accept(
        self, wallet: Wallet, invitation: dict[str, Any], *, copies: int = 4
    ) -> list[HeldCredential]:
        """Have the loopback wallet take the credentials of an invitation."""
        return accept_offer(
            wallet,
            invitation["offer_uri"],
            carry=self.carry,
            now=self.time[0],
            tx_code=invitation["tx_code"],
            copies=copies,
        )

    def wallet(self) -> Wallet:
        """An empty wallet that trusts this broker's root."""
        return Wallet(anchors=list(self.ctx.keys.anchors()))

    def redeem(self, invitation: dict[str, Any], **form: str) -> Any:  # noqa: ANN401 (httpx answer)
        """Post a token request for an invitation."""
        fields = {
            "grant_type": PRE_AUTHORIZED,
            "pre-authorized_code": self.code(invitation),
            **({"tx_code": invitation["tx_code"]} if invitation["tx_code"] else {}),
            **form,
        }
        return self.http.post("/oauth/token", data=fields)

    def code(self, invitation: dict[str, Any]) -> str:
        """The pre-authorized code of an open invitation."""
        offer = self.http.get(f"/openid4vci/offer/{invitation['id']}").json()
        return str(offer["grants"][PRE_AUTHORIZED]["pre-authorized_code"])

    def wallet_token(self, invitation: dict[str, Any]) -> str:
        """The access token of whoever redeems an invitation."""
        answer = self.redeem(invitation)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def nonce(self) -> str:
        """A nonce from its endpoint."""
        return str(self.http.post("/openid4vci/nonce").json()["c_nonce"])

    def request(self, token: str, *proofs: str, **body: object) -> Any:  # noqa: ANN401 (httpx answer)
        """Post a credential request."""
        content = {
            "credential_configuration_id": "customer_credential",
            "proofs": {"jwt": list(proofs)},
            **body,
        }
        return self.http.post(
            "/openid4vci/credential", json=content, headers={"Authorization": f"Bearer {token}"}
        )

    def proof(self, nonce: str | None, key: SoftwareKey | None = None, **claims: object) -> str:
        """A key proof over a nonce, by a fresh key unless one is given."""
        holder = key or SoftwareKey.generate("ES256")
        payload = {"aud": PUBLIC_URL, "iat": self.time[0], "nonce": nonce, **claims}
        header = {"typ": PROOF_TYPE, "jwk": holder.public_jwk()}
        return sign_jws(holder, header, {k: v for k, v in payload.items() if v is not None})

    def logged(self, *types: str) -> list[Entry]:
        """The audit entries of some types, opened, in order."""
        with self.ctx.db.reading() as tx:
            rows = [
                *tx.execute(select(audit.ENTRY).order_by(audit.ENTRY.c.log_index)),
                *tx.execute(select(audit.PENDING).order_by(audit.PENDING.c.seq)),
            ]
            return [self._open(tx, row) for row in rows if row.type in types]

    def copies(self) -> list[CopyRow]:
        """Every copy of a customer credential, in any state."""
        with self.ctx.db.reading() as tx:
            return [CopyRow(**row._mapping) for row in tx.execute(select(COPY))]  # noqa: SLF001

    def _open(self, tx: Any, row: Any) -> Entry:  # noqa: ANN401 (rows of two tables)
        key = self.ctx.keys.log_key(tx, row.tenant_id, row.subject_id)
        names = ("id", "tenant_id", "type", "subject_id", "consent_id", "leaf_data", "sealed_body")
        sealed = SealedEntry(time=row.created_at, **{name: getattr(row, name) for name in names})
        return key.open(sealed)


@contextmanager
def world(home: Path, database_url: str = "") -> Iterator[World]:
    """A broker with the tenant `demo`, two partners and an officer; a second tenant `acme`."""
    settings = Settings(home=home, public_url=PUBLIC_URL, database_url=database_url)
    db = Database(settings.sqlalchemy_url)
    time = [START]
    make_tables(db)
    master = MasterKey.generate()
    keys = KeyRing(db, master, lambda: time[0], PUBLIC_URL)
    log = Sequencer(db, keys.log_signer(), settings, lambda: time[0])
    ctx = Context(settings=settings, db=db, master=master, keys=keys, log=log, now=lambda: time[0])
    _populate(ctx)
    keys.prepare("demo")
    keys.prepare("acme")
    app = FastAPI()
    app.state.context = ctx
    errors.install(app)
    for module in (oauth, invitations, openid4vci, status, wellknown):
        app.include_router(module.router)
    status.install(app, ctx)
    tenancy.install(app)
    with TestClient(app, base_url=PUBLIC_URL) as http:
        made = World(ctx, http, time)
        made.advance(0)
        yield made
    db.close()


def _populate(ctx: Context) -> None:
    jwk = orjson.dumps(SoftwareKey.generate("ES256").public_jwk()).decode()
    with ctx.db.transaction() as tx:
        for tenant_id in ("demo", "acme"):
            tx.execute(
                insert(tables.Tenant).values(
                    id=tenant_id,
                    name_zh="示例零售",
                    name_en="Example Retail",
                    contact="privacy@retail.example",
                    country="CN",
                    kill_switch=False,
                    policy_version="1",
                    sealed_log_key=ctx.keys.new_log_key(f"tenant:{tenant_id}"),
                    version=1,
                    created_at=START,
                )
            )
        for partner_id in (PARTNER, OTHER_PARTNER):
            tx.execute(
                insert(tables.Partner).values(
                    id=partner_id,
                    tenant_id="demo",
                    name=f"Brand {partner_id[2]}",
                    name_zh="品牌",
                    contact="privacy@brand.example",
                    country="CN",
                    jwk=jwk,
                    state="active",
                    kill_switch=False,
                    version=1,
                    created_at=START,
                )
            )
        tx.execute(
            insert(tables.Officer).values(
                id=OFFICER,
                tenant_id="demo",
                name="Li",
                jwk=jwk,
                state="active",
                version=1,
                created_at=START,
            )
        )
