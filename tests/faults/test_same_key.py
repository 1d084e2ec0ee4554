"""The same Idempotency-Key 32 times at once: exactly one effect, whatever is created or changed.

Over two servers on PostgreSQL and, in the long form, one on SQLite, whose own case is in
`tests/broker/test_idempotency.py`. Each operation that takes the header has a row
here; one without a row fails.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import func, select, union_all

from broker.domain.agent import AgentAction, sign_action
from broker.domain.deletion import Asked, sign_receipt
from broker.domain.ids import new_id
from broker.store import attribute_credentials
from broker.store.attribute_credentials import OfferRow
from broker.store.audit import ENTRY, PENDING
from broker.store.consents import CONSENT
from broker.usecases.agent import add_agent
from broker.usecases.bootstrap import demo_clients
from broker.usecases.federation_member import add_member
from broker.usecases.partner import add_partner
from broker.usecases.webhook import add_webhook
from credentials.keys import SoftwareKey
from tests.broker.builders import WIRE
from tests.broker.proving import LI, asking, presentation, registry
from tests.broker.training import member_keys
from tests.faults.lengths import SOAK
from tests.faults.operations import described
from tests.faults.serving import (
    Answer,
    Caller,
    Deployment,
    asked,
    at_once,
    deployment,
    fresh_key,
    store_envelope,
)
from tests.faults.two_tenants import ATTESTED
from tests.postgres import Server
from tests.programs import ROOT
from wallet_adapters.envelope import new_sealing_key
from wallet_adapters.loopback import Wallet, parse_request_link, read_unsigned_request
from wallet_adapters.status_token import place_of

AT_ONCE = 32
TEMPLATE = json.loads((ROOT / "broker/usecases/demonstration.json").read_text("utf-8"))[
    "templates"
][0]


@dataclass(frozen=True)
class Act:
    """One act: who does it, what is sent where, and how often it has happened so far."""

    role: str
    path: str
    body: Any
    happened: Callable[[], int]
    method: str = "POST"

    def by(self, caller: Caller, headers: Mapping[str, str]) -> Answer:
        """Do it once."""
        return caller.send(self.method, self.path, self.body, **headers)


def entries(at: Deployment, kind: str) -> Callable[[], int]:
    """How many entries of a kind the log has, those that wait too."""

    def count() -> int:
        # In one statement: between two an entry that gets its index would be missed.
        every = union_all(*(select(table.c.id, table.c.type) for table in (PENDING, ENTRY)))
        each = every.subquery()
        of_kind = select(func.count(each.c.id.distinct())).where(each.c.type == kind)
        with at.ctx.db.reading() as tx:
            return int(tx.execute(of_kind).scalar_one())

    return count


def consent_request(at: Deployment, name: str) -> Act:
    body = {"subject_ref": name, "template": "loyalty-churn", "language": "zh"}
    # Three consents in one request, an entry for each.
    return Act(
        "partner",
        "/v1/consent-requests",
        body,
        lambda: entries(at, "consent.requested")() // len(TEMPLATE["items"]),
    )


def invitation(at: Deployment, name: str) -> Act:
    body = {"subject_ref": name, "grade": "link"}
    return Act("partner", "/v1/invitations", body, entries(at, "invitation.opened"))


def approval(at: Deployment, name: str) -> Act:
    body = {"subject_ref": name, "grade": "verified_person"}
    opened = at.caller("partner").post("/v1/invitations", body, **{"Idempotency-Key": fresh_key()})
    path = f"/v1/invitations/{opened.json['id']}/approval"
    return Act("officer", path, {"approve": True}, entries(at, "invitation.approved"))


def template(at: Deployment, name: str) -> Act:
    return Act("officer", "/v1/templates", TEMPLATE | {"id": name}, entries(at, "template.added"))


def withdrawal(at: Deployment, name: str) -> Act:
    path = f"/v1/consents/{at.granted(name)}/withdrawal"
    return Act("officer", path, {}, entries(at, "consent.withdrawn"))


def withdrawal_of_everything(at: Deployment, name: str) -> Act:
    body = {"customers": [{"consent": at.granted(name)}]}
    return Act("officer", "/v1/withdrawals", body, entries(at, "consent.withdrawn"))


def erasure(at: Deployment, name: str) -> Act:
    body = {"consent": at.granted(name)}
    return Act("officer", "/v1/subject-erasures", body, entries(at, "subject.erased"))


def receipt(at: Deployment, name: str) -> Act:
    consent_id = at.granted(name)
    at.caller("officer").post(f"/v1/consents/{consent_id}/withdrawal", {})
    (task,) = at.caller("partner").get(f"/v1/deletion-tasks?consent={consent_id}").json["tasks"]
    about = Asked(
        task["id"],
        at.partner_id,
        consent_id,
        tuple(task["attributes"]),
        at.ctx.settings.public_url,
        task["created_at"],
    )
    key = SoftwareKey.from_private_jwk(dict(demo_clients(at.ctx)[0]["private_jwk"]))
    now = at.ctx.now()
    signed = sign_receipt(key, about, deleted_at=now, method="deleted", now=now)
    path = f"/v1/deletion-tasks/{task['id']}/receipt"
    return Act("partner", path, {"receipt": signed}, entries(at, "deletion.confirmed"))


def proof_request(at: Deployment, name: str) -> Act:
    body = asking(by=registry(), subject_ref=name)
    return Act("partner", "/v1/proof-requests", body, entries(at, "proof.requested"))


def proof(at: Deployment, name: str) -> Act:
    office = registry()
    body = asking(by=office, subject_ref=name)
    asked = at.caller("partner").post(
        "/v1/proof-requests", body, **{"Idempotency-Key": fresh_key()}
    )
    wallet = Wallet(list(at.ctx.keys.anchors()), attributes=[office.issue(LI)])
    request = read_unsigned_request(parse_request_link(asked.json["development_link"]))
    body = {"request": asked.json["id"], "presentation": presentation(wallet, request)}
    return Act("partner", "/v1/proofs/verify", body, entries(at, "proof.verified"))


def policy_set(at: Deployment, name: str) -> Act:
    text = (
        f'@id("own.{name}") @law("contract") @code("own_once") @obligation("stop") @zh("无。") '
        '@en("No.") forbid (principal, action, resource) when { context.territory == "AQ" };'
    )
    return Act("officer", "/v1/policy-sets", {"text": text}, entries(at, "policies.added"))


def transfer_mechanism(at: Deployment, name: str) -> Act:
    body = {
        "partner": at.partner_id,
        "destination": "SG",
        "kind": "standard_contract",
        "filing_number": name,
    }
    return Act("officer", "/v1/transfer-mechanisms", body, entries(at, "transfer.registered"))


def a_source(at: Deployment, name: str) -> Act:
    listed = {
        "purposes": ["dpv:ServicePersonalisation"],
        "attributes": ["home_city"],
        "retention_days": 30,
        "recipients": [at.partner_id],
        "territories": ["CN"],
        "basis": "contract",
        "reference": name,
    }
    body = {"name": name, "title": name, "checklist": listed}
    return Act("officer", "/v1/data-sources", body, entries(at, "data_source.registered"))


def trial(at: Deployment, name: str) -> Act:
    made = a_source(at, name)
    made.by(at.caller("officer"), {"Idempotency-Key": fresh_key()})
    body = {"kind": "source", "name": name}
    return Act("officer", "/v1/sandbox", body, entries(at, "sandbox.started"))


def attribute_type(at: Deployment, name: str) -> Act:
    body = ATTESTED | {"id": f"{name}/1"}
    return Act("officer", "/v1/attribute-types", body, entries(at, "attribute_type.added"))


def attribute_offer(at: Deployment, name: str) -> Act:
    kind = ATTESTED | {"id": f"{name}/1"}
    at.caller("officer").post("/v1/attribute-types", kind, **{"Idempotency-Key": fresh_key()})
    body = {"type": kind["id"], "claims": {"points": 3}}
    return Act("partner", "/v1/attribute-offers", body, entries(at, "attributes.offered"))


def revocation(at: Deployment, name: str) -> Act:
    offer = OfferRow(
        id=new_id(attribute_credentials.PREFIX),
        tenant_id="demo",
        offered_by=at.partner_id,
        type_id=f"{name}/1",
        code_hash=name,
        tx_code_hash=name,
        claims=None,
        state="issued",
        expires_at=at.ctx.now(),
        created_at=at.ctx.now(),
        key_id="k-of-the-tenant",
        revocation_id="5",
        revocation_place=place_of("5"),
    )
    with at.ctx.db.transaction() as tx:
        attribute_credentials.add_offer(tx, offer)
    path = f"/v1/attribute-offers/{offer.id}/revocation"
    return Act("partner", path, {}, entries(at, "attributes.revoked"))


def agent_action(at: Deployment, name: str) -> Act:
    """An action that is refused, as it names nothing that is there: that is kept, once, too."""
    added = add_agent(at.ctx, "demo", at.partner_id, name=name)
    key = SoftwareKey.from_private_jwk(dict(added.private_jwk))
    named = (("e-" + "z" * 20,), ("c-" + "z" * 20,))
    stated = AgentAction(added.id, fresh_key()[:20], at.ctx.now(), "read", *named)
    body = {"action": sign_action(key, stated, at.ctx.settings.public_url)}
    return Act("partner", "/v1/agent-actions", body, entries(at, "agent.action_refused"))


def webhook(at: Deployment, name: str) -> Act:
    body = {"url": f"http://crm.example/{name}", "types": ["consent.granted"]}
    return Act("partner", "/v1/webhooks", body, entries(at, "webhook.added"))


def new_secret(at: Deployment, name: str) -> Act:
    return _of_webhook(at, name, "secret", "webhook.secret_rotated")


def replay(at: Deployment, name: str) -> Act:
    return _of_webhook(at, name, "replay", "webhook.replayed")


def _of_webhook(at: Deployment, name: str, act: str, kind: str) -> Act:
    url = f"http://crm.example/{name}"
    added = add_webhook(at.ctx, "demo", at.partner_id, url=url, types=["consent.granted"])
    return Act("partner", f"/v1/webhooks/{added.row.id}/{act}", {}, entries(at, kind))


def _counted(at: Deployment, name: str, path: str, body: Any) -> Act:  # noqa: ANN401 (JSON)
    consent_id = at.seeds.consent(at.partner_id, name, uses_left=5)
    return Act("partner", path, body, _used(at, consent_id))


def _used(at: Deployment, consent_id: str) -> Callable[[], int]:
    """How many uses of a consent that had five were counted."""

    def used() -> int:
        with at.ctx.db.reading() as tx:
            left = select(CONSENT.c.uses_left).where(CONSENT.c.id == consent_id)
            return 5 - int(tx.execute(left).scalar_one())

    return used


def evaluation(at: Deployment, name: str) -> Act:
    return _counted(at, name, "/access/v1/evaluation", asked(at.partner_id, name))


def evaluations(at: Deployment, name: str) -> Act:
    body = {"evaluations": [asked(at.partner_id, name)]}
    return _counted(at, name, "/access/v1/evaluations", body)


def sealing_key(at: Deployment, _name: str) -> Act:
    public = {member: value for member, value in new_sealing_key().items() if member != "d"}
    happened = entries(at, "partner.sealing_key")
    return Act("partner", "/v1/sealing-key", public, happened, "PUT")


def data(at: Deployment, name: str) -> Act:
    consent_id, content = at.seeds.consent(at.partner_id, name, uses_left=5), b"sealed"
    store_envelope(at, consent_id, f"demo/same-key/{name}", content)
    path = f"/v1/data/{consent_id}/home_city?territory=CN&purpose={quote(WIRE, safe='')}"
    return Act("partner", path, None, _used(at, consent_id), "GET")


def data_request(at: Deployment, name: str) -> Act:
    key = {member: value for member, value in new_sealing_key().items() if member != "d"}
    headers = {"Idempotency-Key": fresh_key()}
    put = at.caller("partner").send("PUT", "/v1/sealing-key", key, **headers)
    assert put.status == 200, put.json
    body = {
        "consent": at.granted(name),
        "schema": "shown/1",
        "attributes": ["home_city"],
        "purpose": WIRE,
    }
    return Act("partner", "/v1/data-requests", body, entries(at, "data.requested"))


def access_request(at: Deployment, name: str) -> Act:
    """After a denial: the one consent that it names."""
    asking = asked(at.partner_id, name)
    denied = at.caller("partner").post("/access/v1/evaluation", asking).json["context"]
    hint = denied["access_request"]
    denial = {member: hint[member] for member in ("expires_at", "template", "binding_token")}
    return Act(
        "partner",
        "/access/v1/requests",
        {**asking, "denial": {**denial, "evaluation_id": denied["evaluation_id"]}},
        entries(at, "consent.requested"),
    )


def join_request(at: Deployment, _name: str) -> Act:
    _, receipts, _ = member_keys()
    body = {"receipt_key": json.loads(receipts)}
    path = "/v1/federation/join-requests"
    return Act("partner", path, body, entries(at, "federation.join_asked"))


def member_revocation(at: Deployment, name: str) -> Act:
    partner = add_partner(
        at.ctx, "demo", name=name, name_zh=name, contact="a@a.example", country="CN"
    ).client_id
    _, receipts, node = member_keys()
    add_member(at.ctx, "demo", partner, node_key=node, receipt_key=receipts)
    path = f"/v1/federation/members/{partner}/revocation"
    return Act("officer", path, {}, entries(at, "federation.revoked"))


ACTS = {
    "POST /access/v1/requests": access_request,
    "POST /v1/consent-requests": consent_request,
    "POST /v1/invitations": invitation,
    "POST /v1/invitations/{invitation_id}/approval": approval,
    "POST /v1/templates": template,
    "POST /v1/consents/{consent_id}/withdrawal": withdrawal,
    "POST /v1/withdrawals": withdrawal_of_everything,
    "POST /v1/subject-erasures": erasure,
    "POST /v1/deletion-tasks/{task_id}/receipt": receipt,
    "PUT /v1/sealing-key": sealing_key,
    "GET /v1/data/{consent_id}/{attribute}": data,
    "POST /v1/data-requests": data_request,
    "POST /v1/proof-requests": proof_request,
    "POST /v1/proofs/verify": proof,
    "POST /v1/policy-sets": policy_set,
    "POST /v1/transfer-mechanisms": transfer_mechanism,
    "POST /v1/data-sources": a_source,
    "POST /v1/sandbox": trial,
    "POST /v1/agent-actions": agent_action,
    "POST /v1/webhooks": webhook,
    "POST /v1/webhooks/{webhook_id}/secret": new_secret,
    "POST /v1/webhooks/{webhook_id}/replay": replay,
    "POST /v1/attribute-types": attribute_type,
    "POST /v1/attribute-offers": attribute_offer,
    "POST /v1/attribute-offers/{offer_id}/revocation": revocation,
    "POST /v1/federation/join-requests": join_request,
    "POST /v1/federation/members/{member}/revocation": member_revocation,
    "POST /access/v1/evaluation": evaluation,
    "POST /access/v1/evaluations": evaluations,
}


@pytest.fixture(scope="module", params=["postgresql", "sqlite"][: 2 if SOAK else 1])
def at(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("same-key")
    if request.param == "sqlite":
        with deployment(home, BROKER_RATE_LIMITS="off") as made:
            yield made
        return
    server: Server = request.getfixturevalue("postgres_server")
    url = server.create("same_key")
    with deployment(home, url, servers=2, BROKER_RATE_LIMITS="off") as made:
        yield made


def test_every_operation_that_takes_a_key_has_a_row(at: Deployment) -> None:
    taking = {
        f"{method.upper()} {path}"
        for path, operations in described(at.servers[0].address)["paths"].items()
        for method, operation in operations.items()
        if any(p["name"].lower() == "idempotency-key" for p in operation.get("parameters", []))
    }
    assert taking == ACTS.keys()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ACTS)
def test_one_key_has_one_effect(at: Deployment, name: str) -> None:
    act = ACTS[name](at, f"once-{list(ACTS).index(name)}")
    before = act.happened()
    headers = {"Idempotency-Key": fresh_key()}
    callers = [at.caller(act.role, number % len(at.servers)) for number in range(AT_ONCE)]
    answers = at_once([partial(act.by, one, headers) for one in callers])
    assert act.happened() - before == 1
    done = [answer for answer in answers if answer.status < 300]
    assert done
    # Those that came while the first was under way are told so; the others get its answer.
    assert {answer.status for answer in answers} <= {done[0].status, 409}
    assert {_told(answer) for answer in done} == {_told(done[0])}
    again = act.by(callers[-1], headers)
    # What holds a secret is not kept: then a repetition is told that it was done.
    assert _told(again) == _told(done[0]) or again.json["code"] == "idempotency_replayed"
    assert act.happened() - before == 1


def _told(answer: Answer) -> str:
    return json.dumps(answer.json, sort_keys=True)
