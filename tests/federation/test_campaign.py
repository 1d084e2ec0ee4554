"""A campaign says one thing in one spelling, and nothing impossible."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.campaign import LARGEST_CAMPAIGN, Campaign, parameters_hash
from federation.errors import (
    BundleDiffers,
    CampaignInvalid,
    CombinationImpossible,
    FederationError,
    Malformed,
    ParametersDiffer,
    TooLarge,
)
from federation.privacy import RowPrivacy, Spent, rounds_left
from tests.federation.world import BUNDLE, CAMPAIGN, PARAMETERS, aggregation, campaign_json


def read(document: dict[str, Any]) -> Campaign:
    return Campaign.parse(json.dumps(document).encode())


def test_a_campaign_comes_back_as_it_was_whatever_the_order_of_its_members() -> None:
    campaign = read(CAMPAIGN)
    assert campaign.to_json() == CAMPAIGN
    assert campaign == Campaign.parse(campaign.canonical())
    assert campaign.hash() == read(dict(reversed(CAMPAIGN.items()))).hash()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """Every place in a JSON document."""
    if path:
        yield path
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    for name, found in inner.items() if isinstance(inner, dict) else ():
        yield from places(found, (*path, name))


def changed(path: tuple[Any, ...], value: object, *, drop: bool = False) -> dict[str, Any]:
    document = copy.deepcopy(CAMPAIGN)
    at: Any = document
    for name in path[:-1]:
        at = at[name]
    if drop:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return document


@pytest.mark.parametrize("path", list(places(CAMPAIGN)), ids=lambda path: ".".join(map(str, path)))
def test_every_member_is_needed_and_counts(path: tuple[Any, ...]) -> None:
    """What is dropped or changed is refused, or is another campaign with another hash."""
    whole = read(CAMPAIGN).hash()
    for document in (changed(path, None, drop=True), changed(path, "x"), changed(path, 7)):
        try:
            found = read(document)
        except FederationError:
            continue
        # A list may lose an entry, a parameter may be anything, a name another: all are hashed.
        assert found.hash() != whole
    if path[0] != "parameters" and isinstance(path[-1], str):
        with pytest.raises(FederationError):
            read(changed(path, None, drop=True))


def test_an_unknown_member_is_refused_at_every_depth() -> None:
    for document in (
        campaign_json(extra=1),
        campaign_json(privacy=CAMPAIGN["privacy"] | {"extra": 1}),
        aggregation(extra=1),
    ):
        with pytest.raises(Malformed, match="unknown"):
            read(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "krum", "byzantine": 1, "secure": True},
        {"method": "trimmed_mean", "trim": "0.3", "secure": True},
        {"method": "fedavg", "server_clip": "1.5", "secure": True},
        {"method": "fedprox", "mu": "1", "server_clip": "1", "secure": True},
    ],
)
def test_secure_aggregation_goes_with_nothing_that_looks_at_one_update(
    changes: dict[str, Any],
) -> None:
    open_form = {name: value for name, value in changes.items() if name != "secure"}
    many = [f"p-{number:02}" for number in range(9)]
    stage = {"stage": "consortium", "members": many, "gates": [], "approvals": 1}
    crowd = {"members": many, "minimum_members": 9, "rollout": [stage]}
    read(aggregation(**open_form) | crowd)
    with pytest.raises(CombinationImpossible):
        read(aggregation(**changes) | crowd)


@pytest.mark.parametrize(
    "method", [{"method": "krum", "byzantine": 1}, {"method": "trimmed_mean", "trim": "0.3"}]
)
def test_what_deals_with_outliers_itself_has_nothing_clipped(method: dict[str, Any]) -> None:
    many = [f"p-{number:02}" for number in range(9)]
    stage = {"stage": "consortium", "members": many, "gates": [], "approvals": 1}
    crowd = {"members": many, "minimum_members": 9, "rollout": [stage]}
    read(aggregation(**method) | crowd)
    with pytest.raises(CombinationImpossible, match="server_clip"):
        read(aggregation(**method, server_clip="1") | crowd)


def test_secure_aggregation_takes_three_members() -> None:
    three = [CAMPAIGN["rollout"][1]]
    read(aggregation(secure=True) | {"minimum_members": 3, "rollout": three})
    with pytest.raises(CombinationImpossible, match="subtract its own"):
        read(aggregation(secure=True) | {"minimum_members": 2, "rollout": three})


def test_robust_methods_take_members_enough() -> None:
    with pytest.raises(CombinationImpossible, match="krum against 1"):
        read(aggregation(method="krum", byzantine=1))
    with pytest.raises(CombinationImpossible, match="cuts 0"):
        read(aggregation(method="trimmed_mean", trim="0.1"))
    with pytest.raises(CombinationImpossible, match="cuts 1"):
        read(aggregation(method="trimmed_mean", trim="0.5"))


@pytest.mark.parametrize(
    "changes", [{"mu": "0.1"}, {"method": "fedprox"}, {"method": "krum", "byzantine": 1, "mu": "1"}]
)
def test_a_method_has_its_own_settings_alone(changes: dict[str, Any]) -> None:
    with pytest.raises(CampaignInvalid):
        read(aggregation(**changes))


def test_a_round_that_could_never_begin_is_refused() -> None:
    with pytest.raises(CombinationImpossible, match="no round of that stage"):
        read(campaign_json(minimum_members=3))


@pytest.mark.parametrize(
    "changes",
    [
        {"cohort": 1, "minimum_rows": 1},
        {"minimum_rows": 4},
        {"attributes": []},
        {"territories": []},
        {"valid_until": CAMPAIGN["valid_from"]},
        {"salt_hash": "c2FsdA"},
        {"attributes": ["visits", "home_city"]},
        {"members": ["p-north", "p-north"]},
        {"rollout": list(reversed(CAMPAIGN["rollout"]))},
        {"rollout": CAMPAIGN["rollout"][:1]},
        {"rollout": []},
        {"rollout": [CAMPAIGN["rollout"][1] | {"approvals": 0}]},
        {"rollout": [CAMPAIGN["rollout"][1] | {"members": ["p-north", "p-south"]}]},
        {"rollout": [CAMPAIGN["rollout"][0] | {"members": ["p-x"]}, CAMPAIGN["rollout"][1]]},
        {"privacy": CAMPAIGN["privacy"] | {"epsilon": "8.0"}},
        {"privacy": CAMPAIGN["privacy"] | {"epsilon": 8}},
        {"privacy": CAMPAIGN["privacy"] | {"epsilon": "0"}},
        {"privacy": CAMPAIGN["privacy"] | {"delta": "1"}},
        {"privacy": CAMPAIGN["privacy"] | {"noise_multiplier": "0.001"}},
        {"privacy": CAMPAIGN["privacy"] | {"epsilon": "0.1", "noise_multiplier": "0.5"}},
        {"privacy": CAMPAIGN["privacy"] | {"sampling_rate": "1.5"}},
        {"unlearning": "erase"},
        {"purpose": "dpv:ServicePersonalisation"},
        {"schema": "urn:consent-broker:campaign:2"},
        {"rounds": True},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FederationError):
        read(campaign_json(**changes))


def test_spare_rounds_are_signed_where_there_are_any() -> None:
    """Without them a campaign is spelt and hashed as before there were any."""
    plain = read(CAMPAIGN)
    assert (plain.spare_rounds, plain.highest_number) == (0, 20)
    assert "spare_rounds" not in plain.to_json()
    assert plain.hash() == "XdlDzEfsI2rlPv4m9TEQOPivNnkpyQyB4JbO2MAMrYk"
    document = campaign_json(spare_rounds=5)
    spared = read(document)
    assert (spared.spare_rounds, spared.highest_number) == (5, 25)
    assert spared.to_json() == document
    assert spared.hash() != plain.hash()


@pytest.mark.parametrize("wrong", [0, -1, True, "3", None, 1.0, 1_001])
def test_spare_rounds_have_one_spelling(wrong: object) -> None:
    with pytest.raises(Malformed, match="spare_rounds is a whole number from 1 to 1000"):
        read(campaign_json(spare_rounds=wrong))


def test_spare_rounds_are_ones_that_can_be_opened() -> None:
    read(campaign_json(rounds=99_999, spare_rounds=1, privacy=None))
    with pytest.raises(CampaignInvalid, match="together"):
        read(campaign_json(rounds=100_000, spare_rounds=1, privacy=None))
    # Every round that is opened spends, those of both stages.
    privacy = RowPrivacy.from_json(CAMPAIGN["privacy"])
    covered = rounds_left(privacy, Spent()) // 2
    assert covered > 20
    read(campaign_json(spare_rounds=covered - 20))
    with pytest.raises(CombinationImpossible, match=f"open {2 * (covered + 1)} rounds"):
        read(campaign_json(spare_rounds=covered - 19))


def test_the_hash_of_the_parameters_is_theirs() -> None:
    with pytest.raises(ParametersDiffer):
        read(campaign_json(parameters=PARAMETERS | {"local_epochs": 200}))
    with pytest.raises(Malformed, match="canonical"):
        parameters_hash({"learning_rate": 0.05})


def test_no_parameter_stands_for_the_brokers_id() -> None:
    own = PARAMETERS | {"campaign": "../../../tmp/x"}
    with pytest.raises(CampaignInvalid, match="named campaign"):
        read(campaign_json(parameters=own, parameters_hash=parameters_hash(own)))


def test_a_run_is_compared_with_what_was_signed() -> None:
    campaign = read(CAMPAIGN)
    campaign.check_bundle(BUNDLE)
    campaign.check_parameters(dict(reversed(PARAMETERS.items())))
    with pytest.raises(BundleDiffers):
        campaign.check_bundle(BUNDLE + b" ")
    for other in ({}, PARAMETERS | {"a": 1}, None, [PARAMETERS], {"a": 0.5}, {"a": "\ud800"}):
        with pytest.raises(ParametersDiffer):
            campaign.check_parameters(other)


def test_what_was_signed_is_compared_though_the_parameters_were_changed_since() -> None:
    campaign = read(campaign_json())
    campaign.parameters["local_epochs"] = 200
    with pytest.raises(ParametersDiffer):
        campaign.check_parameters(campaign.parameters)
    campaign.check_parameters(PARAMETERS)


def test_no_privacy_is_said_and_not_forgotten() -> None:
    assert read(campaign_json(privacy=None)).privacy is None


def test_a_large_document_is_not_parsed() -> None:
    with pytest.raises(TooLarge):
        Campaign.parse(b" " * (LARGEST_CAMPAIGN + 1))


@given(st.decimals(0, 10**8, places=6))
@settings(max_examples=60, deadline=None)
def test_a_number_has_one_spelling(number: Any) -> None:  # noqa: ANN401
    spelt = {format(number, "f"), format(number.normalize(), "f"), f"0{number}", f"+{number}"}
    taken = []
    for text in spelt:
        try:
            read(aggregation(server_clip=text))
        except FederationError:
            continue
        taken.append(text)
    assert len(taken) == (number > 0)
