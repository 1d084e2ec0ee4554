"""Two tenants in one broker: one with everything there is to steal, one that tries every door."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from httpx2 import Response
from sqlalchemy import select

from broker.domain.agent import AgentAction, sign_action
from broker.domain.cross_border import TransferFacts, room
from broker.domain.data_source import Checklist
from broker.domain.demand import Issuer
from broker.domain.fee import USUAL, DeclaredValue
from broker.domain.incoming import Incoming
from broker.domain.own_attribute import Declared
from broker.domain.terms import Label
from broker.store import consents, tables, unlearning
from broker.store import cross_border as store
from broker.store import inbox as inbox_rows
from broker.store.unlearning import SearchRow, TaintRow, UnlearningRow
from broker.usecases import cross_border, data_source, fee, own_attribute, sandbox
from broker.usecases.agent import act, add_agent
from broker.usecases.coordinator import add_coordinator
from broker.usecases.deletion import open_task
from broker.usecases.demand import trust_issuer
from broker.usecases.inbox import kept
from broker.usecases.joining import open_join
from broker.usecases.membership import offer_membership
from broker.usecases.partner import NewClient, add_officer, add_partner
from broker.usecases.policy_set import add
from broker.usecases.rollout import retire
from broker.usecases.source import add_source
from broker.usecases.tenant import add_tenant
from broker.usecases.webhook import add_webhook
from credentials.keys import SoftwareKey, sign_jws
from tests.broker.flow_world import DAY, PUBLIC_URL, PURPOSE, START, Customer, World, world
from tests.broker.proving import ask, registry
from tests.broker.training import BEGAN, invented, training
from tests.broker.vaults import register
from wallet_adapters.envelope import new_sealing_key
from wallet_adapters.loopback import ToSeal, put_into_vault
from wallet_adapters.openid4vci import parse_offer_link
from wallet_adapters.status_token import epoch_at

OTHER = "acme"
OTHER_URL = f"{PUBLIC_URL}/t/{OTHER}"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
WALLET = "a-wallet"
PRE_AUTHORIZED = "urn:ietf:params:oauth:grant-type:pre-authorized_code"
IDEMPOTENCY_KEY = "a key that both tenants use"

ATTESTED: dict[str, Any] = {
    "id": "secret-kind/1",
    "attributes": [{"name": "points", "type": "number", "low": 0, "high": 9, "unit": "points"}],
}
OWN_POLICY = """
@id("own.secret-rule") @law("contract") @code("own_rule") @obligation("stop") @zh("无。") @en("No.")
forbid (principal, action, resource) when { context.territory == "AQ" };
"""

# What belongs to nobody, or is written by whoever calls.
OF_NOBODY = frozenset(
    {
        *("checkpoint", "checkpoint_time", "log_head", "log_tile", "schema_support", "secret"),
        *("key_generation", "signing_key", "used_once"),
    }
)
# What differs from one answer to the next: ids, the request's own, nonces in a page.
_VARYING = re.compile(r"\b[a-z]{1,3}-[a-z2-7]{20}\b|urn:consent-broker:request:\w+")


@dataclass(frozen=True)
class Known:
    """Everything of a tenant that could be named in a call."""

    issuer: str
    partner: str
    officer: str
    subject_ref: str
    request: str
    consent: str
    second_consent: str
    entry: str
    use: str
    agent_action: str
    minor: str
    webhook: str
    event_source: str
    template: str
    page: str
    presentation: str
    state: str
    invitation: str
    code: str
    issuer_state: str
    request_uri: str
    status_list: str
    nonce: str
    task: str
    proof: str
    proof_key: str
    data_request: str
    attribute_type: str
    attribute_code: str
    attribute_offer: str
    attribute_shard: str
    envelope: str
    mechanism: str
    unlearning_task: str
    campaign: str
    coordinator: str
    training_receipt: str
    training_leaves: str
    data_source: str
    trial: str
    own_attribute: str
    more: tuple[str, ...] = ()

    def secrets(self) -> list[str]:
        """What no answer to another tenant may hold."""
        named = {
            name: value for name, value in vars(self).items() if name not in {"issuer", "more"}
        }
        return [*named.values(), *self.more]


# As well-formed as what exists, and naming nothing.
ABSENT = Known(
    issuer=f"{PUBLIC_URL}/t/absent",
    partner="p-" + "z" * 20,
    officer="o-" + "z" * 20,
    subject_ref="crm-absent",
    request="cr-" + "z" * 20,
    consent="c-" + "z" * 20,
    second_consent="c-" + "y" * 20,
    entry="e-" + "z" * 20,
    use="e-" + "y" * 20,
    agent_action="aa-" + "z" * 20,
    minor="ct-" + "z" * 20,
    webhook="wh-" + "z" * 20,
    event_source="absent-source",
    template="absent-template",
    page="z" * 32,
    presentation="pr-" + "z" * 20,
    state="z" * 22,
    invitation="iv-" + "z" * 20,
    code="z" * 43,
    issuer_state="iv-" + "z" * 20 + "." + "z" * 43,
    request_uri="urn:ietf:params:oauth:request_uri:" + "z" * 43,
    status_list="sl-" + "z" * 20,
    nonce="z" * 75,
    task="dt-" + "z" * 20,
    proof="zp-" + "z" * 20,
    proof_key="z" * 128,
    data_request="dr-" + "z" * 20,
    attribute_type="absent/1",
    attribute_code="y" * 43,
    attribute_offer="ao-" + "z" * 20,
    attribute_shard=f"{epoch_at(START)}/k-{'z' * 20}/0/0",
    envelope="env-" + "z" * 20,
    mechanism="tm-" + "z" * 20,
    unlearning_task="ut-" + "z" * 20,
    campaign="fc-" + "z" * 20,
    coordinator="co-" + "z" * 20,
    training_receipt="x.y.z",
    training_leaves="z" * 43,
    data_source="absent-supplier",
    trial="tr-" + "z" * 20,
    own_attribute="absentAttribute",
)


@dataclass(frozen=True)
class Person:
    """Who calls: their tenant's part of the address, their token, their key."""

    role: str
    token: str
    client_id: str
    key: SoftwareKey

    def assertion(self, now: int, *, audience: str, client_id: str | None = None) -> str:
        """A client assertion, in one's own name or another's."""
        name = client_id or self.client_id
        claims = {
            "iss": name,
            "sub": name,
            "aud": audience,
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_hex(8),
        }
        return sign_jws(self.key, {"typ": "JWT"}, claims)


