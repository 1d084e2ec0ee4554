"""A clock that jumps: back, nothing that has ended lives again; ahead, the log comes first."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.usecases.sequencer import LARGEST_STEP_BACK, LONGEST_WAIT
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.builders import DAY, START, TENANT
from tests.broker.deciding import Desk, desk


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def test_nothing_that_has_ended_lives_again_when_the_clock_goes_back(at: Desk) -> None:
    consent = at.consent(valid_days=1)
    at.broker.time[0] = START + DAY
    at.token = at.broker.token(at.partner_id)
    at.broker.keep_log()
    assert at.codes() == ["consent_expired"]
    at.broker.time[0] = START + DAY - 50
    assert at.codes() == ["clock_went_back"]
    at.broker.keep_log()  # the log goes on, which changes nothing
    denied = at.decide()
    assert [reason.code for reason in denied.reasons] == ["clock_went_back"]
    assert [one.id for one in denied.obligations] == ["retry"]
    entry = at.broker.logged("decision")[-1]
    assert (entry.id, entry.body["conditions"]) == (denied.entry_id, ["clock.behind"])
    # A withdrawal is taken whatever the clock says.
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent)
    at.broker.time[0] = START + DAY
    at.broker.keep_log()
    assert at.codes() == ["consent_withdrawn"]


def test_a_clock_that_is_kept_in_time_is_no_jump(at: Desk) -> None:
    at.consent()
    at.broker.time[0] += 30
    at.broker.keep_log()
    at.broker.time[0] -= LARGEST_STEP_BACK
    assert at.codes() == []
    at.broker.time[0] -= 1
    assert at.codes() == ["clock_went_back"]


def test_a_jump_ahead_permits_nothing_before_the_log_has_caught_up(at: Desk) -> None:
    at.consent()
    at.broker.time[0] += LONGEST_WAIT + 1
    assert at.codes() == ["log_unavailable"]
    at.broker.keep_log()
    assert at.codes() == []
