"""Consents that count their uses: each permit costs one, a repeated call costs nothing more."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.domain.decision import Decision
from broker.domain.errors import IdempotencyConflict, IdempotencyKeyRequired
from broker.store import tables
from broker.store.consents import CONSENT
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.builders import DAY, TENANT
from tests.broker.deciding import Desk, desk


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def uses_left(at: Desk, consent_id: str) -> int | None:
    with at.broker.ctx.db.reading() as tx:
        query = select(CONSENT.c.uses_left).where(CONSENT.c.id == consent_id)
        left: int | None = tx.execute(query).scalar_one()
        return left


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def test_a_counted_use_needs_a_key_and_nothing_is_counted_without(at: Desk) -> None:
    consent_id = at.consent(uses_left=2)
    with pytest.raises(IdempotencyKeyRequired):
        at.decide()
    assert uses_left(at, consent_id) == 2
    assert at.broker.logged("decision") == []


def test_each_permit_costs_one_and_then_there_are_none(at: Desk) -> None:
    consent_id = at.consent(uses_left=2)
    assert [at.decide(key=f"k{number}").permit for number in range(3)] == [True, True, False]
    assert codes(at.decide(key="k3")) == ["uses_exhausted"]
    assert codes(at.decide()) == ["uses_exhausted"]  # a denial costs nothing and needs no key
    assert uses_left(at, consent_id) == 0


def test_a_denial_costs_nothing_and_keeps_no_key(at: Desk) -> None:
    consent_id = at.consent(uses_left=1)
    assert codes(at.decide(key="k", action="train")) == ["action_not_granted"]
    assert uses_left(at, consent_id) == 1
    assert at.decide(key="k").permit
    assert uses_left(at, consent_id) == 0


def test_a_repeated_call_gets_the_first_answer_and_costs_nothing(at: Desk) -> None:
    consent_id = at.consent(uses_left=1)
    first = at.decide(key="k")
    assert first.permit
    at.broker.time[0] += 5
    assert at.decide(key="k") == first
    assert uses_left(at, consent_id) == 0
    assert len(at.broker.logged("decision")) == 1


def test_a_repeated_call_is_not_permitted_after_the_withdrawal(at: Desk) -> None:
    consent_id = at.consent(uses_left=3)
    assert at.decide(key="k").permit
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent_id)
    assert codes(at.decide(key="k")) == ["consent_withdrawn"]
    assert [entry.body["decision"] for entry in at.broker.logged("decision")] == [True, False]


def test_a_key_stands_for_one_question_of_one_partner(at: Desk) -> None:
    consent_id = at.consent(uses_left=5)
    assert at.decide(key="k").permit
    with pytest.raises(IdempotencyConflict):
        at.decide(key="k", action="profile")
    assert uses_left(at, consent_id) == 4
    other = at.broker.partner("Tea")
    theirs = Desk(at.broker, other, at.broker.token(other))
    theirs.consent(uses_left=1)
    assert theirs.decide(key="k").permit


def test_a_key_is_forgotten_after_a_day(at: Desk) -> None:
    consent_id = at.consent(uses_left=5)
    first = at.decide(key="k")
    at.broker.time[0] += DAY + 1
    at.broker.keep_log()
    at.token = at.broker.token(at.partner_id)
    second = at.decide(key="k")
    assert second.permit
    assert second.entry_id != first.entry_id
    assert uses_left(at, consent_id) == 3


def test_the_first_answer_is_stored_encrypted(at: Desk) -> None:
    at.consent(uses_left=1)
    first = at.decide(key="a-key-of-ours")
    with at.broker.ctx.db.reading() as tx:
        [row] = tx.execute(select(tables.Idempotency.__table__)).all()  # type: ignore[attr-defined]
    assert row.status == 200
    assert first.entry_id.encode() not in row.sealed
    assert "a-key-of-ours" not in str(row)


def test_many_at_once_never_use_more_than_there_is(at: Desk) -> None:
    consent_id = at.consent(uses_left=10)

    async def everybody() -> list[Decision]:
        return await asyncio.gather(*[at.ask(key=f"k{number}") for number in range(32)])

    decisions = asyncio.run(everybody())
    assert sum(decision.permit for decision in decisions) == 10
    assert uses_left(at, consent_id) == 0
    assert {code for decision in decisions for code in codes(decision)} == {"uses_exhausted"}
    entries = at.broker.logged("decision")
    assert sum(entry.body["decision"] for entry in entries) == 10


def test_the_same_call_many_times_at_once_has_one_effect(at: Desk) -> None:
    consent_id = at.consent(uses_left=10)

    async def everybody() -> list[Decision]:
        return await asyncio.gather(*[at.ask(key="k") for _ in range(32)])

    decisions = asyncio.run(everybody())
    assert len({decision.entry_id for decision in decisions}) == 1
    assert all(decision.permit for decision in decisions)
    assert uses_left(at, consent_id) == 9
    assert len(at.broker.logged("decision")) == 1


def test_a_consent_that_is_not_counted_is_used_first(at: Desk) -> None:
    counted = at.consent(uses_left=5)
    free = at.consent()
    assert at.decide().consent_id == free
    assert uses_left(at, counted) == 5
