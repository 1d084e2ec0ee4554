"""A withdrawal reaches every model that learnt from the row, and nothing is called erased early."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import LineageInvalid
from federation.presence import leaf_of, leaves_of
from federation.unlearning import (
    Lineage,
    ModelVersion,
    State,
    residual,
    unlearning_task,
    versions_using,
)
from tests.federation.world import SALT


def version(number: int, parent: int | None, campaign: str = "churn") -> ModelVersion:
    return ModelVersion(
        id=f"m{number}",
        parent=None if parent is None else f"m{parent}",
        campaign=campaign,
        round=number,
        bundle_hash="b",
        parameters_hash="p",
        receipts_root=None if parent is None else "r",
        members=("p-north",),
    )


LINE = [version(number, number - 1 if number else None) for number in range(8)]
#            m0 - m1 - ... - m7, and a branch m4 - m10 - m11
BRANCHED = Lineage([*LINE, version(10, 4), version(11, 10)])


def test_taint_reaches_every_descendant_and_nobody_else() -> None:
    assert BRANCHED.tainted({"m5"}) == {"m5", "m6", "m7"}
    assert BRANCHED.tainted({"m4"}) == {"m4", "m5", "m6", "m7", "m10", "m11"}
    assert BRANCHED.tainted({"m7", "m11"}) == {"m7", "m11"}
    assert BRANCHED.tainted(set()) == set()


def test_the_versions_that_used_a_consent_are_found_by_their_leaves() -> None:
    leaves = {
        "m1": [leaves_of(SALT, ["c-1", "c-2"]), leaves_of(SALT, ["c-9"])],
        "m2": [leaves_of(SALT, ["c-2"])],
        "m3": [],
    }
    assert versions_using(leaf_of(SALT, "c-1"), leaves) == {"m1"}
    assert versions_using(leaf_of(SALT, "c-2"), leaves) == {"m1", "m2"}
    assert versions_using(leaf_of(SALT, "c-9"), leaves) == {"m1"}
    assert versions_using(leaf_of(SALT, "c-3"), leaves) == set()
    assert versions_using(b"\xff" * 32, {"m": [()]}) == set()


def test_each_policy_says_from_where_and_which_rounds() -> None:
    rollback = unlearning_task(BRANCHED, "m7", {"m3", "m6"}, "rollback_replay")
    assert (rollback.base, rollback.replay) == ("m2", (3, 4, 5, 6, 7))
    assert rollback.leaves_nothing
    anew = unlearning_task(BRANCHED, "m7", {"m6"}, "retrain")
    assert (anew.base, anew.replay) == ("m0", (1, 2, 3, 4, 5, 6, 7))
    assert anew.leaves_nothing
    left = unlearning_task(BRANCHED, "m7", {"m6"}, "exclude")
    assert (left.base, left.replay, left.leaves_nothing) == ("m7", (), False)
    assert left.tainted == {"m6", "m7"}


def test_a_model_beside_the_row_has_nothing_to_do() -> None:
    task = unlearning_task(BRANCHED, "m11", {"m6"}, "rollback_replay")
    assert (task.base, task.replay) == ("m11", ())
    unused = unlearning_task(BRANCHED, "m7", set(), "exclude")
    assert unused.leaves_nothing


def test_a_line_that_began_with_the_row_has_no_base() -> None:
    with pytest.raises(LineageInvalid, match="new campaign"):
        unlearning_task(BRANCHED, "m7", {"m0"}, "retrain")


def test_taint_crosses_from_one_campaign_into_the_next() -> None:
    next_one = replace(version(1, 7, "upsell"), id="n1")
    lineage = Lineage([next_one, *LINE])
    assert lineage.tainted({"m7"}) == {"m7", "n1"}


@pytest.mark.parametrize(
    "versions",
    [
        [*LINE, LINE[3]],
        LINE[1:],
        [replace(LINE[0], round=1)],
        [LINE[0], replace(version(1, 0), round=0)],
        [LINE[0], replace(version(1, 1))],
        [
            replace(version(1, 2), campaign="a"),
            replace(version(2, 1), campaign="b"),
        ],
    ],
    ids=["twice", "no parent", "no start", "not later", "itself", "circle"],
)
def test_a_lineage_that_cannot_be_is_refused(versions: list[ModelVersion]) -> None:
    with pytest.raises(LineageInvalid):
        Lineage(versions)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_version_without_taint_has_an_ancestor_that_used_the_row(data: st.DataObject) -> None:
    parents = [data.draw(st.integers(0, number - 1)) for number in range(1, 25)]
    lineage = Lineage(
        [version(0, None), *(version(at, parent) for at, parent in enumerate(parents, 1))]
    )
    used = data.draw(st.sets(st.sampled_from([f"m{number}" for number in range(1, 25)])))
    tainted = lineage.tainted(used)
    for one in lineage.versions:
        touched = any(ancestor.id in used for ancestor in lineage.line(one))
        assert (one in tainted) == touched
        task = unlearning_task(lineage, one, used, "rollback_replay")
        assert task.base not in tainted
        assert bool(task.replay) == touched


def test_unknown_versions_are_refused() -> None:
    for act in (
        lambda: BRANCHED.tainted({"m99"}),
        lambda: BRANCHED.line("m99"),
        lambda: unlearning_task(BRANCHED, "m99", set(), "exclude"),
    ):
        with pytest.raises(LineageInvalid):
            act()


def test_a_tainted_model_never_becomes_active_again() -> None:
    active = LINE[3].become("pilot").become("active")
    tainted = active.become("tainted")
    forbidden: tuple[State, ...] = ("candidate", "pilot", "active", "tainted")
    for state in forbidden:
        with pytest.raises(LineageInvalid):
            tainted.become(state)
    assert tainted.become("retired").state == "retired"


def test_the_residual_is_a_distance_and_erased_means_none() -> None:
    never_saw = [1.0, -2.0, 2.0]
    found = residual([1.0, -2.0, 5.0], [1.0, -2.0, 2.3], never_saw)
    assert found.before == pytest.approx(1.0)
    assert found.after == pytest.approx(0.1)
    assert not found.erased
    assert residual([0.0, 0.0, 0.0], never_saw, never_saw).erased
    nearly = residual([3.0], [math.nextafter(1e300, 2e300)], [1e300])
    assert not nearly.erased


@pytest.mark.parametrize(
    ("after", "never_saw"),
    [([1.0], [1.0, 2.0]), ([1.0], [0.0]), ([math.nan], [1.0]), ([1.0], [math.inf]), ([], [])],
)
def test_models_that_cannot_be_compared_are_refused(
    after: list[float], never_saw: list[float]
) -> None:
    with pytest.raises(LineageInvalid):
        residual(after, after, never_saw)
