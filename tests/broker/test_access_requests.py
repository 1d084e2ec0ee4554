"""A denial names the consent request that would turn it, and only what was denied is asked for."""

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.domain.kill_switch import KillSwitch
from broker.store import consents
from broker.store.acting import acting_for
from broker.usecases import consent_page
from broker.usecases.agent import add_agent, set_agent_state
from broker.usecases.kill_switch import turn
from broker.usecases.tenant import add_template
from tests.broker.demonstration import DEMONSTRATION
from tests.broker.flow_world import PUBLIC_URL, PURPOSE, Customer, World, world

SHOPS = "dpv:ServicePersonalisation#algo:shop-nearby@1"
VISITS: dict[str, Any] = {
    "resource": {
        "type": "attribute",
        "id": "visit_log",
        "properties": {"subject_ref": "crm-1"},
    },
    "context": {"purpose": SHOPS, "territory": "CN"},
}
ERROR = "urn:openid:authzen:access-request:error:"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


def evaluation(broker: World, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "subject": {"type": "partner", "id": broker.partner},
        "action": {"name": "read"},
        "resource": {
            "type": "attribute",
            "id": "purchase_count_12m",
            "properties": {"subject_ref": "crm-1"},
        },
        "context": {"purpose": PURPOSE, "territory": "CN"},
        **changes,
    }


