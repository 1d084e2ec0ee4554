"""No profile attribute anywhere: everything the broker keeps, opened with every key it holds.

The whole way is driven with a wallet that holds attribute values and a partner that sends them
wherever a request takes free values. Afterwards tables, files, logs and answers are searched for
each value: raw, base64, base64url, hex, and as an unsalted hash. After the erasure nothing leads
to the customer's reference or their wallet's keys either.

Out of it are values that a protocol makes the broker give back as they came, for minutes: the
`state` that a wallet chooses for an authorization request, the `X-Request-ID` of an answer.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import insert, update

from broker.composition import build_context
from broker.outbound.client import Carrier, Client
from broker.settings import read_settings
from broker.store import audit as audit_rows
from broker.store import tables
from broker.store.consents import CONSENT
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.erasure import release_due
from broker.usecases.trust import trust
from credentials.issue import issue_sd_jwt_vc
from credentials.jcs import b64url
from credentials.keys import SoftwareKey, thumbprint
from dev.running import Broker, running_broker
from tests.broker.flow_world import PURPOSE, TEMPLATE, world
from tests.faults.agreement import settled, show_held
from tests.faults.scanning import DEPTH, Scan, forms, unknown_sealed_columns
from wallet_adapters.envelope import new_sealing_key, open_envelope
from wallet_adapters.loopback import Wallet, accept_attributes, accept_offer, answer_request
from zkp import Attribute, Schema

# What a profile of one person looks like; long enough that no other bytes look the same.
PROFILE = {
    "home_city": "Zhouzhuang-by-the-lake 周庄镇",
    "phone": "+86-138-0013-8917",
    "purchase_count_12m": "918273645546372819",
    "birth_date": "1987-03-29T04:17:53",
    "medical_summary": "hypertension-stage-2-since-2019",
    "email": "wang.xiaoming.1987@mail.example",
}
VALUES = list(PROFILE.values())
ATTESTED = Schema(
    "profile/1",
    tuple(
        Attribute(name, "identifier" if name == "purchase_count_12m" else "text")
        for name in PROFILE
    ),
)
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Careless:
    """A partner that sends profile attributes along with everything, and a wallet that does."""

    def __init__(self, broker: Broker, ctx: Context, stack: ExitStack) -> None:
        told = json.loads((broker.home / "demo-clients.json").read_text())
        self.partner, self.officer = (
            stack.enter_context(
                closing(Client(broker.address, told[role]["client_id"], told[role]["private_jwk"]))
            )
            for role in ("partner", "officer")
        )
        self.partner_id = told["partner"]["client_id"]
        self.carry = stack.enter_context(closing(Carrier()))
        self.raw = stack.enter_context(
            httpx2.Client(base_url=broker.address, headers={"User-Agent": VALUES[5]})
        )
        self.wallet = Wallet(anchors=list(trust(ctx).roots))
        self.subject_ref = f"crm-{secrets.token_hex(12)}"
        self.answers: list[bytes] = []

    def whole_way(self) -> str:
        """Invite, issue, ask, grant in part, decide, withdraw one, confirm; the other consent."""
        invited = self.partner.post(
            "/v1/invitations", {"subject_ref": self.subject_ref, "grade": "code"}, idempotent=True
        )
        accept_offer(
            self.wallet,
            invited["offer_uri"],
            carry=self.carry,
            now=now(),
            tx_code=invited["tx_code"],
            copies=4,
            dpop_key=SoftwareKey.generate("ES256"),
        )
        request = self.partner.post(
            "/v1/consent-requests",
            {"subject_ref": self.subject_ref, "template": TEMPLATE, "language": "zh"},
            idempotent=True,
        )
        self._careless_wallet(request)
        queries = ["consent_base", "consent_visits"]
        answer_request(
            self.wallet, request["wallet_link"], carry=self.carry, now=now(), grant=queries
        )
        followed = self.partner.get(f"/v1/consent-requests/{request['id']}").json()
        granted = [one["id"] for one in followed["consents"] if one["state"] == "granted"]
        assert len(granted) == 2
        assert self._decide()
        self._careless_partner()
        asked = self.partner.post(f"/v1/consents/{granted[1]}/withdrawal", {})
        answer_request(
            self.wallet, asked["wallet_link"], carry=self.carry, now=now(), grant=["same_key"]
        )
        for task in self.partner.get("/v1/deletion-tasks").json()["tasks"]:
            self.partner.confirm_deletion(task, deleted_at=now())
        self._prove()
        self._show(str(granted[0]))
        return str(granted[0])

    def _decide(self) -> bool:
        """A permit, with values in every property that a decision does not need."""
        decision = self.partner.post("/access/v1/evaluation", self._evaluation())
        again = self.partner.post(
            "/access/v1/evaluations", {**self._evaluation(), "evaluations": [{}, {}]}
        )
        assert [one["decision"] for one in again["evaluations"]] == [True, True]
        return bool(decision["decision"])

    def _evaluation(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 (parts of JSON)
        asked = {
            "subject": {"type": "partner", "id": self.partner_id, "properties": PROFILE},
            "action": {"name": "read", "properties": PROFILE},
            "resource": {
                "type": "attribute",
                "id": "purchase_count_12m",
                "properties": {"subject_ref": self.subject_ref, "value": PROFILE, **PROFILE},
            },
            "context": {"purpose": PURPOSE, "territory": "CN", "profile": PROFILE, **PROFILE},
            **PROFILE,
        }
        return {**asked, **changes}

    def _careless_partner(self) -> None:
        """Values as names, in headers, addresses, forms and broken bodies."""
        for value in VALUES:
            agent = {"type": "agent", "id": value, "properties": {"partner": self.partner_id}}
            named = {"type": "attribute", "id": value, "properties": {"subject_ref": value}}
            elsewhere = {"purpose": PURPOSE, "territory": value}
            for changed in (
                {"subject": agent},
                {"resource": named},
                {"action": {"name": value}},
                {"context": elsewhere},
                {"context": {"purpose": value}},
            ):
                self._sent("POST", "/access/v1/evaluation", self._evaluation(**changed))
            for path in ("/v1/consent-requests", "/v1/invitations", "/v1/deletion-tasks/x/receipt"):
                self._sent("POST", path, {"subject_ref": self.subject_ref, value: value})
                self._sent("POST", path, {"template": value, "language": value, "grade": value})
            for path in ("/v1/consents/{}", "/status/{}", "/c/{}", "/{}", "/v1/purposes?q={}"):
                self._sent("GET", path.format(value.replace("/", "-").replace(" ", "%20")))
            body = f'{{"subject_ref": "{value}'.encode()
            for path in ("/v1/invitations", "/access/v1/evaluation", "/openid4vci/credential"):
                self.answers.append(self.raw.post(path, content=body).content)
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION,
                "client_assertion": f"{value.encode().hex()}.x.y",
                "client_id": value.encode().hex(),
            }
            self.raw.post("/oauth/token", data=form)
            self.raw.post("/oauth/token", data={"grant_type": value, "code": value})

    def _sent(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """As the partner, refused or not; an `Idempotency-Key` that quotes, where one is due."""
        try:
            if method == "GET":
                self.partner.get(path)
            else:
                self.partner.post(path, body or {}, idempotent=True)
        except Exception as error:  # noqa: BLE001 (refusals are what is asked for)
            self.answers.append(str(error).encode())

    def _prove(self) -> None:
        """Statements about the profile, proven; and answers that show what nobody may ask."""
        kind = {
            "id": ATTESTED.id,
            "attributes": [attribute.to_json() for attribute in ATTESTED.attributes],
        }
        self.officer.post("/v1/attribute-types", kind, idempotent=True)
        body: dict[str, Any] = {"type": ATTESTED.id, "claims": PROFILE}
        self._sent("POST", "/v1/attribute-offers", body | {"claims": {"phone": VALUES[1]}})
        self.partner.post("/v1/attribute-offers", body, idempotent=True)  # nobody takes this one
        offer = self.partner.post("/v1/attribute-offers", body, idempotent=True)
        held = accept_attributes(
            self.wallet,
            offer["offer_by_value"],
            carry=self.carry,
            now=now(),
            tx_code=offer["tx_code"],
            dpop_key=SoftwareKey.generate("ES256"),
        )
        (told,) = self.partner.get("/v1/attribute-types").json()["types"]
        count = {"type": "at_least", "credential": "id", "attribute": "purchase_count_12m"}
        place = {"credential": "id", "attribute": "home_city"}
        issuers = {"id": {"schema": ATTESTED.id, "issuers": told["issuers"]}}
        body = {
            "template": TEMPLATE,
            "subject_ref": self.subject_ref,
            "credentials": issuers,
            "statements": [count | {"value": "5"}],
        }
        self._sent(
            "POST", "/v1/proof-requests", body | {"statements": [place | {"type": "reveal"}]}
        )
        asked = self.partner.post("/v1/proof-requests", body, idempotent=True)
        showing = {
            "version": "consent-broker-proof/1",
            "request": "A" * 43,
            "credentials": {
                "id": {
                    "issuer_key": held.key,
                    "header": b64url(held.header.encode()),
                    "bound": False,
                    "revealed": PROFILE,
                }
            },
            "proof": "AAAA",
        }
        address = f"/openid4vp/response/{asked['id']}"
        for token in ({"proof": [showing]}, {"proof": [PROFILE]}, {"profile": [showing]}):
            self.raw.post(address, data={"vp_token": json.dumps(token), "state": asked["id"]})
        self._sent("POST", "/v1/proofs/verify", {"request": asked["id"], "presentation": showing})
        self._sent("POST", "/v1/proofs/verify", {"request": VALUES[1], "presentation": PROFILE})
        answer_request(self.wallet, asked["wallet_link"], carry=self.carry, now=now())
        assert self.partner.get(f"/v1/proof-requests/{asked['id']}").json()["state"] == "proven"

    def _show(self, consent: str) -> None:
        """The wallet shows the profile when it is asked: once collected, once left waiting."""
        name, key = "purchase_count_12m", new_sealing_key()
        self.partner.put("/v1/sealing-key", {part: key[part] for part in key if part != "d"})
        described = [attribute.to_json() for attribute in ATTESTED.attributes]
        kind = {
            "id": "profile/2",
            "attributes": [*described, {"name": "contact_id", "type": "identifier"}],
        }
        self.officer.post("/v1/attribute-types", kind, idempotent=True)
        offered = {"type": "profile/2", "claims": PROFILE, "subject_ref": self.subject_ref}
        offer = self.partner.post("/v1/attribute-offers", offered, idempotent=True)
        accept_attributes(
            self.wallet,
            offer["offer_by_value"],
            carry=self.carry,
            now=now(),
            tx_code=offer["tx_code"],
            dpop_key=SoftwareKey.generate("ES256"),
        )
        asked = {
            "consent": consent,
            "schema": "profile/2",
            "attributes": [name],
            "purpose": PURPOSE,
            "territory": "CN",
        }
        self._sent("POST", "/v1/data-requests", asked | {"attributes": VALUES})
        for collected in (True, False):
            opened = self.partner.post("/v1/data-requests", asked, idempotent=True)
            answer_request(self.wallet, opened["wallet_link"], carry=self.carry, now=now())
            if collected:
                path = f"/v1/data-requests/{opened['id']}/data/{name}"
                got = self.partner._send("POST", path, json={}).content  # noqa: SLF001
                shown = open_envelope(got, key, consent_id=consent, attribute=name)
                assert shown.value == PROFILE[name]
            else:
                told = self.partner.get(f"/v1/data-requests/{opened['id']}").json()
                assert told["waiting"] == [name]

    def _careless_wallet(self, request: Mapping[str, Any]) -> None:
        """Answers with an attribute credential that nobody asked for, and errors that quote."""
        holder = SoftwareKey.generate("ES256")
        issuer = SoftwareKey.generate("ES256")
        profile = issue_sd_jwt_vc(
            signer=issuer,
            x5c=(),
            issuer="https://registry.example",
            vct="https://registry.example/profile",
            claims=PROFILE,
            disclosable=tuple(PROFILE),
            holder_jwk=holder.public_jwk(),
            status=None,
            issued_at=now(),
            expires_at=now() + 3600,
        )
        link = httpx2.URL(request["wallet_link"].replace("openid4vp:", "http:", 1))
        presentation = link.params["request_uri"].rsplit("/", 1)[1]
        address = f"/openid4vp/response/{presentation}"
        for token in ({"consent_base": [profile]}, {"profile": [profile]}, PROFILE):
            self.raw.post(address, data={"vp_token": json.dumps(token)})
        for value in VALUES:
            told = {"error": value, "error_description": value}
            self.raw.post(address, data=told)
            self.raw.post(address, data={"error": "invalid_request", "error_description": value})
            self.raw.post(address, data={"vp_token": value, "state": value})
        event = {"notification_id": VALUES[0], "event": VALUES[1], "event_description": VALUES[2]}
        self.raw.post("/openid4vci/notification", json=event)


def now() -> int:
    return int(time.time())


@pytest.fixture(params=["sqlite", "postgresql"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Broker, Context]]:
    changes = {}
    if request.param == "postgresql":
        changes["DATABASE_URL"] = request.getfixturevalue("postgres_database")
    with running_broker(tmp_path, changes) as broker:
        ctx = build_context(read_settings(broker.environment))
        yield broker, ctx
        ctx.db.close()


def scanned(broker: Broker, ctx: Context, values: list[str], public: Mapping[str, bytes]) -> Scan:
    """Look everywhere; what entries open to nobody is in the scan's `places`."""
    scan = Scan(values)
    closed = scan.database(ctx)
    scan.places.add(f"closed entries: {closed}")
    scan.files(broker.home, "home")
    for path in ("/metrics", "/log/checkpoint", "/log/tile/entries/000.p/1"):
        scan.look(path, httpx2.get(broker.address + path).content)
    for name, data in public.items():
        scan.look(name, data)
    return scan


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_profile_attribute_is_kept(
    serving: tuple[Broker, Context], request: pytest.FixtureRequest
) -> None:
    broker, ctx = serving
    with ExitStack() as stack:
        way = Careless(broker, ctx, stack)
        consent = way.whole_way()
        lists = [row.id for row in rows(ctx, "status_list")]
        settled(ctx)
        named = {"partner": way.partner_id, "subject_ref": way.subject_ref}
        export = way.officer.post("/v1/subject-exports", named)
        public = {
            "export": json.dumps(export).encode(),
            "evidence": way.officer.get(f"/v1/consents/{consent}/evidence").content,
            **{f"status {name}": way.partner.get(f"/status/{name}").content for name in lists},
        }
        before = scanned(broker, ctx, VALUES, public)
        assert before.found == []
        assert "closed entries: 0" in before.places
        for place in (
            "evidence.sealed, opened",
            "proof_request.sealed_proof, opened",
            "audit_entry.sealed_body, opened",
            "data_answer.envelope",
            "evidence",
        ):
            assert place in before.places

        # The reference is there until the erasure, and nowhere afterwards.
        sealed = [row.sealed_log_key for row in rows(ctx, "subject") if row.sealed_log_key]
        keys = [thumbprint(held.key.public_jwk()) for held in way.wallet.credentials]
        person = [way.subject_ref, *keys]
        assert {one.value for one in scanned(broker, ctx, person, {}).found} >= {way.subject_ref}
        erased = way.officer.post("/v1/subject-erasures", {"consent": consent}, idempotent=True)
        assert erased["state"] == "held"
    show_held(ctx)
    settled(ctx)
    assert scanned(broker, ctx, [way.subject_ref, *VALUES], {}).found == []
    _let_go(ctx)
    assert release_due(ctx) == 1
    over = scanned(broker, ctx, [way.subject_ref, *keys, *VALUES], {})
    assert over.found == []
    assert "closed entries: 0" not in over.places
    if ctx.db.is_sqlite:
        data = b"".join(path.read_bytes() for path in broker.home.glob("broker.db*"))
        assert not any(key in data for key in sealed)
    else:
        files = Scan(VALUES)
        name = urlsplit(broker.environment["DATABASE_URL"]).path.removeprefix("/")
        files.cluster(request.getfixturevalue("postgres_server"), name)
        assert len(files.places) == 2
        assert files.found == []


