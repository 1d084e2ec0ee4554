"""Rounds of federated training over the broker, with real consents, gates and receipts."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker.domain.errors import StateConflict
from broker.domain.kill_switch import KillSwitch
from broker.domain.training_errors import MemberNotAdmitted, ReceiptConflict, SearchNotOver
from broker.store import campaigns as campaign_rows
from broker.store import federation_members, partners
from broker.usecases import campaign as campaigns
from broker.usecases import federation_member as members
from broker.usecases import training_opening
from broker.usecases.kill_switch import turn
from broker.usecases.partner import set_partner_state
from broker.usecases.rollout import promote, retire
from broker.usecases.training_receipt import Sent, accept_receipt
from broker.usecases.training_report import reports
from broker.web.training_remarks import ended
from broker.web.training_report import page
from credentials.jcs import b64url_decode
from credentials.keys import SoftwareKey
from credentials.status import verify_status_token
from federation.board import Board, pass_stage
from federation.errors import BoardDisagrees, CombinationImpossible, StageShut
from federation.presence import LEAF_BYTES, RoundKey, leaf_of
from federation.receipt import UsedList
from tests.broker.flow_world import PURPOSE, World, world
from tests.broker.training import (
    BEGAN,
    PRIVACY,
    Training,
    another,
    board_file,
    invented,
    member_keys,
    model,
    signed_document,
    training,
)
from tests.waiting import waited_for

ONE = {"stage": "consortium", "number": 1, "model_in": BEGAN}


def told_in(sent: Mapping[str, str]) -> set[bytes]:
    """The leaves that a member sends."""
    data = b64url_decode(sent["leaves"])
    return {data[at : at + LEAF_BYTES] for at in range(0, len(data), LEAF_BYTES)}


def code(answer: Any) -> tuple[int, str]:  # noqa: ANN401
    return answer.status_code, answer.json()["code"]


def test_rounds_of_two_members_with_a_withdrawal_between(made: World) -> None:
    """From the board's signatures to two models; who withdrew is out of the second."""
    other = made.second_partner()
    at = training(made, made.partner, other, minimum_members=2)
    mine = [at.consent(made.partner, f"crm-{number}") for number in range(5)]
    for number in range(3):
        at.consent(other, f"other-{number}")

    first = at.round(1, BEGAN, model(1))
    assert (first["parent"], first["state"], first["number"]) == (BEGAN, "candidate", 1)
    assert (first["members"], first["epsilon"]) == (sorted([made.partner, other]), None)
    assert made.withdrawal(mine[0], made.officer, json={}).status_code == 200
    opened = at.open(2, model(1))
    leaves = told_in(at.train(made.partner, opened))
    key = at.key(made.partner, opened)
    present = [leaf_of(key, one) in leaves for one in mine]
    # With the one who withdrew, the guard leaves out one more.
    assert (present[0], sum(present)) == (False, 3)

    shown = at.call("GET", "").json()
    assert shown["last_accepted"] == {"stage": "consortium", "number": 1, "model_out": model(1)}
    assert (shown["last_round"]["state"], shown["last_round"]["receipts"]) == ("open", [])
    assert [one["state"] for one in shown["members"]] == ["admitted", "admitted"]
    assert shown["members"][0]["node_public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    found = made.api("GET", "/v1/federation/models", made.officer).json()["models"]
    assert [one["id"] for one in found] == [BEGAN, model(1)]
    entries = made.logged("training.receipt")
    assert [one.consent_id for one in entries] == [None, None]
    assert not [one for one in mine if one in json.dumps([dict(each.body) for each in entries])]


def never_over(*_given: Any, **_named: Any) -> int:  # noqa: ANN401
    raise SearchNotOver


def test_every_call_may_be_repeated(broker: World, monkeypatch: pytest.MonkeyPatch) -> None:
    at = training(broker)
    opened = at.open(1)
    with monkeypatch.context() as busy:
        busy.setattr(training_opening, "search", never_over)
        assert at.call("POST", "/rounds", ONE).json() == opened
        assert code(replace(at, campaign=f"{at.campaign}x").call("POST", "/rounds", ONE))[0] == 404
        another = at.call("POST", "/rounds", ONE | {"number": 2})
        assert code(another) == (503, "search_not_over")
    assert code(at.call("POST", "/rounds", ONE | {"model_in": model(7)})) == (409, "state_conflict")
    sent = invented(at, opened)
    kept = at.hand_in(opened, sent)
    assert kept.status_code == 200, kept.text
    assert at.hand_in(opened, sent).json() == kept.json()
    closed = at.close(opened, model(1), metrics={"auc": "0.9"})
    assert closed.status_code == 200, closed.text
    assert at.close(opened, model(1), metrics={"auc": "0.9"}).json() == closed.json()
    assert code(at.close(opened, model(2))) == (409, "state_conflict")
    assert at.hand_in(opened, sent).json() == kept.json()
    assert at.call("POST", "/rounds", ONE).json()["state"] == "closed"
    assert len(broker.logged("training.receipt")) == 1
    assert len(broker.logged("training.round_opened", "training.round_closed")) == 2

    second = at.open(2, model(1))
    path = "/rounds/consortium/2/fail"
    failed = at.call("POST", path, {"code": "superlink_lost"})
    assert (failed.json()["state"], failed.json()["code"]) == ("failed", "superlink_lost")
    assert at.call("POST", path, {"code": "again"}).json() == failed.json()
    assert at.call("GET", "/rounds/consortium/2/key", caller=broker.partner).status_code == 409
    late = invented(at, second, key=RoundKey(b"k" * 32))
    assert code(at.hand_in(second, late)) == (409, "state_conflict")
    third = at.open(3, model(1))
    assert third["model_in"] == model(1)
    assert at.call("POST", "/rounds/consortium/1/fail", {"code": "late"}).status_code == 409


def test_a_second_receipt_is_refused_and_told_in_the_log(broker: World) -> None:
    at = training(broker)
    opened = at.open(1)
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    second = invented(at, opened, model_out=model(50))
    assert code(at.hand_in(opened, second)) == (409, "receipt_conflict")
    [refused] = broker.logged("training.receipt_refused")
    assert refused.body["code"] == "receipt_conflict"
    assert refused.body["member"] == broker.partner
    assert at.call("GET", "").json()["last_round"]["receipts"] == [broker.partner]


@pytest.mark.parametrize(
    ("changes", "status", "refusal"),
    [
        ({"campaign": model(1)}, 400, "receipt_mismatch"),
        ({"model_in": model(5)}, 400, "receipt_mismatch"),
        ({"round": 2}, 400, "receipt_mismatch"),
        ({"stage": "pilot"}, 400, "receipt_mismatch"),
        ({"bucket": 0}, 400, "training_receipt_refused"),
        ({"bucket": 128}, 400, "leaves_differ"),
        ({"root": b"r" * 32}, 400, "leaves_differ"),
        ({"signed_at": 1}, 400, "training_receipt_refused"),
        ({"lists": ()}, 400, "training_receipt_refused"),
        (
            {"lists": (UsedList("https://elsewhere.example/l", model(1), 2**40),)},
            400,
            "training_receipt_refused",
        ),
    ],
)
def test_a_receipt_that_does_not_match_is_refused(
    shared: Training, changes: dict[str, Any], status: int, refusal: str
) -> None:
    opened = shared.call("GET", "").json()["last_round"]
    assert code(shared.hand_in(opened, invented(shared, opened, **changes))) == (status, refusal)
    told = [one.body["code"] for one in shared.world.logged("training.receipt_refused")]
    assert told.count(refusal) == 1
    assert shared.call("GET", "").json()["last_round"]["receipts"] == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """A round that stays open: what is tried on it is refused."""
    with world(tmp_path_factory.mktemp("refusing") / "home") as broker:
        at = training(broker)
        at.consent(broker.partner, "crm-1")
        at.open(1)
        yield at


def test_a_list_from_before_the_round_is_stale(shared: Training) -> None:
    opened = shared.call("GET", "").json()["last_round"]
    stale = UsedList(opened["lists"][0], model(1), opened["opened_at"] - 1)
    sent = invented(shared, opened, lists=(stale,))
    answer = shared.hand_in(opened, sent)
    assert code(answer) == (400, "training_receipt_refused")
    assert "before the round opened" in answer.json()["detail"]
    future = UsedList(opened["lists"][0], model(1), 2**40)
    answer = shared.hand_in(opened, invented(shared, opened, lists=(future,)))
    assert code(answer) == (400, "training_receipt_refused")
    assert "of the future" in answer.json()["detail"]
    fresh = shared.world.http.get(opened["lists"][0])
    assert fresh.status_code == 200


def test_a_receipt_by_a_strangers_key_is_forged(shared: Training) -> None:
    opened = shared.call("GET", "").json()["last_round"]
    mine = shared.members[shared.world.partner]
    own, mine.key = mine.key, SoftwareKey.generate()
    sent = invented(shared, opened)
    mine.key = own
    assert code(shared.hand_in(opened, sent)) == (400, "receipt_forged")
    unknown = sent | {"member": "p-nobody"}
    assert code(shared.hand_in(opened, unknown)) == (409, "member_not_admitted")
    assert "p-nobody" not in json.dumps(
        [dict(one.body) for one in shared.world.logged("training.receipt_refused")]
    )


def test_who_may_do_what(shared: Training) -> None:
    partner, officer = shared.world.partner, shared.world.officer
    assert shared.call("GET", "", caller=officer).status_code == 200
    assert shared.call("GET", "", caller=partner).status_code == 403
    assert shared.call("POST", "/rounds", ONE, caller=officer).status_code == 403
    assert shared.call("POST", "/rounds", ONE, caller=partner).status_code == 403
    key = "/rounds/consortium/1/key"
    assert shared.call("GET", key).status_code == 403
    assert code(shared.call("GET", key, caller=shared.world.second_partner()))[0] == 409
    for path in ("/v1/purposes", "/v1/agents", "/v1/webhooks"):
        assert shared.world.api("GET", path, shared.coordinator).status_code == 403


def test_rounds_follow_each_other(broker: World) -> None:
    at = training(broker, rounds=2)

    def refusal(**body: Any) -> tuple[int, str]:  # noqa: ANN401
        return code(at.call("POST", "/rounds", ONE | body))

    assert refusal(number=2) == (409, "state_conflict")
    assert refusal(stage="pilot") == (409, "state_conflict")
    assert refusal(model_in="A" * 42 + "B")[0] == 400
    opened = at.open(1)
    assert refusal(number=2) == (409, "state_conflict")
    assert code(at.close(opened, model(1))) == (409, "too_few_members")
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    assert code(at.close(opened, BEGAN)) == (409, "state_conflict")
    for wrong in ({"metrics": {"auc": "high"}}, {"epsilon": "1"}, {"metrics": {"": "1"}}):
        assert code(at.close(opened, model(1), **wrong)) == (400, "invalid_request")
    assert at.close(opened, model(1)).status_code == 200
    assert refusal(number=2, model_in=BEGAN) == (409, "state_conflict")
    last = at.open(2, model(1))
    assert at.hand_in(last, invented(at, last)).status_code == 200
    assert at.close(last, model(2)).status_code == 200
    assert at.call("GET", "").json()["state"] == "finished"
    assert refusal(number=3, model_in=model(2)) == (409, "state_conflict")


def test_a_member_that_is_revoked_leaves_in_mid_round(broker: World) -> None:
    other = broker.second_partner()
    at = training(broker, broker.partner, other)
    opened = at.open(1)
    sent = invented(at, opened, other)
    members.revoke_member(broker.ctx, "demo", other)
    assert code(at.hand_in(opened, sent)) == (409, "member_not_admitted")
    assert code(at.call("GET", "/rounds/consortium/1/key", caller=other))[0] == 409
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    assert at.close(opened, model(1)).json()["members"] == [broker.partner]
    assert at.open(2, model(1))["taking_part"] == [broker.partner]
    [shown] = [one for one in at.call("GET", "").json()["members"] if one["member"] == other]
    assert shown["state"] == "revoked"
    with pytest.raises(StateConflict):
        members.admit_member(broker.ctx, "demo", other)
    _, receipts, node = member_keys()
    members.add_member(broker.ctx, "demo", other, node_key=node, receipt_key=receipts)
    assert members.admit_member(broker.ctx, "demo", other).state == "admitted"


def test_fewer_than_the_minimum_open_no_round(broker: World) -> None:
    other = broker.second_partner()
    at = training(broker, broker.partner, other, minimum_members=2)
    set_partner_state(broker.ctx, "demo", other, "suspended")
    assert code(at.call("POST", "/rounds", ONE)) == (409, "too_few_members")
    set_partner_state(broker.ctx, "demo", other, "active")
    assert at.open(1)["taking_part"] == sorted([broker.partner, other])


def test_what_is_switched_off_or_not_running_opens_no_round(broker: World) -> None:
    at = training(broker)
    algorithm = PURPOSE.partition("#algo:")[2]
    for switch in (KillSwitch("algorithm", algorithm), KillSwitch("tenant", "demo")):
        turn(broker.ctx, "demo", switch, on=True)
        assert "kill switch" in at.call("POST", "/rounds", ONE).json()["detail"]
        turn(broker.ctx, "demo", switch, on=False)
    campaigns.set_state(broker.ctx, "demo", at.campaign, "paused")
    assert code(at.call("POST", "/rounds", ONE)) == (409, "state_conflict")
    campaigns.set_state(broker.ctx, "demo", at.campaign, "running")
    opened = at.open(1)
    campaigns.set_state(broker.ctx, "demo", at.campaign, "paused")
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    campaigns.set_state(broker.ctx, "demo", at.campaign, "stopped")
    last = at.call("GET", "").json()["last_round"]
    assert (last["state"], last["code"]) == ("failed", "campaign_stopped")
    for state in ("running", "paused", "finished"):
        with pytest.raises(StateConflict):
            campaigns.set_state(broker.ctx, "demo", at.campaign, state)


def fail(at: Training, number: int, begins: str = BEGAN, stage: str = "consortium") -> None:
    at.open(number, begins, stage)
    assert at.call("POST", f"/rounds/{stage}/{number}/fail", {"code": "few"}).status_code == 200


def give(at: Training, number: int, begins: str, gives: str, stage: str = "consortium") -> None:
    opened = at.open(number, begins, stage)
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    assert at.close(opened, gives).status_code == 200


def standing(at: Training) -> tuple[str, str | None, dict[str, int]]:
    told = at.call("GET", "").json()
    return told["state"], told["reason"], told["progress"]


def test_spare_rounds_stand_in_for_those_that_failed(broker: World) -> None:
    at = training(broker, rounds=2, spare_rounds=3)
    fail(at, 1)
    give(at, 2, BEGAN, model(2))
    fail(at, 3, model(2))
    used = {"closed": 1, "failed": 2, "rounds": 2, "spare_rounds": 3, "spare_used": 2}
    assert standing(at) == ("running", None, used)
    give(at, 4, model(2), model(4))
    # All that was asked for is there: what is left of the spare ones is not opened.
    assert standing(at) == ("finished", None, used | {"closed": 2})
    body = {"stage": "consortium", "number": 5, "model_in": model(4)}
    assert code(at.call("POST", "/rounds", body)) == (409, "state_conflict")


def test_that_no_number_is_left_is_said(broker: World) -> None:
    at = training(broker, rounds=2, spare_rounds=1)
    fail(at, 1)
    give(at, 2, BEGAN, model(2))
    fail(at, 3, model(2))
    used = {"closed": 1, "failed": 2, "rounds": 2, "spare_rounds": 1, "spare_used": 1}
    assert standing(at) == ("finished", "rounds_used_up", used)
    [told] = reports(broker.ctx, "demo", at.campaign)
    assert "no round is left" in ended(told)
    assert f"1/2 轮 rounds done; 最后模型 last model {model(2)}" in ended(told)
    assert "2 失败 failed; 备用 spare 1 / 1 已用 used" in page(told, broker.time[0])
    body = {"stage": "consortium", "number": 4, "model_in": model(2)}
    assert code(at.call("POST", "/rounds", body)) == (409, "state_conflict")


def in_two_stages(broker: World, **changes: int) -> Training:
    named = [broker.partner]
    stages = [
        {"stage": stage, "members": named, "gates": [], "approvals": 1}
        for stage in ("pilot", "consortium")
    ]
    return training(broker, rollout=stages, **changes)


def test_each_stage_has_its_rounds_and_spare_ones(broker: World) -> None:
    at = in_two_stages(broker, rounds=1, spare_rounds=2)
    fail(at, 1, stage="pilot")
    give(at, 2, BEGAN, model(2), "pilot")
    body = {"stage": "pilot", "number": 3, "model_in": model(2)}
    assert "has had its 1 rounds" in at.call("POST", "/rounds", body).json()["detail"]
    promote(broker.ctx, "demo", model(2), [at.approval("pilot", model(2))])
    fresh = {"closed": 0, "failed": 0, "rounds": 1, "spare_rounds": 2, "spare_used": 0}
    assert standing(at) == ("running", None, fresh)
    fail(at, 1, model(2))
    fail(at, 2, model(2))
    give(at, 3, model(2), model(5))
    assert standing(at)[:2] == ("finished", None)


def test_a_pilot_whose_numbers_are_used_up_waits_for_its_promotion(broker: World) -> None:
    at = in_two_stages(broker, rounds=2, spare_rounds=1)
    give(at, 1, BEGAN, model(1), "pilot")
    fail(at, 2, model(1), "pilot")
    fail(at, 3, model(1), "pilot")
    body = {"stage": "pilot", "number": 4, "model_in": model(1)}
    assert "opens 3 rounds" in at.call("POST", "/rounds", body).json()["detail"]
    assert standing(at)[:2] == ("running", None)
    promote(broker.ctx, "demo", model(1), [at.approval("pilot", model(1))])
    give(at, 1, model(1), model(2))
    assert standing(at)[:2] == ("running", None)


def test_spare_rounds_spend_of_the_budget_as_all_do(broker: World) -> None:
    privacy = PRIVACY | {"epsilon": "2"}
    free, spent = (
        training(broker, privacy=privacy, rounds=1, spare_rounds=2),
        [],
    )
    for number in (1, 2):
        fail(free, number)
        spent.append(Decimal(reports(broker.ctx, "demo", free.campaign)[0]["epsilon"]))
    give(free, 3, BEGAN, model(3))
    [told] = reports(broker.ctx, "demo", free.campaign)
    assert 0 < spent[0] < spent[1] < Decimal(told["epsilon"]) <= 2
    assert told["models"][-1]["epsilon"] == told["epsilon"]
    salt = campaigns.new_salt(broker.ctx, "demo")
    with pytest.raises(CombinationImpossible, match="covers fewer"):
        signed_document(
            salt, [broker.partner], broker.time[0], privacy=privacy, rounds=1, spare_rounds=900
        )


@pytest.mark.parametrize("spare", [None, 1])
@pytest.mark.parametrize("ends", ["closed", "failed"])
def test_what_is_paused_in_its_last_round_is_finished_as_it_starts(
    broker: World, ends: str, spare: int | None
) -> None:
    at = training(broker, rounds=1, **({} if spare is None else {"spare_rounds": spare}))
    opened = at.open(1)
    campaigns.set_state(broker.ctx, "demo", at.campaign, "paused")
    # While the round is open there is something to go on with.
    assert campaigns.set_state(broker.ctx, "demo", at.campaign, "running").state == "running"
    campaigns.set_state(broker.ctx, "demo", at.campaign, "paused")
    if ends == "closed":
        assert at.hand_in(opened, invented(at, opened)).status_code == 200
        assert at.close(opened, model(1)).status_code == 200
    else:
        failed = at.call("POST", "/rounds/consortium/1/fail", {"code": "few"})
        assert failed.status_code == 200
    assert at.call("GET", "").json()["state"] == "paused"
    goes_on = ends == "failed" and spare is not None
    state = "running" if goes_on else "finished"
    row = campaigns.set_state(broker.ctx, "demo", at.campaign, "running")
    told = at.call("GET", "").json()
    assert (row.state, told["state"]) == (state, state)
    assert told["reason"] == ("rounds_used_up" if ends == "failed" and not goes_on else None)


def test_a_switch_that_is_turned_on_in_mid_round_stops_it(broker: World) -> None:
    at = training(broker)
    opened = at.open(1)
    key = at.key(broker.partner, opened)
    switch = KillSwitch("purpose", PURPOSE.partition("#algo:")[0])

    def refused(answer: Any) -> bool:  # noqa: ANN401
        told = code(answer) == (409, "state_conflict")
        return told and "kill switch" in answer.json()["detail"]

    def turned(*, on: bool) -> None:
        turn(broker.ctx, "demo", switch, on=on)

    turned(on=True)
    sent = invented(at, opened, key=key)
    assert refused(at.call("GET", "/rounds/consortium/1/key", caller=broker.partner))
    assert refused(at.hand_in(opened, sent))
    turned(on=False)
    assert at.hand_in(opened, sent).status_code == 200
    turned(on=True)
    assert refused(at.close(opened, model(1)))
    turned(on=False)
    assert at.close(opened, model(1)).status_code == 200
    turned(on=True)
    approval = [at.approval("consortium", model(1))]
    with pytest.raises(StateConflict, match="kill switch"):
        promote(broker.ctx, "demo", model(1), approval)
    turned(on=False)
    assert promote(broker.ctx, "demo", model(1), approval).state == "active"


def test_nothing_comes_of_a_campaign_that_was_stopped(broker: World) -> None:
    at = training(broker)
    at.consent(broker.partner, "crm-1")
    at.consent(broker.partner, "crm-2")
    at.round(1, BEGAN, model(1))
    campaigns.set_state(broker.ctx, "demo", at.campaign, "stopped")
    approval = [at.approval("consortium", model(1))]
    with pytest.raises(StateConflict, match="was stopped"):
        promote(broker.ctx, "demo", model(1), approval)
    # A campaign of its own, which the board signs, may go on from it.
    following = another(at)
    assert following.open(1, model(1))["model_in"] == model(1)


def test_no_round_begins_with_a_model_that_was_retired(broker: World) -> None:
    """Neither a campaign's later ones, nor the first of a stage with the model that passed."""
    stages = [
        {"stage": name, "members": [broker.partner], "gates": [], "approvals": 1}
        for name in ("pilot", "consortium")
    ]
    at = training(broker, rollout=stages)
    opened = at.open(1, BEGAN, "pilot")
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    assert at.close(opened, model(1)).status_code == 200
    promote(broker.ctx, "demo", model(1), [at.approval("pilot", model(1))])
    retire(broker.ctx, "demo", model(1))
    answer = at.call("POST", "/rounds", ONE | {"model_in": model(1)})
    assert code(answer) == (409, "state_conflict")
    assert "retired" in answer.json()["detail"]


def test_the_budget_stops_before_it_is_overspent(broker: World) -> None:
    """Every round that was opened counts, one that failed too: its members may have trained."""
    at = training(broker, privacy=PRIVACY, rounds=20)
    spent, number, before = 0.0, 1, BEGAN
    while True:
        body = ONE | {"number": number, "model_in": before}
        answer = at.call("POST", "/rounds", body)
        if answer.status_code != 200:
            break
        opened = answer.json()
        broker.advance(1)
        if number == 1:
            at.call("POST", "/rounds/consortium/1/fail", {"code": "lost"})
        else:
            assert at.hand_in(opened, invented(at, opened)).status_code == 200
            version = at.close(opened, model(number), epsilon="0.5").json()
            assert float(version["epsilon"]) > spent
            spent, before = float(version["epsilon"]), model(number)
        number += 1
    assert code(answer) == (409, "privacy_budget_spent")
    # dp-accounting's figures for 200, 300 and 400 steps at these orders: 1.080, 1.160, 1.241.
    assert (number, 1.16 < spent < 1.1604) == (4, True)


def test_lists_are_signed_anew_from_the_opening_on(broker: World) -> None:
    """Asked for in the second before it opens too, a list is of before; from then on of now."""
    at = training(broker)
    at.consent(broker.partner, "crm-1")
    opened = at.call("POST", "/rounds", ONE).json()
    assert opened["opened_at"] == broker.time[0] + 1
    [uri] = opened["lists"]

    def issued_at() -> int:
        token, anchors = broker.http.get(uri).text, broker.ctx.keys.anchors()
        found = verify_status_token(token, uri=uri, anchors=anchors, now=broker.time[0])
        assert found.issued_at is not None
        return found.issued_at

    assert issued_at() == broker.time[0]
    broker.advance(1)
    assert issued_at() == opened["opened_at"]
    broker.advance(5)
    assert issued_at() == opened["opened_at"]


def test_a_campaign_that_does_not_hold_is_refused(broker: World) -> None:
    other = replace(broker, partner=broker.second_partner())
    document = json.loads(signed_document(model(1), [other.partner], broker.time[0]))
    with pytest.raises(Exception, match="new-salt"):
        campaigns.add_campaign(broker.ctx, "demo", json.dumps(document).encode(), board_file())
    document["campaign"]["rounds"] = 4
    with pytest.raises(Exception, match="0 of 2 signatures"):
        campaigns.add_campaign(broker.ctx, "demo", json.dumps(document).encode(), board_file())
    salt = campaigns.new_salt(broker.ctx, "demo")
    good = signed_document(salt, [other.partner], broker.time[0])
    assert campaigns.add_campaign(broker.ctx, "demo", good, board_file()).state == "draft"
    with pytest.raises(StateConflict, match="added before"):
        campaigns.add_campaign(broker.ctx, "demo", good, board_file())
    again = signed_document(salt, [other.partner], broker.time[0], rounds=4)
    with pytest.raises(StateConflict, match="another campaign has this salt"):
        campaigns.add_campaign(broker.ctx, "demo", again, board_file())


def test_from_the_pilot_to_the_consortium(broker: World) -> None:
    """The pilot's gates hold by its metrics and the board's approvals; the consortium goes on."""
    other = broker.second_partner()
    named = sorted([broker.partner, other])
    gates = [{"metric": "auc", "relation": "at_least", "bound": "0.8"}]
    pilot = {"stage": "pilot", "members": [broker.partner], "gates": gates, "approvals": 2}
    consortium = {"stage": "consortium", "members": named, "gates": [], "approvals": 1}
    at = training(broker, *named, rollout=[pilot, consortium])
    assert code(at.call("POST", "/rounds", ONE)) == (409, "state_conflict")

    def told_round(number: int, before: str, after: str, stage: str, auc: str) -> None:
        opened = at.open(number, before, stage)
        assert at.hand_in(opened, invented(at, opened)).status_code == 200
        assert at.close(opened, after, metrics={"auc": auc}).status_code == 200

    told_round(1, BEGAN, model(1), "pilot", "0.7")
    both = [at.approval("pilot", model(1), key) for key in (0, 1)]
    with pytest.raises(StageShut, match=r"auc at_least 0\.8"):
        promote(broker.ctx, "demo", model(1), both)
    told_round(2, model(1), model(2), "pilot", "0.85")
    both = [at.approval("pilot", model(2), key) for key in (0, 1)]
    with pytest.raises(StageShut, match="approvals 1 of 2"):
        promote(broker.ctx, "demo", model(2), [both[0], both[0], "x.y.z"])
    assert promote(broker.ctx, "demo", model(2), both).state == "pilot"
    with pytest.raises(StateConflict):
        promote(broker.ctx, "demo", model(2), both)

    shown = at.call("GET", "").json()
    assert (shown["stage"], shown["passed"]["model"]) == ("consortium", model(2))
    board = Board.of(shown["board"]["keys"], shown["board"]["threshold"])
    passed = shown["passed"]
    pass_stage(
        at.signed,
        passed["stage"],
        passed["model"],
        metrics=passed["metrics"],
        given=passed["approvals"],
        board=board,
    )
    for wrong in ({"stage": "pilot", "number": 3}, {"model_in": model(1)}):
        answer = at.call("POST", "/rounds", ONE | {"model_in": model(2)} | wrong)
        assert code(answer) == (409, "state_conflict")
    told_round(1, model(2), model(3), "consortium", "0.9")
    assert (
        promote(broker.ctx, "demo", model(3), [at.approval("consortium", model(3))]).state
        == "active"
    )
    assert retire(broker.ctx, "demo", model(3)).state == "retired"
    with pytest.raises(StateConflict):
        retire(broker.ctx, "demo", model(3))
    with pytest.raises(StateConflict):
        promote(broker.ctx, "demo", model(3), [])
    lines = [one.body["state"] for one in broker.logged("model.promoted")]
    assert sorted(lines) == ["active", "pilot"]


def test_of_two_receipts_at_once_one_is_kept(made: World) -> None:
    """The same member's, different, in two threads: one is kept, the other a conflict."""
    at = training(made)
    opened = at.open(1)
    key = at.key(made.partner, opened)
    sent = [invented(at, opened, key=key, model_out=model(number)) for number in range(20, 28)]
    ready = threading.Barrier(len(sent))

    def hand_in(one: Mapping[str, str]) -> str:
        told = Sent(one["member"], one["receipt"], one["leaves"])
        ready.wait()
        try:
            accept_receipt(made.ctx, "demo", at.campaign, "consortium", 1, told)
        except ReceiptConflict as refusal:
            return refusal.code
        return "kept"

    with ThreadPoolExecutor(len(sent)) as threads:
        acting = [copy_context() for _ in sent]
        ends = [
            threads.submit(one.run, hand_in, each) for one, each in zip(acting, sent, strict=True)
        ]
        told = Counter(one.result() for one in ends)
    assert told == {"kept": 1, "receipt_conflict": len(sent) - 1}
    assert len(made.logged("training.receipt")) == 1
    # The same refusal is told of once a minute: the log is not the coordinator's to fill.
    assert len(made.logged("training.receipt_refused")) == 1


@pytest.mark.parametrize("how", ["revoked", "suspended"])
def test_a_receipt_waits_for_an_end_that_is_on_its_way(
    tmp_path: Path, postgres_database: str, how: str
) -> None:
    """A transaction that ends the membership is not over: the receipt is kept before or never."""
    with world(tmp_path / "home", database_url=postgres_database) as made:
        at = training(made)
        sent = invented(at, at.open(1))
        told = Sent(sent["member"], sent["receipt"], sent["leaves"])
        with ThreadPoolExecutor(1) as threads:
            with made.ctx.db.transaction() as tx:
                if how == "revoked":
                    held = federation_members.find(tx, "demo", made.partner)
                    federation_members.put(tx, replace(held, state="revoked"))
                else:
                    partners.set_state(tx, "demo", made.partner, "suspended")
                hand_in = partial(
                    accept_receipt, made.ctx, "demo", at.campaign, "consortium", 1, told
                )
                end = threads.submit(copy_context().run, hand_in)
                while not end.done() and not waited_for(tx):
                    wait([end], timeout=0.05)
            with pytest.raises(MemberNotAdmitted):
                end.result()
        assert not made.logged("training.receipt")


def test_a_campaign_that_was_changed_in_the_database_is_no_longer_believed(
    broker: World,
) -> None:
    at = training(broker)
    with broker.ctx.db.reading() as tx:
        row = campaign_rows.find(tx, "demo", at.campaign)
    assert campaigns.signed_of(row).campaign_hash == row.hash
    changed = row.document.replace('"rounds": 3', '"rounds": 4')
    assert changed != row.document
    with pytest.raises(BoardDisagrees):
        campaigns.signed_of(replace(row, document=changed))
    assert campaigns.signed_of(row).campaign_hash == row.hash
