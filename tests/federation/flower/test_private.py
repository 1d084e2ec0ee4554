"""DP-SGD by rows as the accounting supposes it: `private.py`, in Flower's environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.federation.flower.running import told_by

MEMBERS = ("p-0", "p-1", "p-2")

EXPECTED: Mapping[str, Any] = {
    "noise": {
        "chi_square_fits": True,
        "mean_fits": True,
        "variance_fits": True,
        "tail_fits": True,
        "no_two_alike": True,
        "none": 0,
    },
    "sampling": {
        "mean_fits": True,
        "variance_fits": True,
        "each_row_alike": True,
        "rows_are_independent": True,
        "all_at_one": True,
        "none_at_the_least": [],
    },
    "clipping": {
        "never_above": True,
        "not_finite_is_nothing": 0,
        "direction": [[0.6, 0.8]],
        "kept": True,
    },
    # With the same noise, a row of gradient 10^9 moves the sum by the clipping norm of 1.
    "one_row_more": {"most": 1.0, "chances_fit": True, "sampling_hides": True},
    # The pilot's rounds leave nothing of the budget: each member says so by itself.
    "rounds": {
        "epsilon": True,
        "within": True,
        "why": dict.fromkeys(MEMBERS, "refused_privacy_budget_spent"),
        "spent": True,
        "metrics": ["norm"],
        "moved": True,
    },
    "after_a_pilot": {
        "said": [
            *("open 1", "fail 1 too_few_updates", "open 2", "close 2"),
            *("open 1", "close 1", "open 2", "close 2"),
        ],
        "ended": "Ended",
        "epsilon": True,
    },
    "refused": {
        "plain": "refused_campaign_invalid",
        "misshapen": "refused_malformed",
        "rateless": "refused_campaign_invalid",
        "heavy": "weight_without_rows",
        "kept": "None",
    },
    "prox": {"held_back": True, "none": "campaign_invalid"},
}


def test_rows_are_drawn_clipped_and_hidden_as_the_board_signed(tmp_path: Path) -> None:
    seen = told_by("private.py", tmp_path)
    for part, expected in EXPECTED.items():
        assert seen[part] == expected, part
    assert seen.keys() == EXPECTED.keys()
