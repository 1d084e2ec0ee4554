"""Unlearning on PostgreSQL, where withdrawals, rounds, promotions and tasks come at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.store import campaigns, model_versions
from broker.usecases.model_version import close_round
from broker.usecases.rollout import promote
from broker.usecases.unlearning import search, waiting
from broker.usecases.unlearning_look import look
from broker.usecases.unlearning_task import Residual, close_task
from tests.broker.flow_world import World, world
from tests.broker.test_unlearning import consents, open_task, states, told_round, withdraw
from tests.broker.training import Training, invented, model, training
from tests.waiting import waited_for


@pytest.fixture
def made(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path / "home", database_url=postgres_database) as broker:
        yield broker


def closing(at: Training, number: int, after: str) -> Callable[[], Any]:
    """Closing a round, as a coordinator has it done."""
    where = (at.world.ctx, "demo", at.campaign, "consortium", number)
    return partial(close_round, *where, model_out=after, metrics={"auc": "0.9"}, epsilon=None)


def outcome(act: Callable[[], Any]) -> str:
    try:
        act()
    except StateConflict:
        return "conflict"
    return "done"


def at_once(*acts: Callable[[], Any]) -> list[str]:
    """What becomes of acts that begin together, in their order."""
    ready = threading.Barrier(len(acts))

    def begin(act: Callable[[], Any]) -> str:
        ready.wait()
        return outcome(act)

    with ThreadPoolExecutor(len(acts)) as threads:
        ends = [threads.submit(copy_context().run, begin, act) for act in acts]
        return [end.result() for end in ends]


def behind(at: Training, change: Callable[[Connection], None], act: Callable[[], Any]) -> None:
    """An act that begins while a transaction which holds the campaign changes something."""
    with ThreadPoolExecutor(1) as threads:
        with at.world.ctx.db.transaction() as tx:
            campaigns.find(tx, "demo", at.campaign, lock=True)
            change(tx)
            end: Future[Any] = threads.submit(copy_context().run, act)
            while not end.done() and not waited_for(tx):
                wait([end], timeout=0.05)
        end.result()


def tainted(of: str) -> Callable[[Connection], None]:
    return lambda tx: model_versions.change(tx, "demo", of, state="tainted", taint="used")


def test_a_round_that_closes_while_it_is_searched_is_searched_again(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and marking, a round that had the row gives its model."""
    at = training(made, rounds=9)
    mine = consents(at)
    opened = at.open(1)
    assert at.hand_in(opened, invented(at, opened, named=mine)).status_code == 200
    withdraw(at, mine[0])
    made.advance(1)

    def late(*given: Any, **more: Any) -> None:  # noqa: ANN401
        look(*given, **more)
        closing(at, 1, model(1))()

    with monkeypatch.context() as between:
        between.setattr("broker.usecases.unlearning.look", late)
        assert search(made.ctx, "demo") == 0
    assert states(at)[model(1)] == ("candidate", None)
    assert search(made.ctx, "demo") == 1
    assert states(at)[model(1)] == ("tainted", "used")


def test_withdrawals_rounds_and_searches_at_once_miss_nothing(made: World) -> None:
    at = training(made, rounds=9, unlearning="rollback_replay")
    mine = consents(at, 3)
    told_round(at, 1, model(1), *mine)
    opened = at.open(2, model(1))
    assert at.hand_in(opened, invented(at, opened, named=mine)).status_code == 200
    find = partial(search, made.ctx, "demo")
    withdrawals = (partial(withdraw, at, one) for one in mine)
    assert set(at_once(closing(at, 2, model(2)), find, find, *withdrawals)) == {"done"}
    made.advance(120)
    search(made.ctx, "demo")
    assert waiting(made.ctx, "demo") == 0
    assert states(at)[model(1)] == states(at)[model(2)] == ("tainted", "used")
    assert open_task(at)["withdrawals"] == len(mine)


def test_a_promotion_waits_for_a_search_and_sees_what_it_marked(made: World) -> None:
    at = training(made)
    told_round(at, 1, model(1))
    approval = [at.approval("consortium", model(1))]
    with pytest.raises(StateConflict, match="tainted"):
        behind(at, tainted(model(1)), lambda: promote(made.ctx, "demo", model(1), approval))
    assert states(at)[model(1)] == ("tainted", "used")


def test_a_task_is_not_closed_with_a_model_that_is_tainted_meanwhile(made: World) -> None:
    at, task = replaced(made)
    with pytest.raises(StateConflict, match="may be used"):
        behind(at, tainted(model(2)), lambda: close_task(made.ctx, "demo", task, model=model(2)))
    assert open_task(at)["id"] == task


def test_of_two_who_close_a_task_otherwise_one_does(made: World) -> None:
    _, task = replaced(made)
    residuals = [Residual("0.6", f"0.{number}") for number in range(4)]
    ends = at_once(
        *(
            partial(close_task, made.ctx, "demo", task, model=model(2), residual=one)
            for one in residuals
        )
    )
    assert sorted(ends) == ["conflict"] * 3 + ["done"]
    assert len(made.logged("unlearning.closed")) == 1


def test_who_closes_a_task_alike_at_once_gets_one_answer(made: World) -> None:
    at, task = replaced(made)
    act = partial(close_task, made.ctx, "demo", task, model=model(2))
    assert at_once(act, act, act) == ["done"] * 3
    assert len(made.logged("unlearning.closed")) == 1
    assert states(at)[model(2)] == ("candidate", "descends")


def test_of_two_models_that_close_a_round_at_once_one_is_entered(made: World) -> None:
    at = training(made)
    opened = at.open(1)
    assert at.hand_in(opened, invented(at, opened)).status_code == 200
    ends = at_once(*(closing(at, 1, model(number)) for number in range(10, 14)))
    assert sorted(ends) == ["conflict"] * 3 + ["done"]
    assert len(made.logged("training.round_closed")) == 1
    assert len(states(at)) == 2


def replaced(made: World) -> tuple[Training, str]:
    """A withdrawn row was in model 1; model 2 is without it, and would close the task."""
    at = training(made, rounds=9, unlearning="exclude")
    mine = consents(at)
    told_round(at, 1, model(1), *mine)
    withdraw(at, mine[0])
    made.advance(1)
    search(made.ctx, "demo")
    told_round(at, 2, model(2), *mine[1:])
    return at, open_task(at)["id"]
