"""The same Idempotency-Key has one effect, on both databases, whatever happens in between."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select

from broker.api import idempotency
from broker.api.deps import Caller
from broker.api.idempotency import LIFETIME_SECONDS, Answer, run
from broker.domain.errors import (
    BrokerError,
    IdempotencyConflict,
    IdempotencyInProgress,
    IdempotencyKeyRequired,
    IdempotencyReplayed,
    StateConflict,
)
from broker.store import idempotency as rows
from broker.store.acting import acting_for
from broker.usecases.token import forget_expired
from tests.broker.clients_world import World, world

EFFECT = Table("effect_of_tests", MetaData(), Column("id", Integer, primary_key=True))
CALLER = Caller("demo", "p-one", "partner")
OTHER = Caller("demo", "p-two", "partner")
AT_ONCE = 32


@pytest.fixture(params=["sqlite", "postgresql"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    with world(tmp_path, url) as made:
        EFFECT.metadata.create_all(made.ctx.db.engine)
        yield made


@dataclass
class Act:
    """Something that is to happen once: it adds a row and answers with the row's number."""

    broker: World
    fails: BrokerError | None = None
    dies_after: bool = False
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> Answer:
        with self.lock:
            self.calls += 1
        with self.broker.ctx.db.transaction() as tx:
            number: int = tx.execute(insert(EFFECT).returning(EFFECT.c.id)).scalar_one()
            if self.fails is not None:
                raise self.fails
        if self.dies_after:
            raise KeyboardInterrupt
        return Answer(201, b'{"id": %d, "secret": "7d3f"}' % number)


def effects(broker: World) -> int:
    with broker.ctx.db.reading() as tx:
        return int(tx.execute(select(func.count()).select_from(EFFECT)).scalar_one())


def outcome(work: Callable[[], Answer]) -> Answer | str:
    try:
        return work()
    except BrokerError as error:
        return error.code


def test_32_in_parallel_have_exactly_one_effect_and_one_answer(broker: World) -> None:
    act = Act(broker)
    start = threading.Barrier(AT_ONCE)

    @acting_for("demo")
    def call(_number: int) -> Answer | str:
        start.wait()
        return outcome(lambda: run(broker.ctx, CALLER, b"body", "key", act))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(call, range(AT_ONCE)))
    assert effects(broker) == 1
    assert len(set(answers)) == 1
    assert isinstance(answers[0], Answer)


def test_32_different_keys_in_parallel_have_32_effects(broker: World) -> None:
    act = Act(broker)
    call = acting_for("demo")(lambda n: run(broker.ctx, CALLER, b"body", f"key-{n}", act))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(call, range(AT_ONCE)))
    assert effects(broker) == AT_ONCE
    assert len({answer.body for answer in answers}) == AT_ONCE


def test_a_retry_gets_the_first_answer(broker: World) -> None:
    act = Act(broker)
    first = run(broker.ctx, CALLER, b"body", "key", act)
    assert run(broker.ctx, CALLER, b"body", "key", act) == first
    assert (act.calls, effects(broker)) == (1, 1)


def test_another_request_with_the_same_key_is_a_conflict(broker: World) -> None:
    act = Act(broker)
    run(broker.ctx, CALLER, b"body", "key", act)
    with pytest.raises(IdempotencyConflict):
        run(broker.ctx, CALLER, b"another body", "key", act)
    assert effects(broker) == 1


def test_two_callers_may_choose_the_same_key(broker: World) -> None:
    act = Act(broker)
    run(broker.ctx, CALLER, b"body", "key", act)
    run(broker.ctx, OTHER, b"body", "key", act)
    assert effects(broker) == 2


def test_a_failed_act_leaves_nothing_and_its_key_free(broker: World) -> None:
    with pytest.raises(StateConflict):
        run(broker.ctx, CALLER, b"body", "key", Act(broker, fails=StateConflict("not now")))
    assert effects(broker) == 0
    assert run(broker.ctx, CALLER, b"body", "key", Act(broker)).status == 201
    assert effects(broker) == 1


def test_a_process_that_dies_after_the_act_has_not_left_the_key_free(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "POLLS", 1)
    with pytest.raises(KeyboardInterrupt):
        run(broker.ctx, CALLER, b"body", "key", Act(broker, dies_after=True))
    # Nobody can tell yet that the first call will never answer.
    with pytest.raises(IdempotencyInProgress):
        run(broker.ctx, CALLER, b"body", "key", Act(broker))
    broker.advance(61)
    with pytest.raises(IdempotencyReplayed):
        run(broker.ctx, CALLER, b"body", "key", Act(broker))
    assert effects(broker) == 1


def test_an_answer_that_is_not_to_be_kept_is_not(broker: World) -> None:
    act = Act(broker)
    run(broker.ctx, CALLER, b"body", "key", act, store=False)
    with pytest.raises(IdempotencyReplayed):
        run(broker.ctx, CALLER, b"body", "key", act, store=False)
    assert effects(broker) == 1
    with broker.ctx.db.reading() as tx:
        assert [row.sealed for row in tx.execute(rows.IDEMPOTENCY.select())] == [None]


def test_kept_answers_keys_and_requests_are_not_readable_in_the_database(broker: World) -> None:
    run(broker.ctx, CALLER, b"subject crm-000381", "my-key", Act(broker))
    with broker.ctx.db.reading() as tx:
        (row,) = tx.execute(rows.IDEMPOTENCY.select())
    text = repr(tuple(row))
    assert all(secret not in text for secret in ("7d3f", "my-key", "crm-000381"))


def test_a_key_is_forgotten_after_a_day(broker: World) -> None:
    act = Act(broker)
    run(broker.ctx, CALLER, b"body", "key", act)
    broker.advance(LIFETIME_SECONDS)
    run(broker.ctx, CALLER, b"another body", "key", act)
    assert effects(broker) == 2
    broker.advance(LIFETIME_SECONDS)
    forget_expired(broker.ctx)
    with broker.ctx.db.reading() as tx:
        assert tx.execute(rows.IDEMPOTENCY.select()).all() == []


@pytest.mark.parametrize("key", [None, ""])
def test_a_creating_call_without_a_key_is_refused_before_it_acts(
    broker: World, key: str | None
) -> None:
    act = Act(broker)
    with pytest.raises(IdempotencyKeyRequired):
        run(broker.ctx, CALLER, b"body", key, act)
    assert act.calls == 0
    assert run(broker.ctx, CALLER, b"body", key, act, required=False).status == 201


def test_work_that_writes_nothing_is_answered_once_too(broker: World) -> None:
    calls: list[int] = []

    def work() -> Answer:
        calls.append(1)
        return Answer(200, b"%d" % len(calls))

    first = run(broker.ctx, CALLER, b"body", "key", work)
    assert run(broker.ctx, CALLER, b"body", "key", work) == first
    assert calls == [1]


def test_over_http_a_retry_stores_no_second_version(broker: World) -> None:
    headers = broker.bearer(broker.officer)
    template = broker.http.get("/v1/templates", headers=headers).json()["templates"][0]["document"]
    keyed = headers | {"Idempotency-Key": "one"}
    answers = [broker.http.post("/v1/templates", json=template, headers=keyed) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["version"] for answer in answers} == {2}
    template["title"]["en"] = "asks for something else"
    conflict = broker.http.post("/v1/templates", json=template, headers=keyed)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency_conflict")
    missing = broker.http.post("/v1/templates", json=template, headers=headers)
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_required")