@dataclass(frozen=True)
class Call:
    """One request: what comes after the tenant's address, and what goes with it."""

    method: str
    path: str
    json: Any = None
    form: Mapping[str, str] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Stage:
    """The broker, the tenant with everything (`demo`, at the root), and the people of both."""

    world: World
    known: Known
    own: dict[str, Person]
    others: dict[str, Person]

    def send(self, call: Call, person: Person, *, base: str) -> Response:
        """Send a call as a person, to the address of a tenant (a path)."""
        headers = {"Authorization": f"Bearer {person.token}", **call.headers}
        sent = {"json": call.json} if call.json is not None else {}
        if call.form is not None:
            sent["data"] = dict(call.form)
        if call.content is not None:
            sent["content"] = call.content
        found: Response = self.world.http.request(
            call.method, base + call.path, headers=headers, **sent
        )
        return found

    def rows(self) -> dict[str, list[Any]]:
        """Every row that is not the other tenant's; that somebody knocked may be in the log."""
        found = {}
        with self.world.ctx.db.reading() as tx:
            for name, table in tables.metadata.tables.items():
                if name in OF_NOBODY:
                    continue
                chosen = select(table).order_by(*table.primary_key.columns)
                owner = table.c.id if name == "tenant" else table.c.tenant_id
                chosen = chosen.where(owner != OTHER)
                if name in {"audit_pending", "audit_entry"}:
                    chosen = chosen.where(table.c.type != "token.refused")
                found[name] = [tuple(row) for row in tx.execute(chosen)]
        return found


def leaked(known: Known, call: Call, answer: Response) -> list[str]:
    """What an answer tells of a tenant that the caller did not say themselves."""
    said = f"{call.path} {json.dumps(call.json)} {dict(call.form or {})}"
    told = f"{answer.text} {dict(answer.headers)}"
    return [secret for secret in known.secrets() if secret in told and secret not in said]


def without_ids(answer: Response, known: Known) -> tuple[int, str]:
    """An answer as far as it does not name what was asked for nor when it was answered."""
    text = unquote(answer.text)
    for value in sorted(known.secrets(), key=len, reverse=True):
        text = text.replace(value, "*")
    return answer.status_code, _VARYING.sub("*", text)


