"""Search (AuthZEN 1.0, section 8): what of one's own would be permitted, page by page."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.domain.kill_switch import KillSwitch
from broker.domain.terms import ACTIONS
from broker.store import tables
from broker.usecases import search as usecase
from broker.usecases.agent import add_agent, set_agent_state
from broker.usecases.kill_switch import turn
from broker.usecases.masking import set_maskings
from broker.usecases.policy_set import add, switch
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.access_client import EVALUATION, Client, access_client, codes, resource
from tests.broker.builders import PURPOSE, TENANT
from tests.broker.deciding import SUBJECT_REF
from tests.broker.test_policy_sets import NO_PROFILING


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with access_client(tmp_path) as made:
        yield made


def find(client: Client, kind: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = client.post(f"/access/v1/search/{kind}", client.request(**changes))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["page"]["count"] == len(found["results"])
    return found


def results(client: Client, kind: str, **changes: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    found = find(client, kind, **changes)
    assert found["page"]["next_token"] == ""
    listed: list[dict[str, Any]] = found["results"]
    return listed


ANY = {"type": "attribute"}
OF_CONTACT = {"type": "attribute", "properties": {"subject_ref": SUBJECT_REF}}


def test_every_result_is_permitted_when_it_is_asked_about(client: Client) -> None:
    consent_id = client.at.consent()
    found = results(client, "resource", resource=OF_CONTACT)
    assert [one["id"] for one in found] == ["home_city", "purchase_count_12m"]
    of_all = results(client, "resource", resource=ANY)
    assert [one["properties"] for one in of_all] == [{"consent": consent_id}] * 2
    for one in (*found, *of_all):
        assert client.evaluate(resource=one)["decision"] is True
    actions = results(client, "action", action=None)
    assert actions == [{"name": "profile"}, {"name": "read"}]
    for one in actions:
        assert client.evaluate(action=one)["decision"] is True
    me = {"type": "partner", "id": client.at.partner_id}
    assert results(client, "subject", subject={"type": "partner"}) == [me]
    # An id of what is looked for is ignored.
    assert results(client, "subject", subject={"type": "partner", "id": "p-other"}) == [me]


def test_what_a_decision_would_deny_is_not_found(client: Client) -> None:
    consent_id = client.at.consent()
    asked: list[dict[str, Any]] = [
        {"action": {"name": "train"}},
        {"context": {}},
        {"context": {"purpose": "dpv:Marketing#algo:churn-v3@1"}},
        {"resource": {"type": "document"}},
        {"resource": {"type": "attribute", "properties": {"subject_ref": "nobody"}}},
        {"subject": {"type": "partner", "id": "p-other"}},
        {"subject": {"type": "user", "id": client.at.partner_id}},
    ]
    for one in asked:
        assert results(client, "resource", **({"resource": ANY} | one)) == [], one
    assert results(client, "subject", subject={"type": "agent"}) == []
    assert results(client, "subject", subject={"type": "partner"}, action={"name": "train"}) == []
    withdraw_by_officer(client.at.broker.ctx, TENANT, "o-1", consent_id)
    assert results(client, "resource", resource=ANY) == []
    assert results(client, "action", action=None) == []


def test_own_policies_and_the_log_hold_for_searches(client: Client) -> None:
    client.at.consent()
    ctx = client.at.broker.ctx
    switch(ctx, TENANT, add(ctx, TENANT, NO_PROFILING).number)
    assert results(client, "action", action=None) == [{"name": "read"}]
    client.at.broker.time[0] += 61  # the log is behind
    assert results(client, "action", action=None) == []


def test_only_the_callers_own_consents_are_searched(client: Client) -> None:
    at = client.at
    mine = at.consent()
    stranger = at.broker.partner("Tea")
    theirs = at.broker.consent(stranger, SUBJECT_REF)
    assert {one["properties"]["consent"] for one in results(client, "resource", resource=ANY)} == {
        mine
    }
    named = {"type": "attribute", "properties": {"consent": theirs}}
    assert results(client, "resource", resource=named) == []
    as_them = {"type": "partner", "id": stranger}
    assert results(client, "resource", subject=as_them, resource=ANY) == []
    assert (
        results(client, "action", action=None, resource=resource("home_city", consent=theirs)) == []
    )


def test_pages_hold_everything_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usecase, "MOST_JUDGED", 4)
    at = client.at
    wanted = set()
    for number in range(9):
        version = "2" if number % 3 == 2 else "1"
        consent_id = at.broker.consent(
            at.partner_id, f"crm-{number}", algorithm=("churn-v3", version)
        )
        if version == "1":
            wanted |= {(consent_id, name) for name in ("home_city", "purchase_count_12m")}
    for limit in (1, 3, 100):
        found: list[tuple[str, str]] = []
        page: dict[str, Any] = {"limit": limit}
        for _ in range(60):
            answer = find(client, "resource", resource=ANY, page=page)
            assert len(answer["results"]) <= limit
            found += [(one["properties"]["consent"], one["id"]) for one in answer["results"]]
            if not answer["page"]["next_token"]:
                break
            page = {"limit": limit, "token": answer["page"]["next_token"]}
        assert sorted(found) == sorted(wanted)
    assert find(client, "resource", resource=ANY, page={"limit": 0})["results"] == []


def test_a_token_is_good_for_its_own_search_alone(client: Client) -> None:
    client.at.consent()
    first = find(client, "resource", resource=OF_CONTACT, page={"limit": 1})
    page = {"token": first["page"]["next_token"]}
    assert [one["id"] for one in results(client, "resource", resource=OF_CONTACT, page=page)] == [
        "purchase_count_12m"
    ]
    for path, changes in (
        ("resource", {"resource": ANY}),
        ("resource", {"resource": OF_CONTACT, "action": {"name": "profile"}}),
        ("subject", {"subject": {"type": "partner"}}),
    ):
        answer = client.post(f"/access/v1/search/{path}", client.request(**changes, page=page))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    pages: list[object] = [{"token": "x"}, {"token": 1}, {"limit": -1}, {"limit": True}, []]
    for odd in pages:
        answer = client.post(
            "/access/v1/search/resource", client.request(resource=OF_CONTACT, page=odd)
        )
        assert answer.status_code == 400, odd


def test_what_is_missing_is_named_and_who_may_search(client: Client) -> None:
    for path, leaves_out in (
        ("subject", "action"),
        ("resource", "subject"),
        ("action", "resource"),
    ):
        answer = client.post(f"/access/v1/search/{path}", client.request(**{leaves_out: None}))
        assert answer.status_code == 400
        assert f"{leaves_out} is required" in answer.json()["detail"]
    typeless = client.post("/access/v1/search/resource", client.request(resource={}))
    assert "resource.type is required" in typeless.json()["detail"]
    body = client.request(action=None)
    nobody = client.post("/access/v1/search/action", body, Authorization="Bearer nothing")
    assert nobody.status_code == 401
    officer = client.at.broker.token(client.at.broker.officer(), "officer")
    denied = client.post("/access/v1/search/action", body, Authorization=f"Bearer {officer}")
    assert denied.status_code == 403


def test_a_search_is_in_the_log_and_counts_no_use(client: Client) -> None:
    client.at.consent(uses_left=1)
    assert len(results(client, "action", action=None)) == 2
    assert len(results(client, "action", action=None)) == 2
    entries = client.at.broker.logged("search")
    assert [entry.body["found"] for entry in entries] == [2, 2]
    assert set(entries[0].body) == {"kind", "partner", "found", "policies"}
    spent = client.post("/access/v1/evaluation", client.request(), **{"Idempotency-Key": "k"})
    assert spent.json()["decision"] is True
    assert results(client, "action", action=None) == []


def test_a_permit_needs_a_caller_who_can_do_what_it_obliges_to(client: Client) -> None:
    client.at.consent()
    told = client.http.get("/.well-known/authzen-configuration").json()
    every = told["supported_obligations"]
    context = client.request()["context"]
    can = client.evaluate(context={**context, "supported_obligations": every})
    assert can["decision"] is True
    types = {one["type"] for one in can["context"]["obligations"]}
    assert types <= set(every)
    for lacking in types:
        some = [one for one in every if one != lacking] + ["step-up"]
        denied = client.evaluate(context={**context, "supported_obligations": some})
        assert codes(denied) == ["obligation_unsupported"]
        assert {one["type"] for one in denied["context"]["obligations"]} <= set(every)
    odd = client.post(
        "/access/v1/evaluation",
        client.request(context={**context, "supported_obligations": "all"}),
    )
    assert odd.status_code == 400


# A search and a decision are judged by one mechanism.


def _change(client: Client, drawn: random.Random, agent: str, number: int) -> None:
    """Make everything well, and then, in turns, one of the things a decision depends on not."""
    at, ctx = client.at, client.at.broker.ctx
    at.broker.keep_log()
    switches = (
        KillSwitch("tenant", TENANT),
        KillSwitch("partner", at.partner_id),
        KillSwitch("purpose", PURPOSE),
    )
    for switched in switches:
        turn(ctx, TENANT, switched, on=False)
    set_agent_state(ctx, TENANT, agent, "suspended" if number % 7 == 2 else "active")
    set_maskings(ctx, TENANT, "home_city", drawn.choice(({}, {"*": "address"})))
    at.broker.change(tables.Attribute, [], sensitive=number % 7 == 3)
    at.broker.change(tables.Consent, [], uses_left=0 if number % 7 == 4 else None)
    if number % 7 == 1:
        turn(ctx, TENANT, drawn.choice(switches), on=True)
    elif number % 7 == 5:
        at.broker.time[0] += 61  # the log is behind


def _asked(client: Client, drawn: random.Random, agent: str) -> dict[str, Any]:
    """Parts of a question, drawn: for whom, what can be carried out, what it is worth."""
    partner = {"type": "partner", "id": client.at.partner_id}
    of_agent = {"type": "agent", "id": agent, "properties": {"partner": client.at.partner_id}}
    told = client.http.get("/.well-known/authzen-configuration").json()
    every = told["supported_obligations"]
    context = {**client.request()["context"]}
    few = [one for one in every if not one.endswith("retention")]
    supported = drawn.choice((None, every, few, few))
    if supported is not None:
        context["supported_obligations"] = supported
    currency = drawn.choice((None, None, "CNY", "EUR"))
    if currency is not None:
        context["value"] = {"amount": "12.50", "currency": currency}
    return {"subject": drawn.choice((partner, of_agent)), "context": context}


def test_a_search_finds_exactly_what_decisions_permit(client: Client) -> None:
    drawn, at = random.Random(4), client.at
    consent = at.consent()
    agent = add_agent(at.broker.ctx, TENANT, at.partner_id, name="Coupon writer").id
    seen = set[str]()
    count = 0

    def permitted(**question: Any) -> bool:  # noqa: ANN401
        nonlocal count
        count += 1
        answer = client.post(
            EVALUATION, client.request(**question), **{"Idempotency-Key": f"k{count}"}
        )
        assert answer.status_code == 200, answer.text
        seen.update(codes(answer.json()) or {"permit"})
        return answer.json()["decision"] is True

    for number in range(28):
        _change(client, drawn, agent, number)
        asked = _asked(client, drawn, agent)
        ways = {one["name"] for one in results(client, "action", **asked, action=None)}
        assert ways == {one for one in ACTIONS if permitted(**asked, action={"name": one})}
        found = {one["id"] for one in results(client, "resource", **asked, resource=OF_CONTACT)}
        names = ("home_city", "purchase_count_12m")
        assert found == {one for one in names if permitted(**asked, resource=resource(one))}
        of_all = {one["id"] for one in results(client, "resource", **asked, resource=ANY)}
        assert of_all == {
            one for one in names if permitted(**asked, resource=resource(one, consent=consent))
        }
    assert seen >= {
        *("permit", "agent_suspended", "obligation_unsupported", "currency_mismatch"),
        *("log_unavailable", "kill_switch", "uses_exhausted", "sensitive_consent_missing"),
    }, seen
