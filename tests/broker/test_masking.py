"""Attributes that have to be masked: by role, chosen among what the customer sealed, or denied."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.domain.errors import InvalidRequest, NotFound
from broker.usecases.masking import set_maskings
from tests.broker.flow_world import World, world
from tests.broker.vaults import ATTRIBUTE, Filled, codes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("masking") / "home") as broker:
        yield broker


@pytest.fixture
def filled(made: World) -> Iterator[Filled]:
    yield Filled(made).grant()
    set_maskings(made.ctx, "demo", ATTRIBUTE, {})


def test_the_envelope_that_is_masked_so_is_chosen_by_role(made: World, filled: Filled) -> None:
    set_maskings(made.ctx, "demo", ATTRIBUTE, {"*": "round_10", "analyst": "none"})
    place = made.http.get(f"/v1/vaults/{made.partner}").json()
    assert place["maskings"] == {ATTRIBUTE: ["none", "round_10"]}
    for masking in place["maskings"][ATTRIBUTE]:
        filled.put(17, masking=masking)
    usual = filled.get()
    assert filled.opened(usual.content).value == 20
    assert (usual.headers["broker-masking"], filled.opened(usual.content).masking) == (
        "round_10",
        "round_10",
    )
    assert '"masking":"round_10"' in usual.headers["broker-obligations"]
    assert filled.opened(filled.get(params={"role": "analyst"}).content).value == 17
    # A role that nothing is said of is everybody's.
    assert filled.opened(filled.get(params={"role": "intern"}).content).value == 20
    told = [entry.body for entry in made.logged("decision")[-2:]]
    assert [(body["masking"], body.get("role")) for body in told] == [
        ("none", "analyst"),
        ("round_10", None),
    ]


def test_where_nothing_is_masked_so_it_is_denied(made: World, filled: Filled) -> None:
    filled.put(17)
    assert filled.get().status_code == 200
    set_maskings(made.ctx, "demo", ATTRIBUTE, {"*": "round_100"})
    answer = filled.get()
    assert (answer.status_code, codes(answer)) == (404, ["masking_not_in_vault"])
    assert made.logged("decision")[-1].body["masking"] == "round_100"
    filled.put(17, masking="round_100")
    assert filled.opened(filled.get().content).value == 0


def test_a_customer_may_put_there_what_is_masked_alone(filled: Filled) -> None:
    filled.put(17, masking="round_10")
    assert filled.opened(filled.get().content).value == 20


def test_a_decision_alone_tells_of_the_masking_too(made: World, filled: Filled) -> None:
    subject = filled.customer.subject_ref
    kinds = [one["id"] for one in made.decide(subject)["context"]["obligations"]]
    assert "mask" not in kinds
    set_maskings(made.ctx, "demo", ATTRIBUTE, {"*": "round_10"})
    (mask,) = [one for one in made.decide(subject)["context"]["obligations"] if one["id"] == "mask"]
    assert mask["properties"] == {"masking": "round_10"}


@pytest.mark.parametrize(
    "rules", [{"*": "shuffle"}, {"support": "phone"}, {"*": "phone", "A role": "none"}]
)
def test_rules_that_are_none_are_refused(made: World, rules: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        set_maskings(made.ctx, "demo", ATTRIBUTE, rules)


def test_an_unknown_attribute_is_refused(made: World, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        set_maskings(made.ctx, "demo", "shoe_size", {"*": "none"})