@contextmanager
def two_tenants(home: Path, **settings: str) -> Iterator[Stage]:
    """The demonstration tenant in full use, and `acme` with a partner, an officer and a wallet."""
    with world(home, **settings) as made:
        add_tenant(
            made.ctx, OTHER, name=Label("顶点", "Acme"), contact="a@acme.example", country="CN"
        )
        partner = add_partner(
            made.ctx, OTHER, name="Acme Tea", name_zh="茶", contact="t@acme.example", country="CN"
        )
        officer = add_officer(made.ctx, OTHER, name="Acme officer")
        known = _in_use(made)
        others = {
            "partner": _client(made, "partner", partner),
            "officer": _client(made, "officer", officer),
            "coordinator": _client(
                made, "coordinator", add_coordinator(made.ctx, OTHER, name="Acme training")
            ),
        }
        others["wallet"] = _wallet(made, others["partner"])
        key = SoftwareKey.generate("ES256")
        own = {
            role: Person(role, made._token(client_id), client_id, key)  # noqa: SLF001
            for role, client_id in (
                ("partner", made.partner),
                ("officer", made.officer),
                ("coordinator", known.coordinator),
            )
        }
        yield Stage(made, known, own, others)


def _client(made: World, role: str, client: NewClient) -> Person:
    key = SoftwareKey.from_private_jwk(dict(client.private_jwk))
    person = Person(role, "", client.client_id, key)
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION,
        "client_assertion": person.assertion(made.time[0], audience=OTHER_URL),
    }
    answer = made.http.post(f"/t/{OTHER}/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    return Person(role, answer.json()["access_token"], client.client_id, key)


def _wallet(made: World, partner: Person) -> Person:
    headers = {"Authorization": f"Bearer {partner.token}", "Idempotency-Key": "the wallet's"}
    body = {"subject_ref": "acme-1", "grade": "link"}
    offered = made.http.post(f"/t/{OTHER}/v1/invitations", json=body, headers=headers)
    assert offered.status_code == 201, offered.text
    code, _ = offered_in(offered.json())
    form = {"grant_type": PRE_AUTHORIZED, "pre-authorized_code": code}
    answer = made.http.post(f"/t/{OTHER}/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    return Person(
        "wallet", answer.json()["access_token"], "a wallet", SoftwareKey.generate("ES256")
    )


def offered_in(invitation: Mapping[str, Any]) -> tuple[str, str]:
    """The pre-authorized code and the issuer state of an offer by value."""
    (offer,) = parse_qs(urlsplit(invitation["offer_by_value"]).query)["credential_offer"]
    grants = json.loads(offer)["grants"]
    return (
        grants[PRE_AUTHORIZED]["pre-authorized_code"],
        grants["authorization_code"]["issuer_state"],
    )


def pushed_request(state: str) -> dict[str, str]:
    """A wallet's authorization request."""
    return {
        "response_type": "code",
        "client_id": WALLET,
        "redirect_uri": "http://127.0.0.1/wallet",
        "scope": "customer_credential",
        "issuer_state": state,
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }


def _attribute_code(made: World) -> tuple[str, str]:
    """Code and id of an offer of attributes that nobody has redeemed."""
    headers = {"Idempotency-Key": "of the attributes"}
    made.api("POST", "/v1/attribute-types", made.officer, json=ATTESTED, headers=headers)
    body = {"type": ATTESTED["id"], "claims": {"points": 5}}
    offered = made.api("POST", "/v1/attribute-offers", json=body, headers=headers).json()
    found = parse_offer_link(offered["offer_by_value"])
    assert not isinstance(found, str)
    return found.pre_authorized_code, offered["id"]


def _attribute_shard(made: World) -> str:
    """Where the status tokens of the tenant's key are."""
    index = made.http.get("/attribute-status").json()
    return f"{index['epoch']}/{index['keys'][0]['id']}/0/0"


def _trust(made: World) -> None:
    """An issuer of attributes whose word the tenant takes."""
    issuer = registry().trusted()
    trust_issuer(made.ctx, "demo", Issuer(ATTESTED["id"], **issuer))


def _charge(made: World, decision_id: str) -> None:
    """A fee, as a declared value would have brought it."""
    with made.ctx.db.transaction() as tx:
        fee.charge(
            made.ctx,
            tx,
            tenant_id="demo",
            decision_id=decision_id,
            partner_id=made.partner,
            purpose=PURPOSE,
            value=DeclaredValue(1_000_000, "CNY"),
            tariff=USUAL,
        )


def _transfer(made: World) -> str:
    """What the tenant has filed, and a subject whose data were exported."""
    told = cross_border.register(
        made.ctx,
        "demo",
        partner_id=made.partner,
        destination="SG",
        kind="standard_contract",
        filing_number="secret-filing",
    )
    counted = TransferFacts(
        "PIPL", 1, exporter="demo", subject_key="secret-key", year=2026, month=1
    )
    with made.ctx.db.transaction() as tx:
        assert store.count(tx, "demo", counted, room(1, sensitive=False))
    return told.id


def _data_source(made: World, name: str) -> str:
    """An outside source, which nothing may be used of yet."""
    listed = Checklist(
        purposes=("dpv:ServicePersonalisation",),
        attributes=("purchase_count_12m",),
        retention_days=30,
        recipients=(made.partner,),
        territories=("CN",),
        basis="contract",
        reference="secret-contract",
    )
    return data_source.register(made.ctx, "demo", name, listed, title="Secret supplier").name


def _trial(made: World) -> str:
    """A source that is in the sandbox."""
    name = _data_source(made, "secret-tried")
    return sandbox.start(made.ctx, "demo", "source", name).id


def _own_attribute(made: World) -> str:
    """What the tenant has declared, with a value of the partner's."""
    declared = Declared("partner", "secretRating", "string")
    own_attribute.declare(made.ctx, "demo", declared)
    values = {declared.name: "secret-value"}
    own_attribute.put(made.ctx, "demo", "partner", made.partner, values)
    return declared.name


def _envelope(made: World, customer: Customer, consent_id: str) -> str:
    """What the customer has sealed to the partner."""
    register(made, new_sealing_key())
    what = ToSeal(PUBLIC_URL, made.partner, consent_id, "purchase_count_12m", 12)
    return str(put_into_vault(customer.wallet, what, carry=made.carry, now=made.time[0])["id"])


def _data_request(made: World, consent_id: str) -> str:
    """What the partner has asked a wallet to show."""
    body = {
        "consent": consent_id,
        "schema": "shown/1",
        "attributes": ["purchase_count_12m"],
        "purpose": PURPOSE,
    }
    headers = {"Idempotency-Key": "a data request"}
    asked = made.api("POST", "/v1/data-requests", json=body, headers=headers)
    assert asked.status_code == 201, asked.text
    return str(asked.json()["id"])


def _agent_action(made: World, decided: Mapping[str, Any]) -> str:
    """What an agent of the partner says that it did, which is refused: the permit was not its."""
    added = add_agent(made.ctx, "demo", made.partner, name="secret agent")
    key = SoftwareKey.from_private_jwk(dict(added.private_jwk))
    named = ((decided["id"],), (decided["consent"],))
    stated = AgentAction(added.id, "of-the-secret-agent", made.time[0], "read", *named)
    return act(made.ctx, "demo", made.partner, sign_action(key, stated, PUBLIC_URL)).id


def _minor(made: World) -> str:
    """A contact of the partner that is a minor."""
    guardian = {"subject_ref": "crm-secret-4", "relation": "parent"}
    body = {"subject_ref": "crm-secret-3", "age_band": "under_14", "guardian": guardian}
    return str(made.api("PUT", "/v1/minors", json=body).json()["id"])


def _webhook(made: World) -> str:
    """Where the partner has its events sent."""
    url = "http://crm.example/secret-path"
    return add_webhook(made.ctx, "demo", made.partner, url=url, types=[]).row.id


def _kept_event(made: World) -> str:
    """A source that has sent an event, which waits for the tenant's consumer."""
    row = add_source(made.ctx, "demo", "secret-source").row
    event = Incoming("https://a.example", "ev-1", "t", "s", 1, b'{"data":"secret-source"}')
    with made.ctx.db.transaction() as tx:
        assert inbox_rows.add(tx, [kept(made.ctx, row, event)]) == 1
    return row.name


def _unlearning(made: World, campaign_id: str, consent_id: str) -> str:
    """A task that has tainted what the campaign began with, which is retired; one to look for."""
    retire(made.ctx, "demo", BEGAN)
    now = made.time[0]
    task = UnlearningRow("ut-secret", "demo", campaign_id, "exclude", "open", 1, now, None, now)
    with made.ctx.db.transaction() as tx:
        unlearning.add(tx, task)
        unlearning.taint(tx, [TaintRow(task.id, BEGAN, "demo", "candidate", used=False)])
        unlearning.look_for(tx, SearchRow(consent_id, "demo", now + 400 * DAY))
    return task.id


def _training(made: World, consent_id: str) -> dict[str, str]:
    """A round that is open, and the receipt of the one member in it."""
    at = training(made)
    opened = at.open(1)
    sent = invented(at, opened)
    answer = at.hand_in(opened, sent)
    assert answer.status_code == 200, answer.text
    return {
        "unlearning_task": _unlearning(made, at.campaign, consent_id),
        "campaign": at.campaign,
        "coordinator": at.coordinator,
        "training_receipt": sent["receipt"],
        "training_leaves": sent["leaves"],
    }


def _joining(made: World) -> tuple[str, str]:
    """A membership that is offered, and a request that a node presents one."""
    offered = offer_membership(made.ctx, "demo", made.partner)
    receipts = json.dumps(SoftwareKey.generate("ES256").public_jwk()).encode()
    return offered.membership_id, open_join(made.ctx, "demo", made.partner, receipts).row.id


def _task(made: World, consent_id: str) -> str:
    """A deletion task, which a withdrawal would have made."""
    with made.ctx.db.transaction() as tx:
        row = consents.consent(tx, "demo", consent_id)
        return open_task(made.ctx, tx, row, "withdrawn") or ""


def _in_use(made: World) -> Known:
    """A consent that is granted, decided on and asked to be withdrawn; a request that is open."""
    _trust(made)
    customer = made.customer("crm-secret-1")
    granted = customer.grant("base", "visits")
    consent, second = (one["id"] for one in granted["consents"] if one["state"] == "granted")
    envelope = _envelope(made, customer, consent)
    decided = made.decide("crm-secret-1")
    assert decided["decision"]
    _charge(made, decided["context"]["id"])
    asked = made.ask("crm-secret-1")
    signing = made.request(asked["wallet_link"])
    headers = {"Idempotency-Key": IDEMPOTENCY_KEY}
    body = {"subject_ref": "crm-secret-2", "grade": "link"}
    invited = made.api("POST", "/v1/invitations", json=body, headers=headers).json()
    code, issuer_state = offered_in(invited)
    pushed = made.http.post("/oauth/par", data=pushed_request(issuer_state)).json()
    nonce = made.http.post("/openid4vci/nonce").json()["c_nonce"]
    office = registry()
    proof = ask(made, by=office, subject_ref="crm-secret-1")
    made.advance(2)
    with made.ctx.db.reading() as tx:

        def one(table: str, column: str) -> str:
            found = tables.metadata.tables[table]
            chosen = select(found.c[column]).where(found.c.tenant_id == "demo")
            value: str = tx.execute(chosen.limit(1)).scalar_one()
            return value

        entry = one("audit_entry", "id")
        more = tuple(one(*place) for place in (("subject", "id"), ("contact", "id")))
        lists = tables.metadata.tables["status_list"]
        kept = select(lists.c.id).where(lists.c.partner_id == made.partner)
        status_list: str = tx.execute(kept).scalar_one()
    attribute_code, offer_id = _attribute_code(made)
    return Known(
        issuer=PUBLIC_URL,
        partner=made.partner,
        officer=made.officer,
        subject_ref="crm-secret-1",
        request=asked["id"],
        consent=consent,
        second_consent=second,
        entry=entry,
        use=decided["context"]["id"],
        agent_action=_agent_action(made, decided["context"]),
        minor=_minor(made),
        webhook=_webhook(made),
        event_source=_kept_event(made),
        template=made.template("secret-template"),
        page=granted["page_url"].rsplit("/", 1)[1],
        presentation=signing.response_uri.rsplit("/", 1)[1],
        state=signing.state or "",
        invitation=invited["id"],
        code=code,
        issuer_state=issuer_state,
        request_uri=pushed["request_uri"],
        status_list=status_list,
        nonce=nonce,
        task=_task(made, consent),
        proof=proof["id"],
        proof_key=office.trusted()["key"],
        data_request=_data_request(made, consent),
        attribute_type=ATTESTED["id"],
        attribute_code=attribute_code,
        attribute_offer=offer_id,
        attribute_shard=_attribute_shard(made),
        envelope=envelope,
        mechanism=_transfer(made),
        **_training(made, consent),
        data_source=_data_source(made, "secret-supplier"),
        trial=_trial(made),
        own_attribute=_own_attribute(made),
        more=(*more, *_joining(made), add(made.ctx, "demo", OWN_POLICY).digest, "own.secret-rule"),
    )
