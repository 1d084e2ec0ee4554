"""AuthZEN 1.0 over HTTP: its schemas, its requests, its refusals."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sqlalchemy import Connection

from broker.api.authzen import parse_evaluation, parse_evaluations, parse_search
from broker.domain.errors import InvalidRequest
from broker.store import tables
from broker.store.db import Database
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.access_client import (
    EVALUATION,
    EVALUATIONS,
    Client,
    access_client,
    codes,
    resource,
    schema,
)
from tests.broker.builders import PUBLIC_URL, TENANT, WIRE
from tests.programs import shared


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with access_client(tmp_path) as made:
        yield made


def test_a_permit_and_a_denial_are_as_the_published_schemas_say(client: Client) -> None:
    client.at.consent()
    schema("evaluation-request.schema.json").validate(client.request())
    answers = schema("evaluation-response.schema.json")
    permit, denial = client.evaluate(), client.evaluate(resource=resource("phone"))
    for answer in (permit, denial):
        answers.validate(answer)
    assert permit["decision"] is True
    assert denial["decision"] is False


def test_the_published_example_gets_a_decision(client: Client) -> None:
    published = json.loads(shared("vectors/authzen/evaluation-request.schema.json").read_bytes())
    for example in published["examples"]:
        answer = client.post(EVALUATION, example)
        assert answer.status_code == 200
        assert codes(answer.json()) == ["subject_not_caller"]


def test_an_outside_source_is_named_by_the_resource_or_in_the_context(client: Client) -> None:
    client.at.consent()
    of_resource = client.request()
    of_resource["resource"]["properties"]["source"] = "stranger"
    of_context = client.request()
    of_context["context"]["source"] = "stranger"
    for request in (of_resource, of_context):
        answer = client.post(EVALUATION, request)
        assert codes(answer.json()) == ["source_unregistered"]
    of_resource["context"]["source"] = "another"
    assert client.post(EVALUATION, of_resource).status_code == 400


def test_a_decision_tells_consent_reasons_obligations_and_policies(client: Client) -> None:
    consent_id = client.at.consent()
    context = client.evaluate()["context"]
    assert context["consent"] == consent_id
    assert {one["id"] for one in context["obligations"]} == {
        "retention",
        "territory",
        "watermark",
        "no_onward_sharing",
        "explain",
    }
    withdraw_by_officer(client.at.broker.ctx, TENANT, "o-1", consent_id)
    context = client.evaluate()["context"]
    [reason] = context["reasons"]
    assert reason["code"] == "consent_withdrawn"
    assert reason["law"] == ["PIPL-15", "PIPL-47", "GDPR-7", "GDPR-17"]
    assert reason["zh"] and reason["en"]  # noqa: PT018 (one thing: both languages)
    assert context["policies"]
    assert context["id"] == client.at.broker.logged("decision")[-1].id


def test_context_is_optional_and_its_absence_is_told(client: Client) -> None:
    client.at.consent()
    decision = client.evaluate(context=None)
    assert decision["decision"] is False
    assert "purpose_unregistered" in codes(decision)
    assert client.evaluate(context={"purpose": WIRE})["decision"] is True  # the partner's country


def test_unknown_fields_are_ignored(client: Client) -> None:
    client.at.consent()
    decision = client.evaluate(
        subject={"type": "partner", "id": client.at.partner_id, "x": 1, "properties": {"y": [2]}},
        action={"name": "read", "properties": {"method": "GET"}, "z": None},
        resource={**resource("home_city"), "w": {}},
        context={"purpose": WIRE, "territory": "CN", "time": "1985-10-26T01:22-07:00"},
        extension={"a": "b"},
    )
    assert decision["decision"] is True


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("subject",), "subject"),
        (("action",), "action"),
        (("resource",), "resource"),
        (("subject", "type"), "subject.type"),
        (("subject", "id"), "subject.id"),
        (("action", "name"), "action.name"),
        (("resource", "type"), "resource.type"),
        (("resource", "id"), "resource.id"),
    ],
)
def test_a_missing_required_field_is_refused_by_name(
    client: Client, path: tuple[str, ...], named: str
) -> None:
    body = client.request()
    place = body
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    answer = client.post(EVALUATION, body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_request"
    assert f"{named} is required" in answer.json()["detail"]
    assert client.at.broker.logged("decision") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"subject": "me", "action": {"name": "read"}, "resource": {"type": "a", "id": "b"}}',
        b'{"subject": {"type": 1, "id": "x"}, "action": {"name": "read"}, "resource": {}}',
        b'{"subject": {"type": "a", "id": "\\u0000"}, "action": {"name": "b"}, "resource": {}}',
        b'{"subject": {"type": "a", "id": "\\ud800"}, "action": {"name": "b"}, "resource": {}}',
        b'{"a": "' + b"x" * 2000 + b'"}',
        b"[" * 90_000,
        b'{"subject":' * 30_000,
    ],
    ids=range(11),
)
def test_a_malformed_body_is_a_400(client: Client, body: bytes) -> None:
    for path in (EVALUATION, EVALUATIONS):
        answer = client.post(path, body)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.at.broker.logged("decision") == []


def test_what_cannot_be_read_is_in_the_log_once_a_minute_and_nothing_of_it(client: Client) -> None:
    for _ in range(3):
        for path, body in ((EVALUATION, client.request(context="odd")), (EVALUATIONS, b"[")):
            assert client.post(path, body).status_code == 400
    (entry,) = client.at.broker.logged("decision.malformed")
    assert entry.body == {
        "decision": False,
        "partner": client.at.partner_id,
        "code": "invalid_request",
    }
    assert (entry.subject_id, entry.consent_id) == (None, None)
    client.at.broker.time[0] += 60
    assert client.post(EVALUATION, b"{").status_code == 400
    assert len(client.at.broker.logged("decision.malformed")) == 2
    assert client.post(EVALUATION, b"{", Authorization="Bearer nobody").status_code == 400
    assert len(client.at.broker.logged("decision.malformed")) == 2


def test_who_has_no_token_makes_the_database_write_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[None] = []
    real = Database.transaction

    def counted(self: Database) -> AbstractContextManager[Connection]:
        begun.append(None)
        return real(self)

    monkeypatch.setattr(Database, "transaction", counted)
    assert client.post(EVALUATION, b"junk", Authorization="Bearer nobody").status_code == 400
    assert begun == []
    assert client.post(EVALUATION, b"junk").status_code == 400
    assert begun != []


def test_the_request_id_comes_back(client: Client) -> None:
    answer = client.post(EVALUATION, client.request(), **{"X-Request-ID": "bfe9eb29-ab87-4ca3"})
    assert answer.headers["X-Request-ID"] == "bfe9eb29-ab87-4ca3"
    refused = client.post(EVALUATION, b"{}", **{"X-Request-ID": "again"})
    assert refused.headers["X-Request-ID"] == "again"


def test_a_token_is_needed_and_it_is_a_partners(client: Client) -> None:
    bare = client.http.post(EVALUATION, json=client.request())
    assert bare.status_code == 401
    assert bare.headers["WWW-Authenticate"] == "Bearer"
    unknown = client.post(EVALUATION, client.request(), Authorization="Bearer nothing")
    assert unknown.status_code == 401
    assert unknown.json()["code"] == "unauthorized"
    officer = client.at.broker.token(client.at.broker.officer(), "officer")
    told = client.post(EVALUATION, client.request(), Authorization=f"Bearer {officer}")
    assert (told.status_code, told.json()["code"]) == (403, "forbidden")
    basic = client.post(EVALUATION, client.request(), Authorization="Basic eDp5")
    assert basic.status_code == 401
    elsewhere = client.post(f"/t/acme{EVALUATION}", client.request())
    assert elsewhere.status_code == 401


def test_a_suspended_partner_gets_a_recorded_denial(client: Client) -> None:
    client.at.consent()
    client.at.broker.change(tables.Partner, [], state="suspended")
    assert codes(client.evaluate()) == ["partner_suspended"]
    assert len(client.at.broker.logged("decision")) == 1


def test_only_the_caller_or_its_agent_is_the_subject(client: Client) -> None:
    client.at.consent()
    me = client.at.partner_id
    agent = {"type": "agent", "id": "nightly-batch", "properties": {"partner": me}}
    assert client.evaluate(subject=agent)["decision"] is True
    for subject in (
        {"type": "partner", "id": "p-other"},
        {"type": "user", "id": me},
        {"type": "agent", "id": me},
        {"type": "agent", "id": "x", "properties": {"partner": "p-other"}},
    ):
        assert codes(client.evaluate(subject=subject)) == ["subject_not_caller"]


def test_a_resource_that_is_no_attribute_is_not_registered(client: Client) -> None:
    client.at.consent()
    decision = client.evaluate(resource={**resource("home_city"), "type": "document"})
    assert "attribute_unregistered" in codes(decision)


@pytest.mark.parametrize("wire", ["dpv:ServicePersonalisation", "everything", "", "#algo:x@1"])
def test_a_purpose_that_cannot_be_read_is_not_registered(client: Client, wire: str) -> None:
    client.at.consent()
    decision = client.evaluate(context={"purpose": wire, "territory": "CN"})
    assert {"purpose_not_granted", "purpose_unregistered"} <= set(codes(decision))


def test_a_counted_consent_asks_for_an_idempotency_key(client: Client) -> None:
    client.at.consent(uses_left=1)
    answer = client.post(EVALUATION, client.request())
    assert answer.status_code == 400
    assert answer.json()["code"] == "idempotency_key_required"
    first = client.post(EVALUATION, client.request(), **{"Idempotency-Key": "k"})
    again = client.post(EVALUATION, client.request(), **{"Idempotency-Key": "k"})
    assert first.json()["decision"] is True
    assert again.json() == first.json()
    other = client.post(
        EVALUATION, client.request(action={"name": "profile"}), **{"Idempotency-Key": "k"}
    )
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    too_long = client.post(EVALUATION, client.request(), **{"Idempotency-Key": "k" * 201})
    assert too_long.status_code == 400


def test_the_configuration_names_the_endpoints(client: Client) -> None:
    told = client.http.get("/.well-known/authzen-configuration").json()
    assert "urn:consent-broker:obligation:retention" in told.pop("supported_obligations")
    assert told == {
        "policy_decision_point": PUBLIC_URL,
        "access_evaluation_endpoint": f"{PUBLIC_URL}{EVALUATION}",
        "access_evaluations_endpoint": f"{PUBLIC_URL}{EVALUATIONS}",
        "access_request_endpoint": f"{PUBLIC_URL}/access/v1/requests",
        "capabilities": ["urn:openid:authzen:capability:access-request"],
        **{f"search_{kind}_endpoint": f"{PUBLIC_URL}{SEARCH}{kind}" for kind in KINDS},
    }
    assert client.http.get("/.well-known/authzen-configuration/t/nobody").status_code == 404


def test_the_document_describes_the_requests(client: Client) -> None:
    paths = client.http.get("/openapi.json").json()["paths"]
    for path in (EVALUATION, EVALUATIONS, *(SEARCH + kind for kind in KINDS)):
        operation = paths[path]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        Draft202012Validator(content["schema"]).validate(content["example"])
        answer = operation["responses"]["200"]["content"]["application/json"]
        Draft202012Validator(answer["schema"]).validate(answer["example"])


SEARCH, KINDS = "/access/v1/search/", ("subject", "resource", "action")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("subject", "action", "resource", "context", "type", "id", "name"),
                    *("properties", "evaluations", "options", "evaluations_semantic", "purpose"),
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")) | st.binary())
def test_whatever_arrives_is_read_or_refused(body: bytes) -> None:
    parsers: tuple[Callable[[bytes], object], ...] = (
        parse_evaluation,
        parse_evaluations,
        lambda body: parse_search(body, "resource"),
        lambda body: parse_search(body, "action"),
    )
    for parse in parsers:
        try:
            parse(body)
        except InvalidRequest as error:
            assert str(error)  # noqa: PT017 (either outcome is right, another error is not)
