"""The policies at a second evaluator: npm's @cedar-policy/cedar-wasm, in one process of Node.

Both are asked the very same requests over the same entities, and have to agree, with each other and
with a model of the rules in plain Python, on the decision and on every condition that failed.
"""

import json
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from broker.domain.access import best_consent, separate_consents
from broker.domain.policies import CONSENT_POLICIES, CONSENT_SCHEMA
from broker.domain.policy import consent_policies
from broker.domain.policy_request import asked_of, entities_of, request_of
from tests.broker.policy_worlds import Case, cases
from tests.broker.test_policy_model import model
from tests.faults.lengths import short_or_long
from tests.npm import installed
from tests.programs import require

HERE = Path(__file__).parent
REASON = "ask a second evaluator of the policies"
CASES = short_or_long(10_000, 1_000_000)
BATCH = 500


class Evaluator:
    """A Node process that has the policies and judges batches of requests."""

    def __init__(self) -> None:
        node = require("node", REASON)
        installed(HERE, REASON)
        self._process = subprocess.Popen(
            [node, HERE / "cedar.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send({"policies": CONSENT_POLICIES, "schema": CONSENT_SCHEMA})

    def _send(self, told: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()

    def judge(self, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self._process.stdout is not None
        self._send(asked)
        found: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return found

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    made = Evaluator()
    yield made
    made.stop()


def asked_of_both(case: Case) -> dict[str, Any]:
    question, facts, now = case
    consent = best_consent(question, facts, now)
    separate = separate_consents(question, facts, consent, now)
    asked = asked_of(question, facts, consent, separate, now)
    return {"request": request_of(asked), "entities": entities_of(asked.slice)}


def names(found: dict[str, Any]) -> set[str]:
    """The conditions by their `@id`: the evaluator numbers policies in the order of the file."""
    in_order = ["permit", *consent_policies().conditions]
    return {in_order[int(reason.removeprefix("policy"))] for reason in found["reasons"]}


@pytest.mark.timeout(short_or_long(300, 7_200))
def test_two_evaluators_and_a_model_agree(evaluator: Evaluator) -> None:
    drawn = cases(seed=2, count=CASES)
    permits = 0
    while batch := list(islice(drawn, BATCH)):
        answers = evaluator.judge([asked_of_both(case) for case in batch])
        for case, answer in zip(batch, answers, strict=True):
            verdict = consent_policies().judge(*case)
            assert "failure" not in answer, answer
            assert answer["errors"] == 0
            assert (answer["decision"] == "allow") is verdict.permit, case
            told = {reason.id for reason in verdict.reasons}
            assert names(answer) == (told or {"permit"}), case
            assert model(*case) == told, case
            permits += verdict.permit
    assert permits > CASES / 20


def test_both_refuse_what_the_schema_does_not_know(evaluator: Evaluator) -> None:
    (case,) = cases(seed=3, count=1)
    odd = asked_of_both(case)
    context = json.loads(odd["request"]["context"])
    for change in ({"weather": "fine"}, {"now": "soon"}, {"killSwitch": None}):
        odd["request"]["context"] = json.dumps(context | change)
        (answer,) = evaluator.judge([odd])
        assert "failure" in answer or answer["decision"] == "deny"
