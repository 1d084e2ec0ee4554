"""Tenants' own attributes: declared, set, looked at by their policies, and tried on the past."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.domain.errors import (
    InvalidPolicies,
    InvalidRequest,
    NotFound,
    StateConflict,
    UnknownPartner,
)
from broker.domain.own_attribute import MOST, Declared, Own, split
from broker.domain.policies import CONSENT_SCHEMA
from broker.domain.policy_set import never_applying
from broker.usecases import own_attribute
from broker.usecases.policy_preview import preview
from broker.usecases.policy_set import add, switch
from tests.broker.builders import TENANT
from tests.broker.deciding import Desk, desk

TIER = Declared("partner", "tier", "long")
OWNERS = Declared("attribute", "owners", "set")
CHANNEL = Declared("request", "channel", "string", ("app", "in-store"))
TRUSTED = Declared("partner", "trusted", "bool")


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def rule(name: str, condition: str) -> str:
    return (
        f'@id("own.{name}") @law("contract") @code("own_{name}") @obligation("stop") '
        f'@zh("无。") @en("No.") forbid (principal, action, resource) when {{ {condition} }};\n'
    )


LOW_TIER = rule(
    "tier", "if principal.brand.own has tier then principal.brand.own.tier < 2 else true"
)
NOT_OURS = rule("owners", 'resource.own has owners && !resource.own.owners.contains("marketing")')
IN_STORE = rule("channel", 'context.own has channel && context.own.channel == "in-store"')


def declare(at: Desk, *declared: Declared) -> None:
    for one in declared:
        assert own_attribute.declare(at.broker.ctx, TENANT, one, by="o-1")


def in_force(at: Desk, text: str) -> int:
    made = add(at.broker.ctx, TENANT, text)
    switch(at.broker.ctx, TENANT, made.number)
    return made.number


def put(at: Desk, **values: object) -> Own:
    return own_attribute.put(at.broker.ctx, TENANT, "partner", at.partner_id, values, by="o-1")


def test_policies_rest_on_what_officers_set_and_callers_state(on_each: Desk) -> None:
    at = on_each
    at.consent()
    declare(at, TIER, OWNERS, CHANNEL)
    assert not own_attribute.declare(at.broker.ctx, TENANT, TIER)
    in_force(at, LOW_TIER + NOT_OURS + IN_STORE)
    assert at.codes() == ["own_tier"]  # missing: as the policy says
    put(at, tier=1)
    assert at.codes() == ["own_tier"]
    put(at, tier=2)
    assert at.codes() == []
    for owners, codes in (["sales"], ["own_owners"]), (["sales", "marketing"], []):
        ctx, values = at.broker.ctx, {"owners": owners}
        own_attribute.put(ctx, TENANT, "attribute", "home_city", values)
        assert at.codes() == codes
    assert at.codes(own=(("channel", "in-store"),)) == ["own_channel"]
    assert at.codes(own=(("channel", "app"),)) == []
    assert put(at, tier=None) == ()
    assert at.codes() == ["own_tier"]
    told = [entry.body for entry in at.broker.logged("own_attribute.set")]
    assert [body["number"] for body in told] == [1, 2, 3, 4, 5]
    assert told[0] == {"number": 1, "partner": at.partner_id, "values": {"tier": 1}, "by": "o-1"}


def test_a_request_that_states_a_value_that_does_not_fit_is_denied(at: Desk) -> None:
    at.consent()
    declare(at, CHANNEL, Declared("request", "urgent", "bool"))
    in_force(at, IN_STORE + rule("urgent", "context.own has urgent && context.own.urgent"))
    for own in (("channel", "a text of my own"),), (("channel", 1),), (("urgent", 1),):
        assert at.codes(own=own) == ["own_value_unfit"]
        assert "own" not in at.broker.logged("decision")[-1].body["facts"]
    assert at.codes(own=(("unheard", 1), ("urgent", False))) == []
    assert at.broker.logged("decision")[-1].body["facts"]["own"] == {"request": {"urgent": False}}


def test_past_decisions_are_tried_by_the_values_of_their_time(on_each: Desk) -> None:
    at, ctx = on_each, on_each.broker.ctx
    at.consent()
    declare(at, TIER, CHANNEL)
    in_force(at, LOW_TIER + IN_STORE)
    asked = [put(at, tier=1), at.codes(), put(at, tier=2), at.codes()]
    assert (asked[1], asked[3]) == (["own_tier"], [])
    assert at.codes(own=(("channel", "in-store"),)) == ["own_channel"]
    put(at, tier=0)
    at.broker.keep_log()
    same = preview(ctx, TENANT, LOW_TIER + IN_STORE, last=100)
    assert (same.tried, same.skipped, same.otherwise) == (3, 0, 0)
    assert (same.now_denied, same.now_permitted, same.other_reasons) == (0, 0, 0)
    looser = preview(ctx, TENANT, LOW_TIER.replace("< 2", "< 1") + IN_STORE, last=100)
    assert (looser.now_permitted, looser.otherwise) == (1, 0)
    tighter = preview(ctx, TENANT, LOW_TIER.replace("< 2", "< 3") + IN_STORE, last=100)
    assert (tighter.now_denied, tighter.other_reasons) == (1, 1)
    kept = at.broker.logged("decision")[0].body["facts"]["own"]
    assert kept == {"partner": 1}  # a number: the partner reads its entries


def test_a_set_is_judged_by_its_own_declarations(at: Desk) -> None:
    at.consent()
    ctx = at.broker.ctx
    declare(at, TIER, TRUSTED)
    first = add(ctx, TENANT, LOW_TIER)
    assert split(first.text) == ((TIER,), LOW_TIER)
    assert add(ctx, TENANT, first.text).number == add(ctx, TENANT, LOW_TIER).number == first.number
    put(at, tier=2, trusted=False)
    switch(ctx, TENANT, first.number)
    assert at.codes() == []
    texts = Declared("partner", "tier", "string")
    for act in (lambda: own_attribute.declare(ctx, TENANT, texts), lambda: drop(at, "tier")):
        with pytest.raises(StateConflict, match="in force use tier"):
            act()
    drop(at, "trusted")
    switch(ctx, TENANT, 0)
    declare(at, texts)
    with pytest.raises(InvalidPolicies, match="not registered so"):
        switch(ctx, TENANT, first.number)
    with pytest.raises(InvalidPolicies, match="not registered so"):
        add(ctx, TENANT, first.text)
    with pytest.raises(InvalidPolicies, match="do not fit"):
        add(ctx, TENANT, LOW_TIER)
    # What was set as a number fits no more, and is missing; what nobody declares any more is too.
    found = own_attribute.listed(ctx, TENANT)
    assert [found.unseen(one) for one in found.values] == [["tier", "trusted"]]
    in_force(at, rule("tier", 'principal.brand.own has tier && principal.brand.own.tier == "low"'))
    assert at.codes() == []
    put(at, tier="low")
    assert at.codes() == ["own_tier"]
    found = own_attribute.listed(ctx, TENANT)
    assert [found.unseen(one) for one in found.values] == [[]]


def test_of_a_switch_and_another_declaration_at_once_one_fails(on_each: Desk) -> None:
    ctx = on_each.broker.ctx
    declare(on_each, TIER)
    number = add(ctx, TENANT, LOW_TIER).number
    texts = Declared("partner", "tier", "string")

    async def both() -> list[object]:
        acts = (
            asyncio.to_thread(switch, ctx, TENANT, number),
            asyncio.to_thread(own_attribute.declare, ctx, TENANT, texts),
        )
        return list(await asyncio.gather(*acts, return_exceptions=True))

    switched, declared = asyncio.run(both())
    assert {switched, declared} & {True} == {True}
    assert isinstance(switched, InvalidPolicies) or isinstance(declared, StateConflict)
    now = own_attribute.listed(ctx, TENANT).declared
    assert now == ((TIER,) if switched is True else (texts,))


def drop(at: Desk, name: str) -> None:
    own_attribute.drop(at.broker.ctx, TENANT, name)


@pytest.mark.parametrize(
    "condition",
    [
        "principal.brand.own.tier < 2",  # without `has`
        'principal.brand.own has tier && principal.brand.own.tier < "gold"',
        "principal.brand.own.other == 1",
    ],
)
def test_a_policy_that_could_err_is_refused(at: Desk, condition: str) -> None:
    declare(at, TIER)
    with pytest.raises(InvalidPolicies, match="do not fit"):
        add(at.broker.ctx, TENANT, rule("tier", condition))


def test_a_policy_that_asks_for_what_is_not_declared_is_told_to_apply_never(at: Desk) -> None:
    declare(at, TIER)
    other = "principal.brand.own has other && principal.brand.own.other"
    made = add(at.broker.ctx, TENANT, rule("other", other) + LOW_TIER)
    assert never_applying(made.text, CONSENT_SCHEMA) == ["own.other"]


def test_the_line_of_a_set_is_checked_like_a_declaration(at: Desk) -> None:
    ctx = at.broker.ctx
    for line in ("x", "[[1]]", '[["brand","x","long",[]]]', '[["partner","a: Long, b","long",[]]]'):
        with pytest.raises(InvalidPolicies, match="first line"):
            add(ctx, TENANT, f"// own: {line}\n{LOW_TIER}")
    with pytest.raises(InvalidPolicies, match="not registered"):
        add(ctx, TENANT, f'// own: [["partner","tier","long",[]]]\n{LOW_TIER}')


@pytest.mark.parametrize(
    "wrong",
    [
        Declared("partner", "Tier", "long"),
        Declared("partner", "a" * 41, "long"),
        Declared("partner", "like", "long"),
        Declared("partner", "tier", "long", ("1",)),
        Declared("request", "channel", "string"),
        Declared("request", "channel", "string", ("app", "app")),
        Declared("request", "channel", "string", ("a\nb",)),
    ],
)
def test_a_declaration_is_bounded_and_named_apart(at: Desk, wrong: Declared) -> None:
    with pytest.raises(InvalidRequest):
        own_attribute.declare(at.broker.ctx, TENANT, wrong)
    assert own_attribute.listed(at.broker.ctx, TENANT).declared == ()


def test_values_are_declared_and_fit(at: Desk) -> None:
    ctx = at.broker.ctx
    declare(at, TIER, TRUSTED, CHANNEL)
    wrong: list[dict[str, object]] = [
        {"tier": True},
        {"tier": 2**63},
        {"tier": "2"},
        {"tier": 2.5},
        {"trusted": 1},
        {"channel": "app"},
        {"unheard": 1},
        {"tier": ["x"] * 33},
    ]
    for values in wrong:
        with pytest.raises(InvalidRequest):
            put(at, **values)
    with pytest.raises(UnknownPartner):
        own_attribute.put(ctx, TENANT, "partner", "p-unheard", {"tier": 1})
    with pytest.raises(NotFound):
        own_attribute.put(ctx, TENANT, "attribute", "unheard", {})
    with pytest.raises(NotFound):
        drop(at, "unheard")
    assert put(at, trusted=True) == put(at, trusted=True) == (("trusted", True),)
    declare(at, *(Declared("partner", f"more{n}", "bool") for n in range(MOST - 3)))
    with pytest.raises(InvalidRequest, match="at most"):
        own_attribute.declare(ctx, TENANT, Declared("partner", "tooMany", "bool"))
    (kept,) = own_attribute.listed(ctx, TENANT).values
    assert (kept.kind, kept.of, kept.values) == ("partner", at.partner_id, (("trusted", True),))