def denied(broker: World, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401
    """An evaluation and the context of its answer."""
    asked = evaluation(broker, **changes)
    answer = broker.api("POST", "/access/v1/evaluation", json=asked).json()
    assert answer["decision"] is False
    return asked, answer["context"]


def denial_of(context: dict[str, Any]) -> dict[str, str]:
    hint = context["access_request"]
    named = {name: hint[name] for name in ("expires_at", "template", "binding_token")}
    return {"evaluation_id": context["evaluation_id"], "reason": context["reason"], **named}


def submit(broker: World, body: dict[str, Any], key: str = "k-1", caller: str | None = None) -> Any:  # noqa: ANN401
    headers = {"Idempotency-Key": key}
    return broker.api("POST", "/access/v1/requests", caller, json=body, headers=headers)


def test_from_a_denial_to_a_permit(broker: World, li: Customer) -> None:
    asked, context = denied(broker)
    assert context["evaluation_id"] == context["id"]
    assert context["reason"] == "consent_not_found"
    assert context["access_request"]["endpoint"] == f"{PUBLIC_URL}/access/v1/requests"
    answer = submit(broker, {**asked, "denial": denial_of(context)})
    assert answer.status_code == 202, answer.text
    task = answer.json()["task"]
    assert task["status"] == "pending"
    assert answer.headers["location"] == task["status_endpoint"]
    assert "result" not in answer.json()
    assert broker.http.get(task["links"]["ticket"]).status_code == 200
    again = submit(broker, {**asked, "denial": denial_of(context)})
    assert again.json() == answer.json(), "the same key opens nothing new"
    path = task["status_endpoint"].removeprefix(PUBLIC_URL)
    assert broker.api("GET", path).json() == answer.json()
    consent = broker.consent(task["id"])
    request = broker.api("GET", f"/v1/consent-requests/{consent['request_id']}").json()
    li.sign(request["wallet_link"], "consent_base")
    done = broker.api("GET", path).json()
    assert done["task"]["status"] == "approved"
    assert done["result"]["mode"] == "reevaluate"
    approval = done["result"]["approval"]
    assert approval["id"] == task["id"]
    # What comes back as `context.approval` is not believed, and does no harm.
    with_approval = evaluation(broker)
    with_approval["context"]["approval"] = approval
    permit = broker.api("POST", "/access/v1/evaluation", json=with_approval).json()
    assert permit["decision"] is True
    assert "access_request" not in permit["context"]


def test_an_approval_by_itself_permits_nothing(broker: World) -> None:
    invented = {"id": "c-" + "z" * 20, "approved_until": "2099-01-01T00:00:00Z"}
    _, context = denied(
        broker, context={"purpose": PURPOSE, "territory": "CN", "approval": invented}
    )
    assert context["reason"] == "consent_not_found"


def test_who_has_said_no_is_not_asked_by_a_program(broker: World, li: Customer) -> None:
    granted = li.grant("base")
    _, context = denied(broker, **VISITS)
    assert context["reasons"][0]["code"] == "consent_refused"
    assert "access_request" not in context
    consent_id = next(one["id"] for one in granted["consents"] if one["state"] == "granted")
    broker.withdrawal(consent_id, broker.officer)
    _, context = denied(broker)
    assert context["reasons"][0]["code"] == "consent_withdrawn"
    assert "access_request" not in context


def requests(broker: World) -> int:
    return len(broker.rows()["consent_request"])


def refused(answer: Any, why: str) -> None:  # noqa: ANN401
    told = answer.json()
    assert (answer.status_code, told["type"], told["code"]) == (
        400,
        f"{ERROR}not_requestable",
        "not_requestable",
    )
    assert why in told["detail"]


def ticket(answer: Any) -> str:  # noqa: ANN401
    link: str = answer.json()["task"]["links"]["ticket"]
    return link.rsplit("/", 1)[1]


def test_a_denial_from_before_a_no_asks_for_nothing_after_it(broker: World) -> None:
    asked, context = denied(broker)
    _, another = denied(broker)
    body = {**asked, "denial": denial_of(context)}
    first = submit(broker, body)
    refused(submit(broker, body, key="k-2"), "consent_requested")
    consent_page.refuse(broker.ctx, "demo", ticket(first))
    refused(submit(broker, body, key="k-3"), "consent_refused")
    refused(submit(broker, {**asked, "denial": denial_of(another)}, key="k-4"), "consent_refused")
    assert submit(broker, body).json() == first.json(), "the same key has the same answer"
    assert requests(broker) == 1


def test_a_denial_from_before_a_withdrawal_asks_for_nothing_after_it(
    broker: World, li: Customer
) -> None:
    asked, context = denied(broker)
    body = {**asked, "denial": denial_of(context)}
    granted = li.grant("base")
    refused(submit(broker, body), "permitted now")
    consent_id = next(one["id"] for one in granted["consents"] if one["state"] == "granted")
    broker.withdrawal(consent_id, broker.officer)
    refused(submit(broker, body), "consent_withdrawn")
    assert requests(broker) == 1


def test_what_is_stopped_since_is_not_asked_for(broker: World) -> None:
    ctx = broker.ctx
    agent = add_agent(ctx, "demo", broker.partner, name="planner")
    subject = {"type": "agent", "id": agent.id, "properties": {"partner": broker.partner}}
    asked, context = denied(broker, subject=subject)
    body = {**asked, "denial": denial_of(context)}
    set_agent_state(ctx, "demo", agent.id, "suspended")
    refused(submit(broker, body), "agent_suspended")
    set_agent_state(ctx, "demo", agent.id, "active")
    turn(ctx, "demo", KillSwitch("partner", broker.partner), on=True)
    refused(submit(broker, body), "kill_switch")
    turn(ctx, "demo", KillSwitch("partner", broker.partner), on=False)
    assert requests(broker) == 0
    assert submit(broker, body).status_code == 202, "what was refused has left the key free"


def test_a_denial_is_used_once_whatever_has_become_of_its_request(
    broker: World, li: Customer
) -> None:
    asked, context = denied(broker)
    body = {**asked, "denial": denial_of(context)}
    assert submit(broker, body).status_code == 202
    # Nothing of the customer's answer is left to go by: a new denial could ask again.
    erased = broker.api(
        "POST",
        "/v1/subject-erasures",
        broker.officer,
        json={"partner": broker.partner, "subject_ref": li.subject_ref},
        headers={"Idempotency-Key": "e-1"},
    )
    assert erased.status_code in {200, 201, 202}, erased.text
    anew, later = denied(broker)
    refused(submit(broker, body, key="k-2"), "has been used")
    assert submit(broker, {**anew, "denial": denial_of(later)}, key="k-3").status_code == 202


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_many_submissions_at_once_one_opens_a_request(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "at-once", database_url=url) as broker:
        asked, same = denied(broker)
        bodies = [{**asked, "denial": denial_of(one)} for one in (same, same, denied(broker)[1])]
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = pool.map(
                acting_for("demo")(submit), [broker] * 3, bodies, ["k-1", "k-2", "k-3"]
            )
            assert sorted(one.status_code for one in answers) == [202, 400, 400]
        assert requests(broker) == 1


def test_only_the_item_that_was_denied_is_asked_for(broker: World, li: Customer) -> None:
    asked, context = denied(broker, **VISITS)
    _, request = asked_for(broker, {**asked, "denial": denial_of(context)}, "visits")
    # One after the other: while a request waits, nothing else is requestable.
    assert "access_request" not in denied(broker)[1]
    li.sign(request["wallet_link"])
    asked, context = denied(broker)
    page, _ = asked_for(broker, {**asked, "denial": denial_of(context)}, "base")
    consent_page.refuse(broker.ctx, "demo", page)
    assert broker.reasons("crm-1") == ["consent_refused"]
    with broker.ctx.db.reading() as tx:
        states = {row.item: row.state for row in tx.execute(select(consents.CONSENT))}
    assert states == {"visits": "granted", "base": "refused"}


def asked_for(broker: World, body: dict[str, Any], item: str) -> tuple[str, dict[str, Any]]:
    """The page's token, and the request, which asks for one item alone."""
    answer = submit(broker, body, key=item)
    task = answer.json()["task"]
    request_id = broker.consent(task["id"])["request_id"]
    request: dict[str, Any] = broker.api("GET", f"/v1/consent-requests/{request_id}").json()
    assert [(one["id"], one["item"]) for one in request["consents"]] == [(task["id"], item)]
    assert broker.http.get(task["links"]["ticket"]).status_code == 200
    return ticket(answer), request


def test_a_template_that_asks_for_something_else_since_is_not_asked_by(broker: World) -> None:
    asked, context = denied(broker, **VISITS)
    template = copy.deepcopy(DEMONSTRATION["templates"][0])
    visits = next(one for one in template["items"] if one["item"] == "visits")
    visits["actions"] = ["profile"]
    add_template(broker.ctx, "demo", template)
    refused(submit(broker, {**asked, "denial": denial_of(context)}), "template has changed")
    assert requests(broker) == 0


def attribute(name: str) -> dict[str, Any]:
    return {"type": "attribute", "id": name, "properties": {"subject_ref": "crm-1"}}


def test_what_no_template_covers_is_not_requestable(broker: World) -> None:
    _, context = denied(broker, action={"name": "share"})
    assert "access_request" not in context
    by_consent = attribute("purchase_count_12m")
    by_consent["properties"] = {"consent": "c-" + "z" * 20}
    _, context = denied(broker, resource=by_consent)
    assert "access_request" not in context


def test_refused_and_expired_tasks_say_so(broker: World) -> None:
    for number, (end, status) in enumerate((("refuse", "denied"), ("wait", "expired"))):
        asked, context = denied(broker, resource=attribute_of(f"crm-2{number}"))
        body = {**asked, "denial": denial_of(context)}
        task = submit(broker, body, key=end).json()["task"]
        if end == "refuse":
            consent_page.refuse(broker.ctx, "demo", task["links"]["ticket"].rsplit("/", 1)[1])
        else:
            broker.advance(901)
        told = broker.api("GET", f"/access/v1/requests/{task['id']}").json()
        assert told["task"]["status"] == status
        assert "result" not in told


def attribute_of(subject_ref: str) -> dict[str, Any]:
    return {
        "type": "attribute",
        "id": "purchase_count_12m",
        "properties": {"subject_ref": subject_ref},
    }


def test_nothing_but_what_was_denied_is_asked_for(broker: World) -> None:
    asked, context = denied(broker)
    denial = denial_of(context)
    other = broker.second_partner()
    for change in (
        {"resource": attribute_of("crm-2")},
        {"action": {"name": "profile"}},
        {"context": {"purpose": PURPOSE, "territory": "SG"}},
        {"denial": {**denial, "template": "loyalty-churn/visits"}},
        {"denial": {**denial, "evaluation_id": "e-" + "z" * 20}},
        {"denial": {**denial, "expires_at": "2099-01-01T00:00:00Z"}},
        {"denial": {**denial, "binding_token": "x" * 43}},
        {"subject": {"type": "partner", "id": other}},
    ):
        answer = submit(broker, {**asked, "denial": denial, **change})
        assert answer.status_code == 400, change
        told = answer.json()
        assert (told["type"], told["code"]) == (
            f"{ERROR}invalid_denial_binding",
            "invalid_denial_binding",
        )
    mine = {**asked, "subject": {"type": "partner", "id": other}, "denial": denial}
    assert submit(broker, mine, caller=other).json()["type"] == f"{ERROR}invalid_denial_binding"
    for body in (asked, {**asked, "denial": {}}, {**asked, "denial": denial, "items": []}):
        assert submit(broker, body).json()["code"] == "invalid_request"
    assert broker.rows()["consent_request"] == []


def test_a_denial_gets_old_and_a_key_stands_for_one_request(broker: World) -> None:
    asked, context = denied(broker)
    body = {**asked, "denial": denial_of(context)}
    assert submit(broker, body).status_code == 202
    other = submit(broker, {**body, "note": "another"})
    assert (other.status_code, other.json()["type"]) == (409, f"{ERROR}duplicate_request")
    broker.advance(600)
    late = submit(broker, body, key="k-2")
    assert (late.status_code, late.json()["type"]) == (410, f"{ERROR}expired_denial")


def test_a_task_is_its_partners_alone_and_the_metadata_tell_of_it_all(broker: World) -> None:
    asked, context = denied(broker)
    task = submit(broker, {**asked, "denial": denial_of(context)}).json()["task"]
    hidden = broker.api("GET", f"/access/v1/requests/{task['id']}", broker.second_partner())
    assert (hidden.status_code, hidden.json()["type"]) == (404, f"{ERROR}unknown_task")
    told = broker.http.get("/.well-known/authzen-configuration").json()
    assert told["access_request_endpoint"] == f"{PUBLIC_URL}/access/v1/requests"
    assert "urn:openid:authzen:capability:access-request" in told["capabilities"]