def rows(ctx: Context, name: str) -> list[Any]:
    with ctx.db.reading() as tx:
        return list(tx.execute(tables.metadata.tables[name].select()).all())


def _let_go(ctx: Context) -> None:
    """As if the partner had seen it, and the retention were over."""
    with ctx.db.transaction() as tx:
        for name, column in (
            ("evidence", "kept_until"),
            ("erasure", "held_until"),
            ("erasure", "shown_from"),
        ):
            table = tables.metadata.tables[name]
            tx.execute(update(table).values({column: now() - 1}))


def test_every_sealed_column_can_be_opened() -> None:
    assert unknown_sealed_columns() == []


FORMS = list(forms("x" * 12))


def test_the_scan_finds_what_is_there(tmp_path: Path) -> None:
    """The positive control: a value in each form and each kind of place."""
    with world(tmp_path / "home") as made:
        request = made.customer("crm-1").grant("base")
        consent = request["consents"][0]["id"]
        made.advance(2)
        for number, value in enumerate(VALUES[:2]):
            for form in FORMS:
                for place, find in PLACES.items():
                    planted = forms(value)[form][number % len(forms(value)[form])]
                    scan = Scan([value])
                    find(made.ctx, consent, planted, scan)
                    told = [one for one in scan.found if one.value == value]
                    assert told, (value, form, place)
        # As a whole token would hold it: a digest in JSON in a payload in a bundle.
        digest = hashlib.sha256(VALUES[0].encode()).digest()
        inner = json.dumps({"d": base64.urlsafe_b64encode(digest).decode()}).encode()
        for _ in range(DEPTH - 2):
            inner = b"x." + base64.urlsafe_b64encode(inner).rstrip(b"=") + b".y"
        scan = Scan(VALUES)
        scan.look("nested", inner)
        assert [one.form for one in scan.found] != []


