"""A withdrawal walks the lineage of models: what is tainted, which task opens, how it is closed."""

import json
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from broker.cli.federation_unlearning import lines_of
from broker.domain.errors import InvalidRequest, StateConflict
from broker.domain.model_facts import facts_file, read_facts
from broker.domain.training_errors import SearchNotOver
from broker.store import campaigns
from broker.store import unlearning as rows
from broker.store.acting import acting_for_all
from broker.store.campaigns import CampaignRow
from broker.store.migrate import _config
from broker.store.training_rounds import ReceiptRow
from broker.upkeep import sweep
from broker.usecases.context import Context
from broker.usecases.model_card import export_model
from broker.usecases.model_version import close_round
from broker.usecases.rollout import promote, retire
from broker.usecases.training_evidence import leaves_of
from broker.usecases.unlearning import search, waiting
from broker.usecases.unlearning_task import Residual, close_task, tasks
from broker.web.model_card import card
from federation.errors import FederationError
from tests.broker.builders import Broker
from tests.broker.flow_world import World
from tests.broker.training import BEGAN, Training, another, invented, model, training

TASKS = "/v1/federation/tasks"
MEASURED = {"before": "0.652", "after": "0.582"}


def states(at: Training) -> dict[str, tuple[str, str | None]]:
    """Of each model its state and taint."""
    answer = at.world.api("GET", "/v1/federation/models", at.world.officer)
    assert answer.status_code == 200, answer.text
    return {one["id"]: (one["state"], one["taint"]) for one in answer.json()["models"]}


def withdraw(at: Training, consent: str) -> None:
    answer = at.world.withdrawal(consent, at.world.officer, json={})
    assert answer.status_code == 200, answer.text


def open_task(at: Training) -> dict[str, Any]:
    """The one task that is open, as an officer sees it."""
    answer = at.world.api("GET", TASKS, at.world.officer, params={"state": "open"})
    [task] = answer.json()["tasks"]
    found: dict[str, Any] = task
    return found


def close(at: Training, task: str, **body: Any) -> Any:  # noqa: ANN401
    return at.world.api("POST", f"{TASKS}/{task}/close", at.coordinator, json=body)


def consents(at: Training, many: int = 2, state: str = "granted") -> list[str]:
    """Consents of customers crm-0, crm-1... that nobody signed."""
    seeds = Broker(at.world.ctx, at.world.time)
    return [seeds.consent(at.world.partner, f"crm-{number}", state=state) for number in range(many)]


def told_round(
    at: Training,
    number: int,
    after: str,
    *named: str,
    stage: str = "consortium",
    member: str | None = None,
    of: str | None = None,
) -> None:
    """A round of which a member tells that it used these consents, and others."""
    opened = at.open(number, of or (BEGAN if number == 1 else model(number - 1)), stage)
    sent = invented(at, opened, member, named=(*named, "c-0", "c-1"))
    assert at.hand_in(opened, sent).status_code == 200
    assert at.close(opened, after).status_code == 200


def test_excluded_rows_taint_what_was_and_mark_what_follows(made: World) -> None:
    """From a withdrawal to a model that may be used though something of the row is left in it."""
    at = training(made, rounds=9, unlearning="exclude")
    mine = [at.consent(made.partner, f"crm-{number}") for number in range(5)]
    at.round(1, BEGAN, model(1))
    at.round(2, model(1), model(2))
    withdraw(at, mine[0])
    made.advance(1)
    assert waiting(made.ctx, "demo") == 1
    assert sweep(made.ctx) == []
    assert waiting(made.ctx, "demo") == 0
    assert states(at) == {
        BEGAN: ("candidate", None),
        model(1): ("tainted", "used"),
        model(2): ("tainted", "used"),
    }
    task = open_task(at)
    assert (task["policy"], task["withdrawals"], task["base"]) == ("exclude", 1, None)
    assert [one["state_before"] for one in task["tainted"]] == ["candidate", "candidate"]
    with pytest.raises(StateConflict, match="tainted"):
        promote(made.ctx, "demo", model(2), [at.approval("consortium", model(2))])

    assert close(at, task["id"], model=model(2)).status_code == 409
    third = at.round(3, model(2), model(3))
    assert (third["state"], third["taint"]) == ("candidate", "descends")
    approval = [at.approval("consortium", model(3))]
    with pytest.raises(StateConflict, match="descends from a tainted one"):
        promote(made.ctx, "demo", model(3), approval)
    closed = close(at, task["id"], model=model(3), residual=MEASURED)
    assert closed.status_code == 200, closed.text
    told = closed.json()
    said = MEASURED | {"measured": None}
    assert (told["state"], told["taint"], told["residual"]) == ("done", "descends", said)
    assert told["withdrawals"] is None
    again = close(at, task["id"], model=model(3), residual=MEASURED)
    assert again.json() == told
    assert close(at, task["id"], model=model(3)).status_code == 409
    assert promote(made.ctx, "demo", model(3), approval).state == "active"
    assert states(at)[model(3)] == ("active", "descends")

    [opened] = made.logged("unlearning.opened")
    assert (opened.body["tainted"], opened.consent_id, opened.subject_id) == (2, None, None)
    [ended] = made.logged("unlearning.closed")
    assert dict(ended.body["residual"]) == MEASURED
    assert mine[0] not in json.dumps([dict(opened.body), dict(ended.body)])


