"""A withdrawal reaches every model that learnt from the row, and nothing is called erased early."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import LineageInvalid
from federation.presence import SENTINELS, CampaignSalt, PresenceTree, leaves_of, salt_hash
from federation.receipt import Receipt
from federation.unlearning import (
    Lineage,
    ModelVersion,
    State,
    Told,
    residual,
    unlearning_task,
    versions_using,
)
from tests.federation.world import NOW, OF_CAMPAIGN, signed


def version(number: int, parent: int | None, campaign: str = "churn") -> ModelVersion:
    return ModelVersion(
        id=f"m{number}",
        parent=None if parent is None else f"m{parent}",
        campaign=campaign,
        stage="consortium",
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


NEXT = signed(id="next", salt_hash=salt_hash(b"t" * 32))
SALTS = {
    OF_CAMPAIGN.signed.campaign_hash: OF_CAMPAIGN,
    NEXT.campaign_hash: CampaignSalt(NEXT, b"t" * 32),
}
FIRST, SECOND = SALTS


def told(campaign: str, number: int, member: str, *consents: str) -> Told:
    key = SALTS[campaign].key("consortium", number, member)
    tree = PresenceTree(leaves_of(key, consents))
    receipt = Receipt(
        member=member,
        signed_at=NOW,
        campaign=campaign,
        stage="consortium",
        round=number,
        model_in=campaign,
        model_out=campaign,
        lists=(),
        bucket=tree.size - SENTINELS,
        root=tree.root(),
    )
    return Told(receipt, tree.leaves)


def trained(number: int, campaign: str, *members: str) -> ModelVersion:
    return replace(version(number, number - 1, campaign), members=members)


# Two campaigns, each with a salt of its own; c-1 was superseded by c-2 between them.
TOLD_OF = Lineage(
    [
        version(0, None, FIRST),
        trained(1, FIRST, "p-north", "p-south"),
        trained(2, FIRST, "p-south"),
        trained(3, SECOND, "p-north"),
    ]
)
TOLD = {
    "m1": [told(FIRST, 1, "p-north", "c-1", "c-5"), told(FIRST, 1, "p-south", "c-9")],
    "m2": [told(FIRST, 2, "p-south", "c-9")],
    "m3": [told(SECOND, 3, "p-north", "c-2")],
}


def test_the_versions_that_used_a_consent_are_found_under_all_its_ids_and_each_salt() -> None:
    assert versions_using(TOLD_OF, ["c-1", "c-2"], TOLD, SALTS) == {"m1", "m3"}
    assert versions_using(TOLD_OF, ["c-2"], TOLD, SALTS) == {"m3"}
    assert versions_using(TOLD_OF, ["c-9"], TOLD, SALTS) == {"m1", "m2"}
    assert versions_using(TOLD_OF, ["c-7"], TOLD, SALTS) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"m2": []},
        {"m1": TOLD["m1"][:1]},
        {"m1": [*TOLD["m1"], TOLD["m1"][0]]},
        {"m1": [TOLD["m1"][0], TOLD["m1"][0]]},
        {"m2": [told(FIRST, 1, "p-south", "c-9")]},
        {"m2": [told(SECOND, 2, "p-south", "c-9")]},
        {"m3": [Told(TOLD["m3"][0].receipt, ())]},
    ],
    ids=["none", "a member's", "twice", "one for two", "another round", "campaign", "leaves"],
)
def test_a_gap_in_what_was_told_is_no_absence(changes: dict[str, list[Told]]) -> None:
    with pytest.raises(LineageInvalid):
        versions_using(TOLD_OF, ["c-7"], TOLD | changes, SALTS)


def test_without_consents_or_a_salt_nothing_is_said() -> None:
    with pytest.raises(LineageInvalid, match="superseded"):
        versions_using(TOLD_OF, [], TOLD, SALTS)
    with pytest.raises(LineageInvalid, match="salt"):
        versions_using(TOLD_OF, ["c-7"], TOLD, {FIRST: OF_CAMPAIGN})
    with pytest.raises(LineageInvalid):
        versions_using(TOLD_OF, ["c-7"], {"m1": TOLD["m1"], "m2": TOLD["m2"]}, SALTS)


def test_each_policy_says_from_where_and_which_rounds() -> None:
    rollback = unlearning_task(BRANCHED, "m7", {"m3", "m6"}, "rollback_replay")
    assert (rollback.base, rollback.replay) == ("m2", ("m3", "m4", "m5", "m6", "m7"))
    assert rollback.leaves_nothing
    anew = unlearning_task(BRANCHED, "m7", {"m6"}, "retrain")
    assert (anew.base, anew.replay) == ("m0", tuple(f"m{number}" for number in range(1, 8)))
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


def test_what_is_done_anew_stays_in_the_models_own_campaign() -> None:
    second = [replace(version(number, number - 1, "upsell"), id=f"m{number}") for number in (8, 9)]
    lineage = Lineage([*LINE, *second])
    for policy in ("rollback_replay", "retrain"):
        with pytest.raises(LineageInvalid, match="began with model version m7"):
            unlearning_task(lineage, "m9", {"m6"}, policy)
    anew = unlearning_task(lineage, "m9", {"m9"}, "retrain")
    assert (anew.base, anew.replay) == ("m7", ("m8", "m9"))
    back = unlearning_task(lineage, "m9", {"m9"}, "rollback_replay")
    assert (back.base, back.replay) == ("m8", ("m9",))


def test_taint_crosses_from_one_campaign_into_the_next() -> None:
    next_one = replace(version(1, 7, "upsell"), id="n1")
    lineage = Lineage([next_one, *LINE])
    assert lineage.tainted({"m7"}) == {"m7", "n1"}


def test_a_consortium_counts_anew_after_its_pilot() -> None:
    began, pilot = version(0, None), [version(number, number - 1) for number in (1, 2)]
    pilot = [replace(one, stage="pilot") for one in (replace(began, stage="pilot"), *pilot)]
    consortium = replace(version(1, 2), id="m3")
    lineage = Lineage([*pilot, consortium])
    assert lineage.tainted({"m2"}) == {"m2", "m3"}
    anew = unlearning_task(lineage, "m3", {"m1"}, "retrain")
    assert (anew.base, anew.replay) == ("m0", ("m1", "m2", "m3"))
    with pytest.raises(LineageInvalid, match="no later"):
        Lineage([*pilot, consortium, replace(version(9, 3), stage="pilot")])


def test_a_receipt_of_the_other_stage_is_of_another_round() -> None:
    first = replace(version(0, None, FIRST), stage="pilot")
    pilot = replace(trained(1, FIRST, "p-north"), stage="pilot")
    with pytest.raises(LineageInvalid, match="another round"):
        versions_using(
            Lineage([first, pilot]), ["c-1"], {"m1": [told(FIRST, 1, "p-north", "c-1")]}, SALTS
        )


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


class Counted(str):
    """A name that counts how often it is looked up."""

    __slots__ = ()
    looks = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return str.__hash__(self)


def test_a_line_through_many_campaigns_takes_work_by_its_length() -> None:
    names = [Counted(number) for number in range(1_000)]
    line = [replace(LINE[0], id=names[0])]
    line += [
        replace(version(1, 0), id=one, parent=above, campaign="ab"[number % 2])
        for number, (above, one) in enumerate(pairwise(names))
    ]
    Counted.looks = 0
    assert Lineage(line).line(names[-1]) == tuple(reversed(line))
    assert Counted.looks < 20 * len(line)


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


def test_marking_twice_changes_nothing() -> None:
    tainted = LINE[3].taint()
    assert tainted.state == "tainted"
    assert tainted.taint() == tainted
    retired = tainted.become("retired")
    assert retired.taint() == retired


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
