"""The policies at a second evaluator: npm's @cedar-policy/cedar-wasm, in one process of Node.

Both are asked the very same requests over the same entities, and have to agree, with each other and
with a model of the rules in plain Python, on the decision and on every condition that failed.
"""

import contextlib
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
    """A Node process that has the policies and judges batches of requests.

    One that ends by itself is started again twice, and the batch asked again: what is tested is
    what it answers. Its last words are shown when it does not.
    """

    def __init__(self) -> None:
        self._node = require("node", REASON)
        installed(HERE, REASON)
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [self._node, HERE / "cedar.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._send(process, {"policies": CONSENT_POLICIES, "schema": CONSENT_SCHEMA})
        return process

    def _send(self, process: "subprocess.Popen[str]", told: object) -> None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is told by what cannot be read
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()

    def judge(self, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        last_words = ""
        for _ in range(3):
            assert self._process.stdout is not None
            self._send(self._process, asked)
            if line := self._process.stdout.readline():
                found: list[dict[str, Any]] = json.loads(line)
                return found
            last_words = self.stop()
            self._process = self._started()
        raise AssertionError(f"the second evaluator ended: {last_words}")

    def stop(self) -> str:
        """End it; its exit code and what it said."""
        _, said = self._process.communicate(timeout=60)
        return f"exit code {self._process.returncode}: {said[-2000:]}"


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


@pytest.mark.timeout(short_or_long(1_200, 10_800))
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
