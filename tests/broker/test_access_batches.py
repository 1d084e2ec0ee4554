"""Batches of evaluations (AuthZEN 1.0, section 6): defaults, semantics, errors of one."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.domain.decision import Decision
from broker.store import tables
from broker.usecases.decide import Asking, decide_all
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.access_client import EVALUATIONS, Client, access_client, codes, resource, schema
from tests.broker.builders import TENANT
from tests.broker.deciding import Desk, desk
from tests.broker.test_decide import _meddling


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


# Questions of a batch are read and written together.


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def together(at: Desk, questions: list[Asking]) -> list[list[str]]:
    """The codes of each answer, none for a permit; an error by its own code."""
    answers = asyncio.run(decide_all(at.broker.ctx, questions))
    return [
        [reason.code for reason in one.reasons] if isinstance(one, Decision) else [one.code]
        for one in answers
    ]


def test_each_is_answered_as_it_would_be_alone(
    on_each: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[decide_all.__module__], "TOGETHER", 5)
    at = on_each
    live, ended = (at.broker.consent(at.partner_id, f"crm-{n}") for n in (1, 2))
    at.broker.consent(at.partner_id, "crm-3", uses_left=1)
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", ended)
    theirs = at.broker.consent(at.broker.partner("Tea"), "crm-9")
    asked: list[dict[str, Any]] = [
        {"subject_ref": "crm-1"},
        {"subject_ref": "crm-2"},
        {"subject_ref": "crm-3"},
        {"subject_ref": "nobody"},
        {"subject_ref": "crm-1", "attribute": "phone"},
        {"subject_ref": "crm-1", "purpose_id": "dpv:Marketing"},
        {"subject_ref": "crm-1", "agent": "a program"},
        {"subject_ref": None, "consent_id": live},
        {"subject_ref": None, "consent_id": theirs},
        {"subject_ref": "crm-9"},
        {"subject_ref": "crm-1", "territory": "SG"},
    ]
    questions = [at.asking(**one) for one in asked]
    questions.append(replace(questions[0], partner_id="p-other"))
    questions.append(replace(questions[0], token_hash="of nobody"))
    expected = [code for question in questions for code in together(at, [question])]
    assert [] in expected
    assert ["idempotency_key_required"] in expected
    assert together(at, questions) == expected
    permits = [entry.body["decision"] for entry in at.broker.logged("decision")]
    assert permits.count(True) == 2 * expected.count([])
    assert len(permits) == 2 * sum(one not in NO_DECISION for one in expected)


NO_DECISION = (["idempotency_key_required"], ["unauthorized"])


def test_a_withdrawal_while_a_batch_is_judged_is_seen(on_each: Desk) -> None:
    at = on_each
    ids = [at.broker.consent(at.partner_id, f"crm-{n}") for n in range(6)]
    left, one_at_a_time = [ids[3]], threading.Lock()

    def withdraw() -> None:
        with one_at_a_time:  # no write begins before it is withdrawn
            while left:
                withdraw_by_officer(at.broker.ctx, TENANT, "o-1", left.pop())

    between = _meddling(at, withdraw)
    found = together(between, [between.asking(subject_ref=f"crm-{n}") for n in range(6)])
    between.broker.ctx.db.close()
    assert found == [[], [], [], ["consent_withdrawn"], [], []]
    # And with the first reading of the write: what is shared is read anew there.
    stop = _meddling(at, lambda: at.broker.change(tables.Partner, [], state="suspended"))
    found = together(stop, [stop.asking(subject_ref=f"crm-{n}") for n in (0, 1)])
    stop.broker.ctx.db.close()
    assert found == [["partner_suspended"]] * 2


def test_counted_uses_and_keys_hold_in_a_batch(on_each: Desk) -> None:
    at = on_each
    at.consent(uses_left=2)
    questions = [at.asking(key=f"k{n}") for n in range(3)]
    assert sorted(together(at, questions)) == [[], [], ["uses_exhausted"]]
    # A retry of all gets the first answers; the one that was denied is denied again.
    assert sorted(together(at, questions)) == [[], [], ["uses_exhausted"]]
    twice = [at.asking(key="same"), at.asking(key="same")]
    assert together(at, twice) == [["uses_exhausted"]] * 2
    permits = [entry for entry in at.broker.logged("decision") if entry.body["decision"]]
    assert len(permits) == 2


def test_the_same_key_twice_in_one_batch_is_one_use(on_each: Desk) -> None:
    at = on_each
    at.consent(uses_left=5)
    assert together(at, [at.asking(key="same"), at.asking(key="same"), at.asking(key="own")]) == [
        [],
        [],
        [],
    ]
    permits = [entry for entry in at.broker.logged("decision") if entry.body["decision"]]
    assert len(permits) == 2