def test_one_who_withdraws_later_taints_what_the_task_was_closed_with(broker: World) -> None:
    at = training(broker, rounds=9, unlearning="exclude")
    mine = consents(at, 3)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    broker.advance(1)
    told_round(at, 2, model(2), *mine[1:])
    assert search(broker.ctx, "demo") == 1
    task = open_task(at)
    close_task(broker.ctx, "demo", task["id"], model=model(2))
    assert states(at)[model(2)] == ("candidate", "descends")
    withdraw(at, mine[1])
    broker.advance(1)
    with pytest.raises(StateConflict, match="tainted"):
        promote(broker.ctx, "demo", model(2), [at.approval("consortium", model(2))])
    second = open_task(at)
    assert second["id"] != task["id"]
    assert [one["model"] for one in second["tainted"]] == [model(2)]
    withdraw(at, mine[2])
    broker.advance(1)
    search(broker.ctx, "demo")
    assert open_task(at)["withdrawals"] == 2
    assert len(broker.logged("unlearning.extended")) == 1


def test_what_was_measured_is_of_the_tasks_own_models(made: World) -> None:
    at = training(made, rounds=9, unlearning="exclude")
    mine = consents(at, 3)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    made.advance(1)
    told_round(at, 2, model(2), *mine[1:])
    assert search(made.ctx, "demo") == 1
    task, never = open_task(at)["id"], model(9)

    def ended(*models: str) -> Any:  # noqa: ANN401 (a task)
        measured = Residual("0.5", "0.25", models)  # type: ignore[arg-type]
        return close_task(made.ctx, "demo", task, model=model(2), residual=measured)

    with pytest.raises(StateConflict, match="before are of no model that the task has tainted"):
        ended(model(2), model(2), never)
    with pytest.raises(StateConflict, match="after are not of the model"):
        ended(model(1), model(3), never)
    assert open_task(at)["id"] == task
    for _ in range(2):
        assert ended(model(1), model(2), never).row.residual_after == "0.25"
    # The same distances as they are said are another's word.
    with pytest.raises(StateConflict, match="another model or residual"):
        close_task(made.ctx, "demo", task, model=model(2), residual=Residual("0.5", "0.25", None))
    measured = {"before": model(1), "after": model(2), "reference": never}
    kept = {"before": "0.5", "after": "0.25", "measured": measured}
    [told] = made.api("GET", TASKS, made.officer).json()["tasks"]
    assert told["residual"] == kept
    assert f"measured from weights, against {never}" in "".join(lines_of(told))
    # Whoever takes the model is told it too.
    facts = export_model(made.ctx, "demo", model(2))
    assert [one.get("residuals") for one in facts["line"][:2]] == [[{"task": task} | kept], None]
    assert f"0.5 → 0.25, 由权重测得，参照 measured from weights, against `{never}`" in card(facts)
    assert read_facts(facts_file(facts)).model == model(2)
    for wrong in ({"before": 0.5}, {"after": "-1"}, {"measured": {"before": model(1)}}, {"x": 1}):
        facts["line"][0]["residuals"] = [{"task": task} | kept | wrong]
        with pytest.raises((FederationError, InvalidRequest)):
            read_facts(facts_file(facts))
    [entry] = made.logged("unlearning.closed")
    assert list(entry.body["measured"]) == [model(1), model(2), never]


