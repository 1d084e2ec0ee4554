"""A member's budget: refused before it is passed, kept over rounds, stages and replays."""

import json
from dataclasses import replace
from typing import Any

import pytest

from broker.domain.errors import BrokerError
from broker.domain.training_round import check_budget, epsilon_of
from federation.errors import FederationError
from federation.gate import Gated
from federation.guard import Before
from federation.privacy import Spent, Step, epsilon_after, rounds_left
from tests.federation.world import CAMPAIGN, Broker, Member, signed

BROKER = Broker()
CREDENTIALS = [BROKER.consent(number) for number in range(20)]
TIGHT = signed(privacy=CAMPAIGN["privacy"] | {"epsilon": "1.2"})
PRIVACY = TIGHT.campaign.privacy
assert PRIVACY is not None
ROUNDS = rounds_left(PRIVACY, Spent())


def rounds_of(member: Member, before: Before, most: int = 20) -> tuple[int, Gated]:
    """Rounds until one is refused: how many trained, and the refusal."""
    for done in range(most):
        found = member.gate(before)
        if found.refused:
            return done, found
        before = found.before
    raise AssertionError("no round was refused")


def test_the_round_that_would_pass_the_budget_does_not_train() -> None:
    member = Member(BROKER, CREDENTIALS, TIGHT)
    done, refusal = rounds_of(member, member.first())
    assert 1 < done == ROUNDS < 20
    assert (refusal.refused, refusal.rows) == ("privacy_budget_spent", ())
    kept = refusal.before.spent
    assert kept.epsilon(1e-5) <= 1.2 < kept.after(Step(0.01, 1.1), 100).epsilon(1e-5)


def test_what_the_pilot_and_an_earlier_campaign_spent_counts() -> None:
    member = Member(BROKER, CREDENTIALS, TIGHT)
    first = member.gate()
    pilot = replace(first.before, stage="pilot")
    assert rounds_of(member, pilot)[0] == ROUNDS - 1
    again = first.before.into(TIGHT)
    assert (again.number, again.spent) == (0, first.before.spent)
    assert rounds_of(member, again)[0] == ROUNDS - 1


def test_a_campaign_without_privacy_spends_nothing() -> None:
    free = Member(BROKER, CREDENTIALS, signed(privacy=None))
    assert free.gate().before.spent == Spent()


def test_a_round_of_too_few_rows_spends_nothing() -> None:
    member = Member(BROKER, CREDENTIALS[:4], TIGHT)
    assert (member.gate().refused, member.gate().before.spent) == ("too_few_rows", Spent())


def test_broker_and_coordinator_account_alike() -> None:
    assert PRIVACY is not None
    for rounds in range(1, ROUNDS + 1):
        told = epsilon_of(TIGHT.campaign, rounds, None)
        assert told == str(epsilon_after(PRIVACY, rounds))
        assert Spent().after(Step(0.01, 1.1), 100 * rounds).epsilon(1e-5) <= float(told)
        check_budget(TIGHT.campaign, rounds)
    with pytest.raises(BrokerError):
        check_budget(TIGHT.campaign, ROUNDS + 1)


@pytest.mark.parametrize("privacy", [None, CAMPAIGN["privacy"]])
def test_what_is_kept_is_read_as_it_was(privacy: Any) -> None:  # noqa: ANN401
    member = Member(BROKER, CREDENTIALS, signed(privacy=privacy))
    for kept in (member.first(), member.gate().before):
        assert Before.from_json(json.loads(json.dumps(kept.to_json()))) == kept


SPOILT: list[dict[str, Any]] = [
    {"spent": [[0.01, 1.1, -1]]},
    {"spent": [[0.01, 1.1, True]]},
    {"spent": [[2.0, 1.1, 1]]},
    {"spent": [["0.01", 1.1, 1]]},
    {"spent": [[0.01, 1.1]]},
    {"spent": {}},
    {"spent": [[float("nan"), 1.1, 1]]},
    {"spent": None},
    {"number": -1},
    {"stage": "later"},
    {"trained": "customer-1"},
    {"out": [1]},
    {"out": None},
    {"campaign": "x"},
    {"more": 1},
]


@pytest.mark.parametrize("change", SPOILT, ids=str)
def test_what_is_kept_and_spoilt_is_refused(change: dict[str, Any]) -> None:
    kept = Member(BROKER, CREDENTIALS, TIGHT).gate().before.to_json()
    with pytest.raises(FederationError):
        Before.from_json(kept | change)
    with pytest.raises(FederationError):
        Before.from_json({name: value for name, value in kept.items() if name != "spent"})
