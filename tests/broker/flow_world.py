"""The whole broker in this process: its ASGI application over real SQLite, and its people.

The clock is a list that a test turns; the log is sequenced by hand, so that nothing runs beside.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from broker.app import create_app
from broker.domain.addresses import ROOT_TENANT
from broker.domain.entry import Entry, SealedEntry
from broker.domain.evidence import Report, verify_evidence
from broker.settings import Settings
from broker.store import access_tokens, audit, tables
from broker.store.db import Database
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from broker.usecases.context import Context
from broker.usecases.keys import KeyRing
from broker.usecases.partner import add_partner
from broker.usecases.sequencer import Sequencer
from broker.usecases.tenant import add_template
from broker.usecases.trust import trust
from credentials.jcs import b64url
from credentials.sealing import MasterKey
from tests.broker.demonstration import DEMONSTRATION
from tests.broker.made_tables import begun, make_tables
from tests.wallet_adapters.forging import jws
from wallet_adapters.loopback import (
    Answer,
    HeldCredential,
    Message,
    PresentationRequest,
    Wallet,
    accept_offer,
    answer_request,
    fetch_request_object,
    parse_request_link,
    read_request_object,
)

PUBLIC_URL = "http://127.0.0.1:8000"
START = 1_795_478_400
DAY = 86_400
TEMPLATE = "loyalty-churn"
PURPOSE = "dpv:ServicePersonalisation#algo:churn-v3@1"
ITEMS = ("base", "visits", "singapore")
ROLES = {"o": "officer", "co": "coordinator"}  # by what a client's id begins with
ROWS = ("consent", "consent_request", "presentation_request", "evidence", "issued_credential")


@dataclass
class Customer:
    """A customer with a wallet, as one partner knows them."""

    world: "World"
    subject_ref: str
    wallet: Wallet

    def sign(self, link: str, *queries: str, **how: Any) -> str | None:  # noqa: ANN401 (of the wallet)
        """Answer a request with some of its queries, or all; where the browser is sent."""
        return answer_request(
            self.wallet,
            link,
            carry=self.world.carry,
            now=self.world.time[0],
            grant=queries or None,
            **how,
        )

    def grant(self, *items: str) -> dict[str, Any]:
        """Be asked for the template's consents and sign some; the request as the partner has it."""
        request = self.world.ask(self.subject_ref)
        self.sign(request["wallet_link"], *(f"consent_{item}" for item in items or ITEMS))
        return self.world.follow(request)