def test_a_row_of_a_round_that_is_open_is_found_when_it_is_over(broker: World) -> None:
    at = training(broker, rounds=9)
    mine = consents(at)
    opened = at.open(1)
    sent = invented(at, opened, named=mine)
    withdraw(at, mine[0])
    assert search(broker.ctx, "demo") == 0
    assert at.hand_in(opened, sent).status_code == 200
    assert search(broker.ctx, "demo") == 0
    assert at.close(opened, model(1)).status_code == 200
    assert states(at)[model(1)] == ("candidate", None)
    # Promoting looks first.
    with pytest.raises(StateConflict, match="tainted"):
        promote(broker.ctx, "demo", model(1), [at.approval("consortium", model(1))])
    assert states(at)[model(1)] == ("tainted", "used")
    assert waiting(broker.ctx, "demo") == 0
    assert open_task(at)["withdrawals"] == 1


def test_a_search_that_takes_too_long_goes_on_where_it_stopped(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = training(broker, rounds=9, unlearning="rollback_replay")
    mine = consents(at)
    for number in (1, 2, 3):
        told_round(at, number, model(number), *(mine if number != 2 else ()))
        broker.advance(120)
    withdraw(at, mine[0])
    broker.advance(1)
    opened: list[str] = []

    def counted(ctx: Context, receipt: ReceiptRow) -> bytes:
        opened.append(receipt.round_id)
        return leaves_of(ctx, receipt)

    monkeypatch.setattr("broker.usecases.unlearning_look.leaves_of", counted)
    with pytest.raises(SearchNotOver):
        search(broker.ctx, "demo", within=0)
    assert states(at)[model(1)] == ("tainted", "used")
    assert states(at)[model(3)] == ("tainted", "descends")
    task = open_task(at)
    monkeypatch.setattr("broker.usecases.unlearning_task.SECONDS", 0)
    answer = close(at, task["id"])
    assert (answer.status_code, answer.json()["code"]) == (503, "search_not_over")
    assert int(answer.headers["Retry-After"]) > 0
    assert search(broker.ctx, "demo", within=0) == 1
    assert states(at)[model(3)] == ("tainted", "used")
    assert waiting(broker.ctx, "demo") == 0
    assert (open_task(at)["id"], open_task(at)["withdrawals"]) == (task["id"], 1)
    # Each round was looked at once.
    assert len(opened) == len(set(opened)) == 3


def test_a_withdrawal_by_a_worker_whose_clock_is_behind_waits_for_the_open_round(
    broker: World,
) -> None:
    at = training(broker, rounds=9)
    mine = consents(at)
    opened = at.open(1)
    sent = invented(at, opened, named=mine)
    broker.advance(-5)
    withdraw(at, mine[0])
    broker.advance(6)
    assert (search(broker.ctx, "demo"), waiting(broker.ctx, "demo")) == (0, 1)
    assert at.hand_in(opened, sent).status_code == 200
    assert at.close(opened, model(1)).status_code == 200
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(1)] == ("tainted", "used")


