"""Batches of evaluations (AuthZEN 1.0, section 6): defaults, semantics, errors of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.access_client import EVALUATIONS, Client, access_client, codes, resource, schema


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with access_client(tmp_path) as made:
        yield made


def batch(client: Client, names: list[str], semantic: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = client.request(resource=None)
    body["evaluations"] = [{"resource": resource(name)} for name in names]
    if semantic is not None:
        body["options"] = {"evaluations_semantic": semantic}
    answer = client.post(EVALUATIONS, body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def decisions(answer: dict[str, Any]) -> list[bool]:
    assert list(answer) == ["evaluations"]
    for one in answer["evaluations"]:
        schema("evaluation-response.schema.json").validate(one)
    return [one["decision"] for one in answer["evaluations"]]


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        (None, [True, False, True, False]),
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_a_batch_follows_its_semantic(
    client: Client, semantic: str | None, expected: list[bool]
) -> None:
    client.at.consent()
    answer = batch(client, ["home_city", "phone", "purchase_count_12m", "phone"], semantic)
    assert decisions(answer) == expected
    assert len(client.at.broker.logged("decision")) == len(expected)


def test_a_batch_stops_late_when_the_deciding_one_is_last(client: Client) -> None:
    client.at.consent()
    late = batch(client, ["phone", "phone", "home_city"], "permit_on_first_permit")
    assert decisions(late) == [False, False, True]
    all_of_them = batch(client, ["home_city", "purchase_count_12m"], "deny_on_first_deny")
    assert decisions(all_of_them) == [True, True]


def test_what_stands_at_the_top_is_the_default_of_each(client: Client) -> None:
    client.at.consent()
    body = client.request()
    body["evaluations"] = [
        {},
        {"action": {"name": "train"}},
        {"context": {"territory": "CN"}},  # replaces the whole default, so no purpose is stated
        {"subject": {"type": "partner", "id": "p-other"}},
    ]
    answers = client.post(EVALUATIONS, body).json()["evaluations"]
    assert [one["decision"] for one in answers] == [True, False, False, False]
    assert codes(answers[1]) == ["action_not_granted"]
    assert "purpose_unregistered" in codes(answers[2])
    assert codes(answers[3]) == ["subject_not_caller"]


@pytest.mark.parametrize("listed", [{}, {"evaluations": []}])
def test_a_batch_without_a_list_is_one_evaluation(
    client: Client, listed: dict[str, list[object]]
) -> None:
    client.at.consent()
    answer = client.post(EVALUATIONS, client.request() | listed)
    assert answer.json()["decision"] is True
    assert "evaluations" not in answer.json()


def test_a_batch_is_refused_whole_before_anything_is_evaluated(client: Client) -> None:
    client.at.consent()
    bodies: list[dict[str, Any]] = [
        {**client.request(resource=None), "evaluations": [{"resource": resource("phone")}, {}]},
        {**client.request(), "evaluations": {}},
        {**client.request(), "evaluations": ["x"]},
        {**client.request(), "evaluations": [{}] * 101},
        {**client.request(), "evaluations": [{}], "options": {"evaluations_semantic": "maybe"}},
        {**client.request(), "evaluations": [{}], "options": []},
    ]
    for body in bodies:
        answer = client.post(EVALUATIONS, body)
        assert answer.status_code == 400, body
    assert (
        "evaluations.1.resource is required" in client.post(EVALUATIONS, bodies[0]).json()["detail"]
    )
    assert client.at.broker.logged("decision") == []


def test_an_evaluation_that_cannot_be_made_is_a_denial_in_its_batch(client: Client) -> None:
    client.at.consent(uses_left=5)
    body = client.request()
    body["evaluations"] = [{}, {"resource": resource("phone")}]
    answers = client.post(EVALUATIONS, body).json()["evaluations"]
    assert [one["decision"] for one in answers] == [False, False]
    assert answers[0]["context"]["error"]["status"] == 400
    assert answers[0]["context"]["error"]["code"] == "idempotency_key_required"
    keyed = client.post(EVALUATIONS, body, **{"Idempotency-Key": "k"})
    again = client.post(EVALUATIONS, body, **{"Idempotency-Key": "k"})
    assert [one["decision"] for one in keyed.json()["evaluations"]] == [True, False]
    assert again.json()["evaluations"][0] == keyed.json()["evaluations"][0]


def test_the_batchs_token_is_checked_once_for_all(client: Client) -> None:
    answer = client.post(
        EVALUATIONS, client.request() | {"evaluations": [{}, {}]}, Authorization="Bearer nothing"
    )
    assert answer.status_code == 401
