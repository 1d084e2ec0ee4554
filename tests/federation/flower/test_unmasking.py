"""A coordinator that works against one member: `unmasking.py`, in Flower's environment."""

from pathlib import Path

from tests.federation.flower.running import told_by


def test_no_masks_of_one_member_are_taken_off_and_each_is_needed(tmp_path: Path) -> None:
    assert told_by("unmasking.py", tmp_path) == {
        "late": {"opens": False, "opens without own_mask": True},
        "in the sum": {"opens": False, "opens without mask_with": True},
        "two stories": {"opens": False, "opens without threshold_of": True},
        "unlike models": {"opens": False, "opens without mask_with": True},
    }
