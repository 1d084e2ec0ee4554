"""Statements that are harmless apart and together show an attribute are not asked."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from broker.domain.errors import StatementShows
from broker.domain.proof_values import check_together
from broker.usecases.attribute_type import add_type
from broker.usecases.demand import set_demand
from tests.broker.flow_world import World, world
from tests.broker.proving import PERSON, asking, registry
from tests.broker.test_demands import PURPOSE
from zkp.statements import read_statement

KINDS = {PERSON.id: PERSON}
ASKED = {"id": PERSON.id, "twin": PERSON.id, "third": PERSON.id, "other": "another/1"}


def of(kind: str, attribute: str, credential: str = "id", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": kind, "credential": credential, "attribute": attribute, **more}


def equal(attribute: str, other: str) -> dict[str, Any]:
    return of("equal", attribute, other={"credential": other, "attribute": attribute})


# By their look alone: nobody told what kind of credential it is.
SHOWN: dict[str, tuple[dict[str, Any], ...]] = {
    "two bounds": (of("at_least", "income", value=7), of("at_most", "income", value=7)),
    "two ranges": (
        of("between", "income", low=1, high=7),
        of("between", "income", low=7, high=9),
    ),
    "two sets": (
        of("member_of", "city", values=["Berlin", "Paris"]),
        of("member_of", "city", values=["Rome", "Berlin"]),
    ),
    "a set without all but one": (
        of("member_of", "city", values=["Berlin", "Paris"]),
        of("not_member_of", "city", values=["Paris"]),
    ),
    "a set and a bound": (
        of("member_of", "income", values=[1, 9]),
        of("at_least", "income", value=2),
    ),
    "a range without all but one": (
        of("between", "income", low=1, high=3),
        of("not_member_of", "income", values=[1, 3]),
    ),
    "an age and a day": (
        of("older_than", "birth_date", years=18, on="2026-11-26"),
        of("at_least", "birth_date", value="2008-11-26"),
    ),
    "an identifier": (
        of("at_least", "number", value="12345678901234567890"),
        of("at_most", "number", value="12345678901234567890"),
    ),
    "codes": (of("at_least", "city", value="Berlin"), of("at_most", "city", value="Berlin")),
    "by an equal one": (
        equal("income", "other"),
        of("at_least", "income", value=7),
        of("at_most", "income", "other", value=7),
    ),
    "by one that is equal to an equal one": (
        of("at_least", "income", value=7),
        equal("income", "other"),
        of("equal", "income", "third", other={"credential": "other", "attribute": "income"}),
        of("at_most", "income", "third", value=7),
    ),
    # One credential in a wallet may answer for all names of its kind.
    "by two names": (of("at_least", "income", value=7), of("at_most", "income", "twin", value=7)),
    "by two names, and a third that is not it": (
        of("at_least", "income", value=7),
        of("at_most", "income", "twin", value=7),
        of("at_least", "income", "third", value=9),
    ),
    "by three names": (
        of("between", "income", low=1, high=3),
        of("not_member_of", "income", "twin", values=[1]),
        of("not_member_of", "income", "third", values=[3]),
    ),
    "two sets by two names": (
        of("member_of", "city", values=["Berlin", "Paris"]),
        of("member_of", "city", "twin", values=["Shanghai", "Berlin"]),
    ),
    "by another name that is equal to another kind": (
        of("at_least", "income", value=7),
        of("equal", "income", "twin", other={"credential": "other", "attribute": "income"}),
        of("at_most", "income", "other", value=7),
    ),
    "texts that look like one number": (
        of("member_of", "text", values=["01", "1"]),
        of("not_member_of", "text", values=["1"]),
    ),
}
# What the bounds of a kind that is known add.
SHOWN_OF_A_KIND: dict[str, tuple[dict[str, Any], ...]] = {
    "the lowest": (of("at_most", "income", value=0),),
    "the highest": (of("at_least", "income", value=65_535),),
    "the first code": (of("at_most", "city", value="Beijing"),),
    "all codes but one": (of("not_member_of", "city", values=["Beijing", "Berlin", "Paris"]),),
    "codes by their order": (
        of("at_least", "city", value="Shanghai"),
        of("at_most", "city", value="Berlin"),
        of("not_member_of", "city", values=["Berlin"]),
    ),
    "the first of all days": (of("older_than", "birth_date", years=126, on="2026-01-01"),),
}
HARMLESS: dict[str, tuple[dict[str, Any], ...]] = {
    "two values": (of("at_least", "income", value=7), of("at_most", "income", value=8)),
    "two attributes": (of("at_least", "income", value=7), of("at_most", "age", value=7)),
    "two credentials": (
        of("at_least", "income", value=7),
        of("at_most", "income", "other", value=7),
    ),
    "two names": (of("at_least", "income", value=7), of("at_most", "income", "twin", value=8)),
    "two names that cannot be one": (
        of("at_least", "income", value=8),
        of("at_most", "income", "twin", value=7),
    ),
    "texts of different looks": (of("member_of", "text", values=["01", "1"]),),
    "a day and a number": (of("member_of", "text", values=["2026-11-26", "739946"]),),
    "days of different looks": (of("member_of", "text", values=["2026-11-26", "20261126"]),),
    "a text of many digits": (of("member_of", "text", values=["9" * 2_048, "8"]),),
    "none": (of("at_least", "income", value=8), of("at_most", "income", value=7)),
    "another type": (of("at_least", "income", value="x"), of("at_most", "income", value="y")),
    "two cities": (
        of("member_of", "city", values=["Berlin", "Paris"]),
        of("not_member_of", "city", values=["Rome"]),
    ),
    "a day more": (
        of("older_than", "birth_date", years=18, on="2026-11-26"),
        of("at_least", "birth_date", value="2008-11-25"),
    ),
    "old": (of("older_than", "birth_date", years=70, on="2026-11-26"),),
    "equal alone": (equal("income", "other"),),
    "no calendar": (of("older_than", "birth_date", years=3000, on="2026-11-26"),),
}


def together(told: tuple[dict[str, Any], ...], kinds: dict[str, Any]) -> None:
    check_together([read_statement(one) for one in told], ASKED, kinds)


@pytest.mark.parametrize("name", SHOWN)
def test_what_shows_it_by_its_look(name: str) -> None:
    with pytest.raises(StatementShows):
        together(SHOWN[name], {})
    with pytest.raises(StatementShows):
        together(SHOWN[name][::-1], KINDS)


@pytest.mark.parametrize("name", SHOWN_OF_A_KIND)
def test_what_shows_it_by_its_kind(name: str) -> None:
    together(SHOWN_OF_A_KIND[name], {})
    with pytest.raises(StatementShows):
        together(SHOWN_OF_A_KIND[name], KINDS)


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("kinds", [{}, KINDS], ids=["unknown", "known"])
def test_what_leaves_more_than_one(name: str, kinds: dict[str, Any]) -> None:
    together(HARMLESS[name], kinds)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("values")) as made:
        attributes = [one.to_json() for one in PERSON.attributes]
        add_type(made.ctx, "demo", {"id": PERSON.id, "attributes": attributes})
        yield made


@pytest.mark.parametrize("name", ["two bounds", "the lowest", "by two names"])
def test_the_broker_does_not_ask_it(broker: World, name: str) -> None:
    told = (SHOWN | SHOWN_OF_A_KIND)[name]
    body = asking(*told, by=registry())
    (kind,) = body["credentials"].values()
    body["credentials"] = {one["credential"]: kind for one in told}
    answer = broker.api(
        "POST",
        "/v1/proof-requests",
        content=json.dumps(body),
        headers={"Idempotency-Key": name, "Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "statement_shows_attribute")


def test_no_purpose_demands_it(broker: World) -> None:
    def demand(*told: dict[str, Any]) -> None:
        bare = [{name: told for name, told in one.items() if name != "credential"} for one in told]
        value = {"schema": PERSON.id, "statements": bare, "max_age_seconds": 600}
        set_demand(broker.ctx, "demo", PURPOSE, value)

    for name in ("two bounds", "the lowest"):
        with pytest.raises(StatementShows):
            demand(*(SHOWN | SHOWN_OF_A_KIND)[name])
    demand({"type": "older_than", "attribute": "birth_date", "years": 70})
