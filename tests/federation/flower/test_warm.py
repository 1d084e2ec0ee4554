"""A member's verified consents from process to process: `warm.py`, which counts verifications."""

from pathlib import Path

from tests.federation.flower.running import told_by

COLD, WARM = [4, 4, 0], [0, 4, 0]

EXPECTED = {
    "rows": {
        "first": COLD,
        "second": WARM,
        "one goes": [0, 3, 0],
        # What its line was known by went with it.
        "it comes back": [1, 4, 0],
        "one is altered": [1, 3, 1],
        "and refused again": [1, 3, 1],
        "back": [1, 4, 0],
        "empty lines": [4, 2],
    },
    "files": {
        "modes": ["0o600", "0o600"],
        "torn": [COLD, WARM],
        "altered": [COLD, WARM],
        "gone": [COLD, WARM],
        "no secret": [COLD, WARM],
        "a secret that others read": [COLD, WARM],
        "a secret of 0 bytes": [COLD, WARM],
        "a secret of 5 bytes": [COLD, WARM],
        "a pipe in the secret's place": [COLD, WARM],
        "a link in its place": [COLD, WARM],
        "kept, and others write it": [COLD, WARM],
        "an old one": [[2, 4, 0], WARM],
        "a folder in its place": [COLD, COLD],
        "left over": [],
    },
    "trust": {"another": [4, 0, 4], "its own": [1, 1, 0], "the first again": [WARM, WARM]},
    "times": {"a clock set back": COLD, "a week later": 4},
    "unwritten": {"another one writes": [COLD, False], "no space": [COLD, False]},
    "unfit": {"first": [5, 5, 0], "next": [1, 5, 0], "as it was": True},
    "forgotten": [0, False, {"key_refused": 4}, 4],
    "stolen": {
        "known before": [[4, 0, 4], [4, 0, 4]],
        "never seen": [4, 0, 4],
        "another one's": COLD,
        "unreadable": True,
    },
}


def test_a_process_verifies_what_none_before_it_has(tmp_path: Path) -> None:
    seen = told_by("warm.py", tmp_path)
    for part, expected in EXPECTED.items():
        assert seen[part] == expected, part
    assert seen.keys() == EXPECTED.keys()
