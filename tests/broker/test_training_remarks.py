"""Bad input to rounds is said, in log and page: who was left out, what was refused or spent."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from broker.cli.federation_report import _shown
from broker.store import campaigns as rows
from broker.store import training_rounds
from broker.store.acting import acting_for_all
from broker.usecases import campaign as campaigns
from broker.usecases.rollout import promote
from broker.usecases.training_report import reports
from broker.web.training_remarks import NOTICES, remarks_of
from broker.web.training_report import page
from federation.errors import StageShut
from federation.remarks import NOTICES as NOTICED
from federation.remarks import REASONS
from tests.broker.flow_world import World
from tests.broker.training import BEGAN, PRIVACY, invented, model, training

ONE = {"stage": "consortium", "number": 1, "model_in": BEGAN}


def code(answer: Any) -> tuple[int, str]:  # noqa: ANN401
    return answer.status_code, answer.json()["code"]


def printed(told: list[dict[str, Any]]) -> str:
    """What `federation status` shows."""
    output = StringIO()
    Console(file=output, width=200, highlight=False).print(_shown(told, 0), soft_wrap=True)
    return output.getvalue()


def bodies(broker: World, *types: str) -> list[dict[str, Any]]:
    return [dict(one.body) for one in broker.logged(*types)]


def test_who_was_left_out_is_kept_logged_and_shown(made: World) -> None:
    third, other = made.second_partner("Third"), made.second_partner("Other")
    at = training(made, made.partner, other, third, rounds=4)
    opened = at.open(1)
    assert opened["left_out"] == opened["notices"] == {}
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    # A code of a newer coordinator's, and one that is known.
    said = {other: "receipt_forged", third: "refused_by_the_moon"}
    stranger = at.close(opened, model(1), left_out=said | {"p-nobody": "no_answer"})
    assert code(stranger) == (400, "invalid_request")
    assert "p-nobody" not in stranger.text
    notices = {made.partner: "far_out"}
    assert at.close(opened, model(1), left_out=said, notices=notices).status_code == 200
    kept = {other: "receipt_forged", third: "refused_other"}
    last = at.call("GET", "").json()["last_round"]
    assert (last["left_out"], last["notices"]) == (kept, notices)
    [body] = bodies(made, "training.round_closed")
    assert (body["left_out"], body["notices"]) == (kept, notices)
    # What was said first stays, as the round does.
    assert at.close(opened, model(1), left_out={third: "no_answer"}).status_code == 200
    assert at.call("GET", "").json()["last_round"]["left_out"] == kept

    at.open(2, model(1))
    failed = at.call(
        "POST", "/rounds/consortium/2/fail", {"code": "few", "left_out": {other: "no_answer"}}
    ).json()
    assert failed["left_out"] == {other: "no_answer"}
    [body] = bodies(made, "training.round_failed")
    assert body["left_out"] == {other: "no_answer"}

    [told] = reports(made.ctx, "demo", at.campaign)
    seen = [page(told, made.time[0]), printed([told])]
    for text in seen:
        for part in (
            *(other, third, "receipt_forged", "its key did not sign the receipt", "不是其密钥所签"),
            *("took no part: 其他原因 for another reason", "no_answer", "没有答复 no answer"),
            "far_out",
        ):
            assert part in text, part
    assert "far from the others" in seen[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"left_out": {"": "no_answer"}},
        {"left_out": {"p-1": "No"}},
        {"left_out": {"p-1": "x" * 65}},
        {"left_out": ["p-1"]},
        {"notices": {"p-1": 1}},
        {"left_out": {f"p-{number}": "no_answer" for number in range(1_001)}},
    ],
)
def test_remarks_that_are_none(broker: World, wrong: dict[str, Any]) -> None:
    at = training(broker)
    opened = at.open(1)
    assert code(at.close(opened, model(1), **wrong)) == (400, "invalid_request")
    failed = at.call("POST", "/rounds/consortium/1/fail", {"code": "few", **wrong})
    assert code(failed) == (400, "invalid_request")
    assert at.call("GET", "").json()["last_round"]["state"] == "open"


def test_each_code_has_words_in_two_languages() -> None:
    told = {"left_out": {one: one for one in REASONS}, "notices": {one: one for one in NOTICED}}
    found = remarks_of(told)
    assert len(found) == len(REASONS) + len(NOTICED)
    for _, _, text in found:
        assert any("\u4e00" <= one <= "\u9fff" for one in text), text
        assert any(one.isascii() and one.isalpha() for one in text), text
    assert set(NOTICES) == NOTICED


def test_what_a_newer_broker_has_stored_is_shown_as_another_reason(made: World) -> None:
    """And what one from before reasons has left behind is no reason of a state that was chosen."""
    at = training(made)
    opened = at.open(1)
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    assert at.close(opened, model(1)).status_code == 200
    with acting_for_all(), made.ctx.db.transaction() as tx:
        remarks = {
            "left_out": json.dumps({made.partner: "refused_by_the_moon"}),
            "notices": json.dumps({made.partner: "full_moon"}),
        }
        [only] = training_rounds.of_campaign(tx, at.campaign)
        training_rounds.change(tx, only.id, **remarks)
        rows.change(tx, at.campaign, state="paused", reason="new_moon")
    answer = at.call("GET", "")
    assert (answer.status_code, answer.json()["reason"]) == (200, "new_moon")
    [told] = reports(made.ctx, "demo", at.campaign)
    for text in (page(told, made.time[0]), printed([told])):
        for part in ("for another reason", "full_moon", "其他提示"):
            assert part in text, part
    for state in ("running", "stopped"):
        with acting_for_all(), made.ctx.db.transaction() as tx:
            rows.change(tx, at.campaign, state=state)
        assert at.call("GET", "").json()["reason"] is None


def test_refused_openings_keys_and_closings_are_logged_once_a_minute(made: World) -> None:
    other = made.second_partner()
    at = training(made, rounds=3)
    refused = ("training.opening_refused",)
    for number in (2, 2, 3):
        assert code(at.call("POST", "/rounds", ONE | {"number": number}))[0] == 409
    # What is refused does not say what was asked: a caller cannot fill the log by asking otherwise.
    [body] = bodies(made, *refused)
    assert (body["campaign"], body["code"]) == (at.campaign, "state_conflict")
    assert "number 1" in body["detail"]
    made.advance(60)
    assert code(at.call("POST", "/rounds", ONE | {"number": 2}))[0] == 409
    assert len(bodies(made, *refused)) == 2
    nowhere = replace(at, campaign=f"{at.campaign}x")
    assert code(nowhere.call("POST", "/rounds", ONE)) == (404, "not_found")
    assert len(bodies(made, *refused)) == 2

    at.open(1)
    for _ in range(2):
        answer = at.call("GET", "/rounds/consortium/1/key", caller=other)
        assert code(answer) == (409, "member_not_admitted")
    assert at.call("GET", "/rounds/consortium/2/key", caller=other).status_code == 404
    # Whom the campaign does not name leaves no trace.
    assert bodies(made, "training.key_refused") == []
    at.key(made.partner, at.call("GET", "").json()["last_round"])
    assert bodies(made, "training.key_refused") == []

    opened = at.call("GET", "").json()["last_round"]
    for _ in range(2):
        assert code(at.close(opened, model(1))) == (409, "too_few_members")
    [body] = bodies(made, "training.closing_refused")
    assert (body["number"], body["code"]) == (1, "too_few_members")


def test_a_member_that_asks_for_every_round_there_was_gives_one_entry(made: World) -> None:
    at = training(made)
    for number in (1, 2, 3):
        at.open(number)
        path = f"/rounds/consortium/{number}"
        assert at.call("POST", f"{path}/fail", {"code": "few"}).status_code == 200
    for number in (1, 2, 3):
        answer = at.call("GET", f"/rounds/consortium/{number}/key", caller=made.partner)
        assert code(answer) == (409, "state_conflict")
    assert bodies(made, "training.key_refused") == [
        {"campaign": at.campaign, "member": made.partner, "code": "state_conflict"}
    ]


def test_too_few_members_and_a_paused_campaign_are_told_apart(broker: World) -> None:
    other = broker.second_partner()
    at = training(broker, broker.partner, other, minimum_members=2)
    campaigns.set_state(broker.ctx, "demo", at.campaign, "paused")
    assert code(at.call("POST", "/rounds", ONE)) == (409, "state_conflict")
    campaigns.set_state(broker.ctx, "demo", at.campaign, "running")
    revoked = f"/v1/federation/members/{other}/revocation"
    assert broker.api("POST", revoked, broker.officer, json={}).status_code == 200
    assert code(at.call("POST", "/rounds", ONE)) == (409, "too_few_members")
    found = bodies(broker, "training.opening_refused")
    assert [one["code"] for one in found] == ["state_conflict", "too_few_members"]


def test_a_campaign_whose_budget_is_spent_is_finished_and_says_so(made: World) -> None:
    """By the round after which none is afforded, closed or failed; the last model is named."""
    at = training(made, privacy=PRIVACY, rounds=20)
    for number in (1, 2):
        opened = at.open(number, model(number - 1) if number > 1 else BEGAN)
        assert at.hand_in(opened, invented(at, opened)).status_code == 200
        assert at.close(opened, model(number)).status_code == 200
    running = at.call("GET", "").json()
    assert (running["state"], running["reason"]) == ("running", None)
    at.open(3, model(2))
    assert at.call("POST", "/rounds/consortium/3/fail", {"code": "few"}).status_code == 200
    shown = at.call("GET", "").json()
    assert (shown["state"], shown["reason"]) == ("finished", "privacy_budget_spent")
    assert bodies(made, "campaign.state")[-1] == {
        "campaign": at.campaign,
        "from": "running",
        "to": "finished",
        "reason": "privacy_budget_spent",
    }
    again = ONE | {"number": 4, "model_in": model(2)}
    assert code(at.call("POST", "/rounds", again)) == (409, "privacy_budget_spent")
    [body] = bodies(made, "training.opening_refused")
    assert body["code"] == "privacy_budget_spent"
    [told] = reports(made.ctx, "demo", at.campaign)
    for text in (page(told, made.time[0]), printed([told])):
        for part in ("privacy budget spent", "2/20", "隐私预算已用完", f"last model {model(2)}"):
            assert part in text, part


def test_what_an_older_broker_left_running_with_its_budget_spent_is_finished(
    broker: World,
) -> None:
    at = training(broker, privacy=PRIVACY, rounds=20)
    for number in (1, 2, 3):
        at.open(number)
        at.call("POST", f"/rounds/consortium/{number}/fail", {"code": "few"})
    with broker.ctx.db.transaction() as tx:
        rows.change(tx, at.campaign, state="running", reason=None)
    assert code(at.call("POST", "/rounds", ONE | {"number": 4})) == (409, "privacy_budget_spent")
    shown = at.call("GET", "").json()
    assert (shown["state"], shown["reason"]) == ("finished", "privacy_budget_spent")
    [told] = reports(broker.ctx, "demo", at.campaign)
    assert "no model yet" in printed([told])


def test_what_a_pilot_gave_passes_though_it_has_spent_the_budget(made: World) -> None:
    named = [made.partner]
    gates = [{"metric": "auc", "relation": "at_least", "bound": "0.8"}]
    stages = [
        {"stage": "pilot", "members": named, "gates": gates, "approvals": 1},
        {"stage": "consortium", "members": named, "gates": [], "approvals": 1},
    ]
    at = training(made, privacy=PRIVACY, rounds=20, rollout=stages)
    before = BEGAN
    for number in (1, 2, 3):
        opened = at.open(number, before, "pilot")
        assert at.hand_in(opened, invented(at, opened)).status_code == 200
        before = model(number)
        assert at.close(opened, before, metrics={"auc": "0.85"}).status_code == 200
    shown = at.call("GET", "").json()
    assert (shown["state"], shown["reason"]) == ("finished", "privacy_budget_spent")
    with pytest.raises(StageShut):
        promote(made.ctx, "demo", before, [])
    passed = promote(made.ctx, "demo", before, [at.approval("pilot", before)])
    assert passed.state == "pilot"
    shown = at.call("GET", "").json()
    assert (shown["state"], shown["stage"]) == ("finished", "consortium")
    # The next stage affords no round either: nothing is spent beyond what was signed.
    answer = at.call("POST", "/rounds", ONE | {"model_in": before})
    assert code(answer) == (409, "privacy_budget_spent")


def test_a_coordinator_pauses_what_gets_nowhere_and_an_operator_starts_it_again(
    made: World,
) -> None:
    at = training(made)
    body = {"reason": "no_round_accepted"}
    for wrong in ({"reason": "tired"}, {}, body | {"until": 1}):
        assert code(at.call("POST", "/pause", wrong)) == (400, "invalid_request")
    for caller in (made.partner, made.officer):
        assert at.call("POST", "/pause", body, caller=caller).status_code == 403
    paused = at.call("POST", "/pause", body)
    assert paused.status_code == 200, paused.text
    assert (paused.json()["state"], paused.json()["reason"]) == ("paused", "no_round_accepted")
    assert at.call("POST", "/pause", body).json() == paused.json()
    logged = [one for one in bodies(made, "campaign.state") if one["to"] == "paused"]
    assert [one["reason"] for one in logged] == ["no_round_accepted"]
    [told] = reports(made.ctx, "demo", at.campaign)
    assert "no run gave a round that was accepted" in printed([told])
    campaigns.set_state(made.ctx, "demo", at.campaign, "running")
    assert at.call("GET", "").json()["reason"] is None
    campaigns.set_state(made.ctx, "demo", at.campaign, "paused")
    # An operator's pause is no coordinator's to explain.
    assert at.call("POST", "/pause", body).json()["reason"] is None
    campaigns.set_state(made.ctx, "demo", at.campaign, "stopped")
    assert code(at.call("POST", "/pause", body)) == (409, "state_conflict")
