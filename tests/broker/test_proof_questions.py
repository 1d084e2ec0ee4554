"""A partner cannot find what is hidden by many narrow questions."""

import datetime as dt
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from broker.domain.proof_question import PERIOD_SECONDS, questions_of
from broker.store.acting import acting_for_all
from broker.usecases.token import forget_expired
from tests.broker.flow_world import DAY, World, world
from tests.broker.proving import ADULT, Registry, asking, registry
from tests.broker.test_proofs import CITY
from zkp.statements import read_statement

ALLOWED = 4


@pytest.fixture
def office() -> Registry:
    return registry()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home", proof_questions=ALLOWED) as made:
        yield made


def ask(made: World, by: Registry, *statements: dict[str, Any], **more: Any) -> Any:  # noqa: ANN401
    caller = more.pop("caller", None)
    body = asking(*statements, by=by, **more)
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    return made.api("POST", "/v1/proof-requests", caller, json=body, headers=headers)


def earns(value: int, kind: str = "at_least") -> dict[str, Any]:
    return {"type": kind, "credential": "id", "attribute": "income", "value": value}


def asked(made: World, caller: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = made.api("GET", "/v1/proof-questions", caller).json()
    return found


def test_halving_ends_before_it_finds_anything(broker: World, office: Registry) -> None:
    low, high, steps, answer = 0, 65_535, 0, None
    while low < high:
        middle = (low + high + 1) // 2
        # Whom it asks, and whether it says so, makes no difference.
        who = {} if steps % 2 else {"subject_ref": f"crm-{steps}"}
        answer = ask(broker, office, earns(middle), **who)
        if answer.status_code != 201:
            break
        low, high, steps = (
            (middle, high, steps + 1) if middle <= 30_000 else (low, middle - 1, steps + 1)
        )
    assert answer is not None
    assert (answer.status_code, answer.json()["code"]) == (403, "too_many_questions")
    assert steps == ALLOWED
    assert high - low > 65_535 // 2 ** (ALLOWED + 1)
    (entry,) = broker.logged("proof.not_asked")
    assert entry.body == {
        "partner": broker.partner,
        "schema": "person/1",
        "attribute": "income",
        "allowed": ALLOWED,
    }
    assert len(broker.logged("proof.requested")) == ALLOWED
    between = {"type": "between", "credential": "id", "attribute": "income", "low": 1, "high": 9}
    for other in (earns(1, "at_most"), between, earns(2) | {"credential": "id"}):
        assert ask(broker, office, other).status_code == 403
    assert ask(broker, office, earns(32_768)).status_code == 201, "what was asked before"
    assert ask(broker, office, ADULT, CITY).status_code == 201, "another attribute"
    assert ask(broker, office, ADULT, earns(3)).status_code == 403, "beside it"
    assert len(asked(broker)["questions"]) == ALLOWED + 2, "and nothing of that was counted"
    second = broker.second_partner()
    assert ask(broker, office, earns(7), caller=second).status_code == 201
    # Whoever still asks for one keeps it; the others are forgotten after a year.
    broker.advance(PERIOD_SECONDS - DAY)
    assert ask(broker, office, earns(32_768)).status_code == 201
    broker.advance(DAY)
    assert [one["statement"]["value"] for one in asked(broker)["questions"]] == [32_768]
    forget_expired(broker.ctx)
    assert [ask(broker, office, earns(value)).status_code for value in range(ALLOWED)] == [
        *[201] * (ALLOWED - 1),
        403,
    ]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_many_at_once_so_many_are_asked(
    tmp_path: Path, request: pytest.FixtureRequest, office: Registry, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "home", database_url=url, proof_questions=ALLOWED) as made:

        def one(number: int) -> int:
            with acting_for_all():
                who = {"subject_ref": f"crm-{number % 3}"}
                status: int = ask(made, office, earns(number), **who).status_code
                return status

        with ThreadPoolExecutor(8) as pool:
            answers = sorted(pool.map(one, range(16)))
        assert answers == [*[201] * ALLOWED, *[403] * (16 - ALLOWED)]
        assert len(asked(made)["questions"]) == ALLOWED


def test_officers_see_every_partner_s_and_partners_their_own(
    broker: World, office: Registry
) -> None:
    second = broker.second_partner()
    today = dt.datetime.fromtimestamp(broker.time[0], dt.UTC).date().isoformat()
    assert ask(broker, office, ADULT | {"on": today}).status_code == 201
    broker.advance(1)
    assert ask(broker, office, earns(5), caller=second).status_code == 201
    everything = asked(broker, broker.officer)
    assert (everything["allowed"], everything["days"]) == (ALLOWED, 365)
    assert [one["partner"] for one in everything["questions"]] == [second, broker.partner]
    (own,) = asked(broker)["questions"]
    assert own == {
        "partner": broker.partner,
        "schema": "person/1",
        "attribute": "birth_date",
        "statement": {"type": "older_than", "years": 18},
        "first_at": broker.time[0] - 1,
        "last_at": broker.time[0] - 1,
    }


SCHEMAS = {"id": "person/1", "other": "member/1"}
NOW = 1_795_348_800  # 2026-11-22T12:00:00Z


def count(*told: dict[str, Any]) -> int:
    return len(questions_of(SCHEMAS, [read_statement(one) for one in told], NOW))


def test_what_is_the_same_question() -> None:
    today = ADULT | {"on": "2026-11-22"}
    assert count(today, today | {"on": "2026-11-23"}) == 1
    assert count(today, today | {"on": "2026-11-20"}) == 2
    assert count(ADULT, ADULT | {"years": 21}) == 2
    assert count(CITY, CITY | {"values": CITY["values"][::-1]}) == 1
    assert count(CITY, CITY | {"values": ["Beijing", "Paris"]}) == 2
    assert count(earns(5), earns(5, "at_most")) == 2
    assert count(earns(5), earns(5) | {"credential": "other"}) == 2  # of another kind
    stands = {"type": "not_revoked", "credential": "id", "attribute": "revocation_id"}
    assert count(stands | {"token": "t", "epoch": 7}) == 0
    here = {"credential": "id", "attribute": "city"}
    there = {"credential": "other", "attribute": "town"}
    one, other = ({"type": "equal", **a, "other": b} for a, b in ((here, there), (there, here)))
    assert count(one) == 2  # it is asked about both
    assert count(one, other) == 2