def test_a_round_that_closes_late_is_over_when_the_campaign_was_its_own(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a search looked at is told by the clock behind the lock, not by the one before it."""
    at = training(broker, rounds=9)
    mine = consents(at)
    opened = at.open(1)
    assert at.hand_in(opened, invented(at, opened, named=mine)).status_code == 200
    withdraw(at, mine[0])
    real, began = campaigns.find, broker.time[0]

    def slow(tx: Any, tenant_id: str, campaign_id: str, *, lock: bool = False) -> Any:  # noqa: ANN401
        broker.time[0] = began + 125
        return real(tx, tenant_id, campaign_id, lock=lock)

    broker.advance(120)
    assert search(broker.ctx, "demo") == 0
    broker.time[0] = began + 55
    with monkeypatch.context() as waits:
        waits.setattr(campaigns, "find", slow)
        close_round(
            broker.ctx,
            "demo",
            at.campaign,
            "consortium",
            1,
            model_out=model(1),
            metrics={},
            epsilon=None,
        )
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(1)] == ("tainted", "used")


def left_out(at: Training, mine: list[str]) -> None:
    """A withdrawn row was in model 1; model 2, without it, closed the task and is active."""
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    at.world.advance(1)
    assert search(at.world.ctx, "demo") == 1
    told_round(at, 2, model(2), *mine[1:])
    task = open_task(at)
    assert task["withdrawals"] == 1
    assert close(at, task["id"], model=model(2), residual=MEASURED).status_code == 200
    promote(at.world.ctx, "demo", model(2), [at.approval("consortium", model(2))])


def test_an_erasure_after_the_withdrawal_taints_no_model_without_the_row(broker: World) -> None:
    at = training(broker, rounds=9, unlearning="exclude")
    left_out(at, consents(at))
    broker.advance(100)
    body = {"partner": broker.partner, "subject_ref": "crm-0"}
    headers = {"Idempotency-Key": "erase"}
    answer = broker.api("POST", "/v1/subject-erasures", broker.officer, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    broker.advance(120)
    assert sweep(broker.ctx) == []
    assert states(at)[model(2)] == ("active", "descends")
    [task], _ = tasks(broker.ctx, "demo", limit=9)
    assert (task.row.state, task.row.withdrawals) == ("done", 1)
    assert waiting(broker.ctx, "demo") == 0


def test_who_consents_again_and_withdraws_again_taints_no_model_without_the_row(
    broker: World,
) -> None:
    at = training(broker, rounds=9, unlearning="exclude")
    left_out(at, consents(at))
    broker.advance(1_000)
    [again] = consents(at, 1)
    withdraw(at, again)
    broker.advance(1)
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(2)] == ("active", "descends")
    assert len(tasks(broker.ctx, "demo", limit=9)[0]) == 1


def test_one_walk_measures_each_line_by_its_own_withdrawals(broker: World) -> None:
    at = training(broker, rounds=9, unlearning="exclude")
    mine = consents(at)
    other = another(at, unlearning="exclude")
    told_round(at, 1, model(1), mine[0])
    told_round(other, 1, model(11), mine[1], of=model(50))
    withdraw(at, mine[0])
    first = broker.time[0]
    broker.advance(1)
    told_round(at, 2, model(2))
    broker.advance(5)
    withdraw(at, mine[1])
    second = broker.time[0]
    broker.advance(1)
    assert search(broker.ctx, "demo") == 2
    found = states(at)
    assert [found[model(one)] for one in (1, 2, 11)] == [
        ("tainted", "used"),
        ("candidate", "descends"),
        ("tainted", "used"),
    ]
    told = {one.row.campaign_id: one.row for one in tasks(broker.ctx, "demo", limit=9)[0]}
    assert {one: (row.since, row.withdrawals) for one, row in told.items()} == {
        at.campaign: (first, 1),
        other.campaign: (second, 1),
    }


def test_a_campaign_that_comes_meanwhile_is_looked_through_too(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = training(broker, rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    later = another(at)
    told_round(later, 1, model(2), of=model(1))
    withdraw(at, mine[0])
    broker.advance(1)
    real, asked = campaigns.of_tenant, []

    def stale(tx: Any, tenant_id: str) -> list[CampaignRow]:  # noqa: ANN401
        asked.append(tenant_id)
        found = real(tx, tenant_id)
        return found if asked[1:] else [one for one in found if one.id != later.campaign]

    monkeypatch.setattr(campaigns, "of_tenant", stale)
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(2)] == ("tainted", "descends")


def test_who_was_in_no_round_taints_nothing(broker: World) -> None:
    at = training(broker)
    mine = consents(at)
    told_round(at, 1, model(1), mine[0])
    withdraw(at, mine[1])
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(1)] == ("candidate", None)
    assert broker.api("GET", TASKS, broker.officer).json() == {"tasks": [], "next": None}


def test_a_consent_that_was_replaced_is_looked_for_by_its_earlier_id(broker: World) -> None:
    at = training(broker, rounds=9)
    earlier, renewed = consents(at, 1, "superseded"), consents(at, 1)
    told_round(at, 1, model(1), *earlier)
    withdraw(at, renewed[0])
    broker.advance(1)
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(1)] == ("tainted", "used")


def test_a_row_that_another_member_used_is_found_too(broker: World) -> None:
    """Against the consent's terms: the walk asks nobody whether they were allowed to."""
    other = broker.second_partner()
    at = training(broker, broker.partner, other, rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine, member=other)
    withdraw(at, mine[0])
    broker.advance(1)
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(1)] == ("tainted", "used")


