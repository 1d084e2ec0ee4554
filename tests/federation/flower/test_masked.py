"""Secure aggregation in whole rounds: `masked.py`, in Flower's environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.federation.flower.running import told_by

REFUSED = "fail 1 masking_failed"

EXPECTED: Mapping[str, Any] = {
    "hidden": {
        "near": True,
        "numbers_that_are_in_clear": 0,
        "far_from_plain": True,
        "metrics_in_clear": ["num-examples"],
        "accuracy": True,
        "steps": ["keys", "shares", "train", "unmask"],
    },
    # Two of five may end at any step and the sum of the others is right; without three, no model
    # comes of the round. Whoever ends when its update is in is in the sum.
    "missing": {
        "keys": [True, REFUSED, True],
        "shares": [True, REFUSED, True],
        "train": [True, "fail 1 too_few_updates", True],
        "unmask": [True, REFUSED, True],
        "a long training": True,
        "one at each": True,
        "the campaign's least": "fail 1 too_few_updates",
    },
    "dishonest_coordinator": {
        "keys of its own": [REFUSED, ["masking_failed"]],
        "keys left away": [REFUSED, ["malformed"]],
        "one key twice": [REFUSED, ["malformed"]],
        "a share changed": ["fail 1 too_few_updates", ["wrong_shares"]],
        "too few with shares": ["fail 1 too_few_updates", ["masking_failed"]],
        "a sum of two": [REFUSED, ["masking_failed"]],
        "a sum with a stranger": [REFUSED, ["masking_failed"]],
        "a sum without oneself": [REFUSED, ["masking_failed"]],
    },
    "again": {
        "unmask": "masking_failed",
        "train": "masking_failed",
        "shares": "masking_failed",
        "keys, shares": "answered masking_failed",
        "plain": "malformed",
    },
    "dishonest_member": {
        "wrong shares": {},
        "another's keys": {"p-3": "masking_failed"},
        "other metrics": {"p-3": "other_metrics"},
        "too large": {"p-3": "refused_update_too_large"},
        "too few numbers": {"p-3": "other_shapes"},
        "not masked": {"p-3": "not_masked"},
        "no commitment": {"p-3": "not_masked"},
        "nothing beside the vector": {"p-3": "not_masked"},
        "metrics that are no list": {"p-3": "not_masked"},
        "shares that are numbers": {"p-3": "shares_not_whole"},
        "no peers": {"p-3": "refused_campaign_invalid"},
    },
    "ends_the_round": {
        "garbage for shares": [
            "fail 1 too_few_updates",
            dict.fromkeys(("p-0", "p-1", "p-2", "p-4"), "refused_wrong_shares of p-3"),
        ],
        "another commitment": [REFUSED, {"p-3": "mask_not_opened"}],
        "wrong shares of three": [
            REFUSED,
            dict.fromkeys(("p-0", "p-1", "p-2", "p-3", "p-4"), "mask_not_opened"),
        ],
    },
    "receipts_handed_on": ["p-0", "p-1", "p-2", "p-4"],
    "silent": ["close 1", {"p-1": "no_answer", "p-3": "no_answer"}],
    "with_privacy": {"moved": True, "accounted": True},
    "parts": {
        "weighted": True,
        "cancels": True,
        "opens": True,
        "bound": "masking_failed",
        "small order": "masking_failed",
        "no room": "update_too_large",
        "infinite": "update_too_large",
    },
}


def test_the_coordinator_sees_the_sum_and_no_update(tmp_path: Path) -> None:
    seen = told_by("masked.py", tmp_path)
    for part, expected in EXPECTED.items():
        assert seen[part] == expected, part
    assert seen.keys() == EXPECTED.keys()
