"""What is remarked of a round's members: codes out of what was told, and who lies far out."""

import pytest

from federation.flower.refusals import CURES
from federation.remarks import (
    AT_COORDINATOR,
    AT_MEMBER,
    NOTICES,
    REASONS,
    REFUSED,
    Remarks,
    far_out,
    notice_of,
    reason_of,
)

TOLD = [
    ("receipt_forged", "receipt_forged"),
    ("refused_parameters_differ", "refused_parameters_differ"),
    ("broker_member_not_admitted", "broker_member_not_admitted"),
    ("flower_error_3", "node_gone"),
    ("flower_error_7", "bundle_untrusted"),
    ("flower_error_8", "application_failed"),
    ("flower_error_12345678", "other"),
    ("flower_error_99", "flower_error"),
    ("refused_", "refused_other"),
    ("refused_the_rows_of_anna", "refused_other"),
    ("broker_teapot", "broker_other"),
    ("", "other"),
    ("<script>", "other"),
]


@pytest.mark.parametrize(("told", "code"), TOLD)
def test_what_is_told_becomes_a_code(told: str, code: str) -> None:
    assert reason_of(told) == code
    assert reason_of(code) == code


def test_each_code_is_its_own() -> None:
    assert {reason_of(one) for one in REASONS} == REASONS
    assert {notice_of(one) for one in NOTICES} == NOTICES
    assert notice_of("far_away") == "other"
    assert set(CURES) <= AT_MEMBER
    assert not [one for one in AT_COORDINATOR if one.startswith(REFUSED)]


def test_remarks_are_of_who_takes_part() -> None:
    told = {
        "p-0": "no_answer",
        "p-1": "refused_wrong_shares of p-2",
        "p-3": "refused_wrong_shares of p-9",
        "p-9": "no_answer",
    }
    found = Remarks.of(told, ["p-0", "p-1", "p-2", "p-3"], ["p-2", "p-3"])
    assert found.left_out == {
        "p-0": "no_answer",
        "p-1": "refused_wrong_shares",
        "p-3": "refused_wrong_shares",
    }
    # What the coordinator saw itself is not lost by what another member says.
    assert found.notices == {"p-2": "far_out", "p-3": "far_out"}
    assert Remarks.of(told, ["p-1", "p-2"]).notices == {"p-2": "wrong_shares"}
    assert Remarks.of({"p-0": "no_answer of p-1"}, ["p-0", "p-1"]).notices == {}


@pytest.mark.parametrize(
    ("distances", "far"),
    [
        ({}, set()),
        ({"a": 1.0, "b": 900.0}, set()),
        ({"a": 1.0, "b": 1.0, "c": 5.0}, set()),
        ({"a": 1.0, "b": 1.0, "c": 5.1}, {"c"}),
        ({"a": 1.0, "b": 2.0, "c": 3.0, "d": 50.0, "e": float("inf")}, {"d", "e"}),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, set()),
        ({"a": 0.0, "b": 0.0, "c": 0.1}, set()),
        ({"a": 1.0, "b": float("inf"), "c": float("inf")}, set()),
    ],
)
def test_who_lies_far_out(distances: dict[str, float], far: set[str]) -> None:
    assert far_out(distances) == far