def test_a_withdrawal_of_everything_is_looked_for_when_it_is_shown(broker: World) -> None:
    at = training(broker, rounds=9)
    told_round(at, 1, model(1), *consents(at))
    body = {"customers": [{"partner": broker.partner, "subject_ref": "crm-0"}]}
    answer = broker.api("POST", "/v1/withdrawals", broker.officer, json=body)
    assert answer.status_code == 200, answer.text
    search(broker.ctx, "demo")
    assert states(at)[model(1)] == ("candidate", None)
    broker.advance(60)
    assert search(broker.ctx, "demo") == 1
    assert states(at)[model(1)] == ("tainted", "used")


def test_rounds_are_done_anew_from_the_last_model_without_the_row(broker: World) -> None:
    """Rollback over both stages: what a campaign of its own makes from the base closes the task."""
    stages = [
        {"stage": name, "members": [broker.partner], "gates": [], "approvals": 1}
        for name in ("pilot", "consortium")
    ]
    at = training(broker, rollout=stages, unlearning="rollback_replay", rounds=9)
    told_round(at, 1, model(1), stage="pilot")
    told_round(at, 2, model(2), stage="pilot")
    promote(broker.ctx, "demo", model(2), [at.approval("pilot", model(2))])
    mine = consents(at)
    told_round(at, 1, model(3), *mine, of=model(2))
    told_round(at, 2, model(4), of=model(3))
    promote(broker.ctx, "demo", model(4), [at.approval("consortium", model(4))])
    withdraw(at, mine[0])
    broker.advance(1)
    assert search(broker.ctx, "demo") == 1
    found = states(at)
    assert [found[model(number)] for number in (2, 3, 4)] == [
        ("pilot", None),
        ("tainted", "used"),
        ("tainted", "descends"),
    ]
    task = open_task(at)
    assert task["base"] == model(2)
    assert [one["state_before"] for one in task["tainted"]] == ["candidate", "active"]
    body = {"stage": "consortium", "number": 3, "model_in": model(4)}
    refused = at.call("POST", "/rounds", body)
    assert (refused.status_code, "tainted" in refused.json()["detail"]) == (409, True)

    anew = another(at, unlearning="rollback_replay")
    told_round(anew, 1, model(5), of=model(2))
    for wrong in (model(1), model(4)):
        assert close(at, task["id"], model=wrong).status_code == 409
    closed = close(at, task["id"], model=model(5))
    assert closed.status_code == 200, closed.text
    assert (closed.json()["taint"], closed.json()["residual"]) == (None, None)
    approval = anew.approval("consortium", model(5))
    assert promote(broker.ctx, "demo", model(5), [approval]).state == "active"