@dataclass
class World:
    """A broker, its clock, and ways to speak with it and to look behind it."""

    ctx: Context
    http: TestClient
    time: list[int]
    partner: str
    officer: str

    # Time

    def advance(self, seconds: int = 0) -> None:
        """Let time pass, with the log keeping up."""
        self.time[0] += seconds
        while self.ctx.log.run_once(self.time[0]) is not None:
            pass

    # Partner and officer

    def api(
        self,
        method: str,
        path: str,
        caller: str | None = None,
        **more: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401 (an answer)
        """Call the API as a client, by its id; the demonstration partner unless named."""
        client_id = caller or self.partner
        headers = {"Authorization": f"Bearer {self._token(client_id)}", **more.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **more)

    def _token(self, client_id: str) -> str:
        token = b64url(secrets.token_bytes(32))
        with self.ctx.db.transaction() as tx:
            access_tokens.add(
                tx,
                token_hash=b64url(hashlib.sha256(token.encode()).digest()),
                tenant_id="demo",
                subject=client_id,
                role=ROLES.get(client_id.partition("-")[0], "partner"),
                expires_at=self.time[0] + 60,
            )
        return token

    def ask(self, subject_ref: str, template: str = TEMPLATE, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """Open a consent request."""
        body = {"subject_ref": subject_ref, "template": template, "language": "zh"}
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        answer = self.api("POST", "/v1/consent-requests", json=body, headers=headers, **more)
        assert answer.status_code == 201, answer.text
        self.advance()
        opened: dict[str, Any] = answer.json()
        return opened

    def follow(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as it is now."""
        found: dict[str, Any] = self.api("GET", f"/v1/consent-requests/{request['id']}").json()
        return found

    def states(self, request: Mapping[str, Any]) -> list[str]:
        """The states of a request's consents, in the template's order."""
        return [consent["state"] for consent in self.follow(request)["consents"]]

    def consent(self, consent_id: str) -> dict[str, Any]:
        """A consent as its partner sees it."""
        found: dict[str, Any] = self.api("GET", f"/v1/consents/{consent_id}").json()
        return found

    def withdrawal(self, consent_id: str, caller: str | None = None, **more: Any) -> Any:  # noqa: ANN401
        """Ask for, or as an officer write, a withdrawal; the answer."""
        return self.api("POST", f"/v1/consents/{consent_id}/withdrawal", caller, **more)

    def decide(self, subject_ref: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        """Ask for a decision; `changes` replace the attribute, purpose or territory."""
        asked = {
            "attribute": "purchase_count_12m",
            "purpose": PURPOSE,
            "territory": "CN",
            **changes,
        }
        body = {
            "subject": {"type": "partner", "id": self.partner},
            "action": {"name": "read"},
            "resource": {
                "type": "attribute",
                "id": asked["attribute"],
                "properties": {"subject_ref": subject_ref},
            },
            "context": {"purpose": asked["purpose"], "territory": asked["territory"]},
        }
        answer = self.api("POST", "/access/v1/evaluation", json=body)
        assert answer.status_code == 200, answer.text
        decision: dict[str, Any] = answer.json()
        return decision

    def reasons(self, subject_ref: str, **changes: Any) -> list[str]:  # noqa: ANN401
        """The codes of a denial; empty for a permit."""
        decision = self.decide(subject_ref, **changes)
        return [reason["code"] for reason in decision.get("context", {}).get("reasons", [])]

    def second_partner(self, name: str = "Other") -> str:
        """Another partner of the tenant."""
        return add_partner(
            self.ctx, "demo", name=name, name_zh="另一家", contact="o@o.example", country="CN"
        ).client_id

    def template(self, name: str, **changes: Any) -> str:  # noqa: ANN401
        """Store the demonstration's template under another name, with changes."""
        add_template(self.ctx, "demo", {**DEMONSTRATION["templates"][0], "id": name, **changes})
        return name

    def evidence(self, consent_id: str) -> Report:
        """The officer's evidence, verified as anybody would."""
        self.advance(2)
        answer = self.api("GET", f"/v1/consents/{consent_id}/evidence", self.officer)
        assert answer.status_code == 200, answer.text
        return verify_evidence(answer.content, trust(self.ctx))

    # Customers

    def customer(
        self, subject_ref: str = "crm-1", grade: str = "code", *, copies: int = 4
    ) -> Customer:
        """A customer whose wallet holds the credential of their contact."""
        customer = self.stranger(subject_ref)
        self.bind(customer, grade, copies=copies)
        return customer

    def stranger(self, subject_ref: str) -> Customer:
        """A customer with an empty wallet."""
        return Customer(self, subject_ref, Wallet(anchors=list(self.ctx.keys.anchors())))

    def bind(
        self, customer: Customer, grade: str = "code", *, rebind: bool = False, copies: int = 4
    ) -> list[HeldCredential]:
        """Invite a customer and have their wallet take the credential."""
        by_officer = rebind or grade == "verified_person"
        body: dict[str, Any] = {"subject_ref": customer.subject_ref, "grade": grade}
        if by_officer:
            body |= {"rebind": rebind, "partner": self.partner}
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        caller = self.officer if by_officer else self.partner
        answer = self.api("POST", "/v1/invitations", caller, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        held = accept_offer(
            customer.wallet,
            answer.json()["offer_uri"],
            carry=self.carry,
            now=self.time[0],
            tx_code=answer.json()["tx_code"],
            copies=copies,
        )
        self.advance()
        return held

    def carry(self, message: Message) -> Answer:
        """Carry a wallet's message."""
        answer = self.http.request(
            message.method,
            message.url,
            headers=dict(message.headers),
            content=message.body,
            follow_redirects=False,
        )
        self.advance()
        return Answer(answer.status_code, answer.content)

    def request(self, link: str) -> PresentationRequest:
        """The request behind a link, fetched and checked like a careful wallet."""
        parsed = parse_request_link(link)
        token = self.carry(fetch_request_object(parsed, "a-nonce")).text("the request object")
        return read_request_object(
            token,
            link=parsed,
            wallet_nonce="a-nonce" if parsed.post else "",
            anchors=list(self.ctx.keys.anchors()),
            now=self.time[0],
        )

    def post(self, request: PresentationRequest, form: Mapping[str, str]) -> Any:  # noqa: ANN401
        """Post a form to a request's `response_uri`; the answer."""
        answer = self.http.post(request.response_uri, data=dict(form))
        self.advance()
        return answer

    # Behind

    def rows(self) -> dict[str, list[Any]]:
        """Everything stored about consents, to see whether it has changed."""
        found = {}
        with self.ctx.db.reading() as tx:
            for name in ROWS:
                table = tables.metadata.tables[name]
                # How often bad answers came is counted, so that the log need not keep every one.
                columns = [column for column in table.c if column.name != "rejections"]
                rows = tx.execute(select(*columns).order_by(table.c.id))
                found[name] = [tuple(row) for row in rows]
        return found

    def logged(self, *types: str) -> list[Entry]:
        """The audit entries of some types, opened, in order."""
        with self.ctx.db.reading() as tx:
            rows = [
                *tx.execute(select(audit.ENTRY).order_by(audit.ENTRY.c.log_index)),
                *tx.execute(select(audit.PENDING).order_by(audit.PENDING.c.seq)),
            ]
            return [self._open(tx, row) for row in rows if row.type in types]

    def _open(self, tx: Any, row: Any) -> Entry:  # noqa: ANN401 (rows of two tables)
        key = self.ctx.keys.log_key(tx, row.tenant_id, row.subject_id)
        names = ("id", "tenant_id", "type", "subject_id", "consent_id", "leaf_data", "sealed_body")
        sealed = SealedEntry(time=row.created_at, **{name: getattr(row, name) for name in names})
        return key.open(sealed)


def presentation(
    world: World,
    request: PresentationRequest,
    held: HeldCredential,
    query: str,
    *,
    header: Mapping[str, Any] | None = None,
    make: Callable[..., str] = jws,
    **claims: Any,  # noqa: ANN401 (wrong on purpose)
) -> str:
    """An SD-JWT with a key-binding JWT for a query; `claims` replace its own, None removes one."""
    signed = [one.encoded for one in request.transaction_data if query in one.credential_ids]
    own = {
        "iat": world.time[0],
        "aud": request.client_id,
        "nonce": request.nonce,
        "sd_hash": hashed(held.credential),
        "transaction_data_hashes": [hashed(one) for one in signed],
        "transaction_data_hashes_alg": "sha-256",
    }
    stated = {name: value for name, value in {**own, **claims}.items() if value is not None}
    return held.credential + make(held.key, {"typ": "kb+jwt", **(header or {})}, stated)


def hashed(text: str) -> str:
    """SHA-256 of ASCII text, base64url."""
    return b64url(hashlib.sha256(text.encode("ascii")).digest())


def form(request: PresentationRequest, **presentations: str | list[str]) -> dict[str, str]:
    """The form of a `direct_post` answer: presentations by query."""
    token = {
        query: [found] if isinstance(found, str) else found
        for query, found in presentations.items()
    }
    return {"vp_token": json.dumps(token), "state": request.state or ""}


@contextmanager
def world(home: Path, **settings: Any) -> Iterator[World]:  # noqa: ANN401 (of the broker)
    """The demonstration tenant, served without a thread of its own."""
    clock = [START]
    home.mkdir(exist_ok=True)
    chosen = Settings(home=home, public_url=PUBLIC_URL, **settings)
    ctx = _context(chosen, begun(chosen, _begin), clock)
    ctx.keys.prepare(ROOT_TENANT)
    partner, officer = demo_clients(ctx)
    # Outside of its lifespan: the log is sequenced by `advance`, and nothing sweeps.
    http = TestClient(create_app(ctx), base_url=PUBLIC_URL, follow_redirects=False)
    made = World(ctx, http, clock, partner["client_id"], officer["client_id"])
    made.advance()
    yield made
    http.close()
    ctx.db.close()


def _begin(chosen: Settings, master: MasterKey) -> None:
    ctx = _context(chosen, master, [START])
    make_tables(ctx.db)
    ensure_demo_tenant(ctx)
    ctx.db.close()


def _context(chosen: Settings, master: MasterKey, clock: list[int]) -> Context:
    db = Database(chosen.sqlalchemy_url)
    keys = KeyRing(db, master, lambda: clock[0], PUBLIC_URL)
    log = Sequencer(db, keys.log, chosen, lambda: clock[0])
    return Context(settings=chosen, db=db, master=master, keys=keys, log=log, now=lambda: clock[0])