def _in_a_column(ctx: Context, consent: str, planted: bytes, scan: Scan) -> None:
    with ctx.db.transaction() as tx:
        chosen = update(CONSENT).where(CONSENT.c.id == consent)
        tx.execute(chosen.values(item=planted.decode("latin-1")))
    with ctx.db.reading() as tx:
        told = tx.execute(CONSENT.select().where(CONSENT.c.id == consent)).one().item
    scan.look("consent.item", told.encode("latin-1"))


def _sealed(ctx: Context, consent: str, planted: bytes, scan: Scan) -> None:
    evidence = tables.metadata.tables["evidence"]
    row = next(one for one in rows(ctx, "evidence") if one.consent_id == consent)
    sealed = ctx.master.seal(b'{"kept":"' + planted + b'"}', f"evidence:{row.id}")
    with ctx.db.transaction() as tx:
        tx.execute(update(evidence).where(evidence.c.id == row.id).values(sealed=sealed))
    scan.database(ctx)


def _in_an_entry(ctx: Context, consent: str, planted: bytes, scan: Scan) -> None:
    with ctx.db.transaction() as tx:
        tx.execute(audit_rows.PENDING.delete())
        body = {"what": planted.decode("utf-8", "backslashreplace")}
        if "\\x" in body["what"]:  # bytes that no JSON text can hold
            body = {"what": base64.b64encode(b"x" + planted).decode()}
        audit.record(ctx, tx, tenant_id="demo", type="x", body=body, consent_id=consent)
    scan.database(ctx)


def _in_a_file(ctx: Context, _consent: str, planted: bytes, scan: Scan) -> None:
    path = ctx.settings.home / "left-behind"
    path.write_bytes(b"\x00 before " + planted + b" after")
    scan.files(ctx.settings.home, "home")
    path.unlink()


def _in_the_database_file(ctx: Context, _consent: str, planted: bytes, scan: Scan) -> None:
    with ctx.db.transaction() as tx:
        secret = tables.metadata.tables["secret"]
        tx.execute(secret.delete().where(secret.c.label == "planted"))
        tx.execute(insert(secret).values(label="planted", sealed=planted, created_at=1))
    scan.files(ctx.settings.home, "home")
    with ctx.db.transaction() as tx:
        tx.execute(secret.delete().where(secret.c.label == "planted"))


PLACES = {
    "a column": _in_a_column,
    "a sealed column": _sealed,
    "a log entry": _in_an_entry,
    "a file": _in_a_file,
    "the database's files": _in_the_database_file,
}