def test_a_task_ends_without_a_model_when_all_are_retired(broker: World) -> None:
    """What a round that was open makes of a tainted model is tainted, and to be retired too."""
    at = training(broker, unlearning="retrain", rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    broker.advance(1)
    opened = at.open(2, model(1))
    search(broker.ctx, "demo")
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    version = at.close(opened, model(2)).json()
    assert (version["state"], version["taint"]) == ("tainted", "descends")
    task = open_task(at)
    assert task["base"] == BEGAN
    assert [one["model"] for one in task["tainted"]] == [model(1), model(2)]
    retire(broker.ctx, "demo", model(1))
    assert close(at, task["id"]).status_code == 409
    retire(broker.ctx, "demo", model(2))
    with pytest.raises(InvalidRequest):
        close_task(broker.ctx, "demo", task["id"], model=None, residual=Residual("-1", "0"))
    assert close(at, task["id"]).json()["state"] == "done"
    assert states(at)[model(1)] == ("retired", "used")


def test_a_task_of_a_later_campaign_takes_no_model_of_another_line(broker: World) -> None:
    """It is done anew from where the earlier campaign began, to the same purpose."""
    at = training(broker, unlearning="retrain", rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    later = another(at, unlearning="retrain")
    told_round(later, 1, model(2), of=model(1))
    unrelated = another(at, unlearning="retrain")
    told_round(unrelated, 1, model(7), of=model(50))
    other = another(at, unlearning="retrain", purpose="dpv:Marketing#algo:churn-v3@1")
    told_round(other, 1, model(8))
    withdraw(at, mine[0])
    broker.advance(1)
    search(broker.ctx, "demo")
    found = tasks(broker.ctx, "demo", campaign_id=later.campaign, limit=9)[0]
    [task] = [one.row for one in found]
    for wrong in (model(7), model(8)):
        assert close(at, task.id, model=wrong).status_code == 409, wrong
    anew = another(at, unlearning="retrain")
    told_round(anew, 1, model(5))
    assert close(at, task.id, model=model(5)).status_code == 200


def test_nothing_is_done_anew_from_a_retired_model(broker: World) -> None:
    at = training(broker, unlearning="rollback_replay", rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1))
    told_round(at, 2, model(2), *mine)
    retire(broker.ctx, "demo", model(1))
    withdraw(at, mine[0])
    broker.advance(1)
    search(broker.ctx, "demo")
    task = open_task(at)
    assert task["base"] == BEGAN


def test_no_descendant_is_promoted_while_a_task_of_its_line_is_open(broker: World) -> None:
    at = training(broker, unlearning="exclude", rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    later = another(at, unlearning="exclude")
    told_round(later, 1, model(2), of=model(1))
    withdraw(at, mine[0])
    broker.advance(1)
    search(broker.ctx, "demo")
    told_round(later, 2, model(3), of=model(2))
    of = {one.row.campaign_id: one.row.id for one in tasks(broker.ctx, "demo", limit=9)[0]}
    assert close(at, of[later.campaign], model=model(3), residual=MEASURED).status_code == 200
    approval = [later.approval("consortium", model(3))]
    with pytest.raises(StateConflict, match=of[at.campaign]):
        promote(broker.ctx, "demo", model(3), approval)
    told_round(at, 2, model(4), of=model(1))
    assert close(at, of[at.campaign], model=model(4), residual=MEASURED).status_code == 200
    assert promote(broker.ctx, "demo", model(3), approval).state == "active"


def test_a_campaign_begins_with_no_model_that_a_withdrawal_taints(broker: World) -> None:
    """Not even by exclusion: what is withdrawn by now is looked for first."""
    at = training(broker, unlearning="exclude", rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    later = another(at, unlearning="exclude")
    withdraw(at, mine[0])
    broker.advance(1)
    body = {"stage": "consortium", "number": 1, "model_in": model(1)}
    refused = later.call("POST", "/rounds", body)
    assert (refused.status_code, "tainted" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize("since", ["retired", "tainted"])
def test_no_consortium_begins_with_a_pilot_that_may_not_be_used_any_more(
    broker: World, since: str
) -> None:
    """The pilot has passed; what its model became since then is looked at as each stage opens."""
    stages = [
        {"stage": stage, "members": [broker.partner], "gates": [], "approvals": 1}
        for stage in ("pilot", "consortium")
    ]
    at = training(broker, unlearning="rollback_replay", rounds=9, rollout=stages)
    mine = consents(at)
    told_round(at, 1, model(1), *mine, stage="pilot")
    promote(broker.ctx, "demo", model(1), [at.approval("pilot", model(1))])
    if since == "retired":
        retire(broker.ctx, "demo", model(1))
    else:
        withdraw(at, mine[0])
        broker.advance(1)
        assert search(broker.ctx, "demo") == 1
    body = {"stage": "consortium", "number": 1, "model_in": model(1)}
    refused = at.call("POST", "/rounds", body)
    assert (refused.status_code, f"is {since}" in refused.json()["detail"]) == (409, True)
    # Nor with another one in its place.
    assert at.call("POST", "/rounds", body | {"model_in": BEGAN}).status_code == 409
    assert at.call("GET", "").json()["last_round"]["stage"] == "pilot"


def test_no_task_ends_without_a_model_while_one_that_descends_is_in_use(broker: World) -> None:
    at = training(broker, unlearning="exclude", rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    broker.advance(1)
    search(broker.ctx, "demo")
    told_round(at, 2, model(2))
    task = open_task(at)
    retire(broker.ctx, "demo", model(1))
    assert close(at, task["id"]).status_code == 409
    retire(broker.ctx, "demo", model(2))
    assert close(at, task["id"]).json()["state"] == "done"


def test_an_erasure_taints_and_so_does_what_began_with_a_tainted_model(broker: World) -> None:
    at = training(broker, unlearning="retrain", rounds=9)
    told_round(at, 1, model(1), *consents(at))
    later = another(at, unlearning="retrain")
    told_round(later, 1, model(2), of=model(1))
    body = {"partner": broker.partner, "subject_ref": "crm-0"}
    headers = {"Idempotency-Key": "erase"}
    path = "/v1/subject-erasures"
    answer = broker.api("POST", path, broker.officer, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    broker.advance(120)
    assert sweep(broker.ctx) == []
    assert states(at)[model(1)] == ("tainted", "used")
    assert states(at)[model(2)] == ("tainted", "descends")
    found, behind = tasks(broker.ctx, "demo", limit=1)
    more, end = tasks(broker.ctx, "demo", limit=1, after=behind)
    bases = {one.row.campaign_id: one.row.base for one in (*found, *more)}
    # What the second began with is tainted: both are done anew from where the first began.
    assert (bases, end) == ({at.campaign: BEGAN, later.campaign: BEGAN}, None)


def test_a_search_that_fails_is_named_and_done_with_the_next_sweep(broker: World) -> None:
    at = training(broker, rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    broker.advance(1)
    for before, after, failed in (("model_version", "lost", ["search"]), ("lost", None, [])):
        with acting_for_all(), broker.ctx.db.transaction() as tx:
            tx.execute(text(f"ALTER TABLE {before} RENAME TO {after or 'model_version'}"))
        assert sweep(broker.ctx) == failed
        assert waiting(broker.ctx, "demo") == len(failed)
    assert states(at)[model(1)] == ("tainted", "used")


def test_an_upgrade_has_what_was_withdrawn_before_looked_for(made: World) -> None:
    at = training(made, rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    upgrade = ScriptDirectory.from_config(_config()).get_revision("0032").module.ENDED
    with made.ctx.db.transaction() as tx:
        rows.looked(tx, mine)
        tx.exec_driver_sql(upgrade)
    made.advance(1)
    assert (waiting(made.ctx, "demo"), search(made.ctx, "demo")) == (1, 1)
    assert states(at)[model(1)] == ("tainted", "used")


def test_what_is_withdrawn_is_looked_for_before_a_model_is_handed_out(broker: World) -> None:
    at = training(broker, rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    told_round(at, 2, model(2))
    opened = at.open(3, model(2))
    withdraw(at, mine[0])
    broker.advance(1)
    with pytest.raises(StateConflict, match="tainted"):
        export_model(broker.ctx, "demo", model(1), weights=True)
    told = export_model(broker.ctx, "demo", model(2))
    assert (told["model"]["state"], told["looked_through"]) == ("tainted", False)
    assert "still looked for" in card(told)
    at.call("POST", f"/rounds/consortium/{opened['number']}/fail", {"code": "superlink_lost"})
    told = export_model(broker.ctx, "demo", model(2))
    assert told["looked_through"]
    assert "still looked for" not in card(told)
    states_told = [one.body["state"] for one in broker.logged("model.exported")]
    assert states_told == ["tainted", "tainted"]


def test_who_may_see_and_close_tasks(broker: World) -> None:
    at = training(broker, rounds=9)
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    broker.advance(1)
    search(broker.ctx, "demo")
    assert broker.api("GET", TASKS, broker.partner).status_code == 403
    shown = broker.api("GET", TASKS, at.coordinator, params={"campaign": at.campaign}).json()
    assert [(one["withdrawals"], one["since"]) for one in shown["tasks"]] == [(None, None)]
    assert broker.api("GET", TASKS, at.coordinator, params={"campaign": "x"}).status_code == 404
    task = shown["tasks"][0]["id"]
    path = f"{TASKS}/{task}/close"
    assert broker.api("POST", path, broker.partner, json={}).status_code == 403
    wrong = {"model": model(9), "residual": {"before": "1e3", "after": "0"}}
    assert broker.api("POST", path, broker.officer, json=wrong).status_code == 400
    assert close(at, task, model=model(9)).status_code == 404
    assert close(at, "ut-absent", model=model(1)).status_code == 404


def test_a_broker_that_trains_nothing_looks_for_nothing(broker: World) -> None:
    consent = Broker(broker.ctx, broker.time).consent(broker.partner, "crm-0")
    assert broker.withdrawal(consent, broker.officer, json={}).status_code == 200
    with broker.ctx.db.reading() as tx:
        assert rows.waiting(tx, "demo") == 0
    assert tasks(broker.ctx, "demo", limit=1) == ([], None)
