"""A pilot on one business line: whose rows train in it, and what a change of line shows."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.board import SignedCampaign
from federation.campaign import Campaign
from federation.errors import CampaignInvalid, Malformed
from federation.gate import gate
from federation.rollout import Stage
from tests.federation.world import CAMPAIGN, NOW, Broker, Member, campaign_json, signed

BROKER = Broker()
ROWS = 24
CREDENTIALS = [BROKER.consent(number) for number in range(ROWS)]
LINES = ["retail" if place % 2 else "credit-cards" for place in range(ROWS)]
RETAIL = tuple(range(1, ROWS, 2))
PILOT, CONSORTIUM = CAMPAIGN["rollout"]


def rollout(line: object = "retail") -> list[dict[str, Any]]:
    return [PILOT | {"business_line": line}, CONSORTIUM]


def of_line(**changes: object) -> SignedCampaign:
    return signed(**{"rollout": rollout(), "privacy": None, **changes})


def site(lines: Sequence[str] | None = LINES, **changes: object) -> Member:
    return Member(BROKER, CREDENTIALS, of_line(**changes), lines=lines)


def withdrawing(*indexes: int) -> Broker:
    broker = Broker(BROKER.root_key, BROKER.key)
    broker.__dict__ |= {"root": BROKER.root, "chain": BROKER.chain}
    broker.statuses.set_all(indexes, 1)
    return broker


def test_a_campaign_without_a_line_has_the_hash_that_it_had() -> None:
    plain = Campaign.from_json(campaign_json())
    assert "business_line" not in plain.canonical().decode()
    with_line = Campaign.from_json(campaign_json(rollout=rollout()))
    assert Campaign.parse(with_line.canonical()) == with_line
    assert [one.business_line for one in with_line.rollout] == ["retail", None]
    assert with_line.hash() != plain.hash()


@pytest.mark.parametrize(
    "line",
    [None, "", "Retail", "-retail", "retail ", "re tail", "零售", "r" * 33, "a.b", 1, True, [], {}],
)
def test_a_line_that_is_none_is_refused(line: object) -> None:
    """Null too: what has two spellings has two hashes."""
    with pytest.raises(Malformed, match="business_line is 1 to 32"):
        Campaign.from_json(campaign_json(rollout=rollout(line)))


def test_the_consortium_is_of_all_lines() -> None:
    stages = [PILOT, CONSORTIUM | {"business_line": "retail"}]
    with pytest.raises(CampaignInvalid, match="consortium is of all business lines"):
        Campaign.from_json(campaign_json(rollout=stages))
    with pytest.raises(Malformed, match="unknown"):
        Stage.from_json(PILOT | {"business_lines": "retail"}, 3)


def test_only_rows_of_the_line_train_in_the_pilot() -> None:
    found = site().gate(stage="pilot")
    assert (found.rows, found.refused) == (RETAIL, "")
    assert found.consents == tuple(f"c-{number:020}" for number in RETAIL)
    assert found.left_out == {"other_business_line": ROWS - len(RETAIL)}
    assert found.before.trained == frozenset(f"customer-{number}" for number in RETAIL)


def test_a_row_of_no_line_is_of_no_pilot() -> None:
    lines = [line if place > 4 else "" for place, line in enumerate(LINES)]
    assert site(lines).gate(stage="pilot").rows == RETAIL[2:]


@pytest.mark.parametrize("privacy", [None, CAMPAIGN["privacy"]])
@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (None, "business_lines_missing"),
        (LINES[1:], "business_lines_differ"),
        ([*LINES, "retail"], "business_lines_differ"),
        ([], "business_lines_differ"),
    ],
)
def test_who_does_not_say_the_lines_takes_no_part(
    lines: Sequence[str] | None, why: str, privacy: object
) -> None:
    member = site(lines, privacy=privacy)
    found = member.gate(stage="pilot")
    assert (found.rows, found.consents, found.refused) == ((), (), why)
    assert found.left_out == {why: ROWS}
    assert found.before == member.first(), "nothing is spent"
    # A stage of all lines asks for none.
    assert member.gate().rows == tuple(range(ROWS))


def test_a_line_of_too_few_rows_trains_nothing() -> None:
    few = ["retail"] * 4 + ["credit-cards"] * (ROWS - 4)
    found = site(few).gate(stage="pilot")
    assert (found.refused, found.rows) == ("too_few_rows", ())
    assert found.left_out == {"other_business_line": ROWS - 4, "too_few_rows": 4}
    assert site(few, minimum_rows=ROWS).gate().rows == tuple(range(ROWS))
    assert site(minimum_rows=ROWS).gate(stage="pilot").refused == "too_few_rows"


def test_the_other_lines_join_together_in_the_consortium() -> None:
    member = site()
    pilot = member.gate(stage="pilot")
    everybody = member.gate(pilot.before, number=1)
    assert everybody.rows == tuple(range(ROWS))
    assert not everybody.left_out


def test_fewer_than_a_cohort_of_other_lines_wait() -> None:
    lines = ["credit-cards"] * 4 + ["retail"] * (ROWS - 4)
    member = site(lines)
    pilot = member.gate(stage="pilot")
    everybody = member.gate(pilot.before, number=1)
    assert everybody.rows == pilot.rows
    assert everybody.left_out == {"waits_for_others": 4}


def test_a_row_that_leaves_the_line_takes_a_cohort_along_for_good() -> None:
    """As a withdrawal does: who compares two rounds sees a group change, and not the one."""
    member = site()
    first = member.gate(stage="pilot")
    member.lines = [("credit-cards" if place == 3 else line) for place, line in enumerate(LINES)]
    second = member.gate(first.before, stage="pilot")
    assert 3 not in second.rows
    assert second.left_out == {
        "other_business_line": ROWS - len(RETAIL) + 1,
        "difference_guard": 4,
    }
    assert len(second.rows) == len(RETAIL) - 5
    # Back in the line, and in the stage of all, it is told from nobody who went too.
    member.lines = LINES
    assert member.gate(second.before, stage="pilot").rows == second.rows
    everybody = member.gate(second.before, number=1)
    assert everybody.left_out == {"difference_guard": 5}
    assert set(everybody.rows) == set(range(ROWS)) - (set(RETAIL) - set(second.rows))


def test_who_comes_into_the_line_waits_for_a_cohort() -> None:
    member = site()
    first = member.gate(stage="pilot")
    member.lines = ["retail" if place < 8 else line for place, line in enumerate(LINES)]
    waiting = member.gate(first.before, stage="pilot")
    assert waiting.rows == RETAIL
    assert waiting.left_out["waits_for_others"] == 4
    member.lines = ["retail"] * 10 + LINES[10:]
    assert len(member.gate(waiting.before, stage="pilot").rows) == len(RETAIL) + 5


def test_who_withdraws_between_the_stages_takes_a_cohort_along() -> None:
    member = site()
    pilot = member.gate(stage="pilot")
    member.broker = withdrawing(3)
    everybody = member.gate(pilot.before, number=1)
    assert everybody.left_out == {"consent_ended": 1, "difference_guard": 4}
    # Drawn from who was there before: those who join are no cover.
    assert set(range(0, ROWS, 2)) <= set(everybody.rows)


def test_of_two_rows_of_a_customer_the_first_decides() -> None:
    """Else the consortium trained on another row of theirs, alone among all who were there."""
    second = BROKER.consent(900, sub="customer-0")
    member = Member(BROKER, [*CREDENTIALS, second], of_line(), lines=[*LINES, "retail"])
    pilot = member.gate(stage="pilot")
    assert pilot.rows == RETAIL
    assert pilot.left_out["second_row"] == 1
    assert member.gate(pilot.before, number=1).rows == tuple(range(ROWS))


def test_with_accounting_one_row_changes_by_its_line_and_no_other() -> None:
    member = site(privacy=CAMPAIGN["privacy"])
    first = member.gate(stage="pilot")
    member.lines = [("credit-cards" if place == 3 else line) for place, line in enumerate(LINES)]
    second = member.gate(first.before, stage="pilot")
    assert second.rows == tuple(place for place in RETAIL if place != 3)


KNOWN = site()
KNOWN.gate(stage="pilot")
PINNED = KNOWN.pin(stage="pilot")


@given(st.lists(st.sampled_from(["retail", "credit-cards", ""]), min_size=ROWS, max_size=ROWS))
@settings(max_examples=60, deadline=None)
def test_a_row_trains_exactly_when_it_is_of_the_line(lines: list[str]) -> None:
    wanted = tuple(place for place, line in enumerate(lines) if line == "retail")
    opened = KNOWN.open(stage="pilot")
    found = gate(
        opened, KNOWN.keys, KNOWN.cache, PINNED, before=KNOWN.first(), now=NOW, lines=lines
    )
    assert found.rows == (wanted if len(wanted) >= 5 else ())
    assert sum(found.left_out.values()) + len(found.rows) == ROWS


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_no_two_rounds_differ_by_fewer_than_a_cohort(data: st.DataObject) -> None:
    """Whatever happens to lines from round to round, into the consortium too."""
    member, cohort = site(), 5
    before, seen = member.first(), None
    for number, stage in enumerate(["pilot", "pilot", "pilot", "consortium"], start=1):
        kinds = st.sampled_from(["retail", "credit-cards"])
        member.lines = data.draw(st.lists(kinds, min_size=ROWS, max_size=ROWS))
        found = member.gate(before, stage=stage, number=1 if stage == "consortium" else number)
        if found.refused:
            assert (found.refused, found.before) == ("too_few_rows", before)
            continue
        rows = set(found.rows)
        if seen is not None:
            assert all(not some or len(some) >= cohort for some in (rows - seen, seen - rows))
        before, seen = found.before, rows
