"""A member's files, read in the environment with Flower: `at_member.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.federation.flower.running import told_by

EXPECTED: Mapping[str, Any] = {
    "places": {
        "alike": "",
        "more rows": "rows_differ",
        "fewer rows": "rows_differ",
        "a blank row": "ValueError",
        "a comment": "ValueError",
        "a comment behind": "ValueError",
    },
    "lines": {
        "not said": None,
        "said": ["retail", "", "credit-cards"],
        "carriage returns": ["retail", "", "credit-cards"],
        "nothing": [],
        **dict.fromkeys(
            ("no file", "capital letters", "spaces", "a comment", "no letters", "too long"),
            "settings_wrong",
        ),
        "no text": "settings_wrong",
        "hint": "line 2",
        "at the start": ["settings_wrong", "", "settings_wrong"],
    },
    "brokers": {
        "a portal": "broker_refused",
        "half a token": "broker_refused",
        "no number": "broker_refused",
        "no key": "broker_silent True",
        **dict.fromkeys(("a page", "a list", "nothing in it", "strange"), "malformed"),
    },
    "older": {
        "refused": [{"p-1": "member_not_admitted"}] * 2,
        "seen": ["batch", *["p-0", "p-1", "p-2"] * 2],
        "none": "not_found",
    },
    "kept": {
        "waits": True,
        "not for ever": "answer_under_way",
        "sees": [True],
        "again": "round_repeated",
        "earlier": "round_repeated",
        "later": "",
    },
    "anew": {
        "begins": [True, "", 0, 1],
        "spent": True,
        "out": ["gone"],
        "then its own": True,
        "others begin": True,
        "not kept": "settings_wrong",
    },
    "child": "",
    "once": {
        "under way": "answer_under_way",
        "begun alone": True,
        "rounds": True,
        "it goes on": "campaign_followed",
        "a second one": "campaign_followed",
        "ended between": ["campaign_followed", "campaign_followed", ""],
        "too late": "settings_wrong",
    },
    "why": True,
    "cures": {
        "lost or never registered": "the coordinator does not",
        "both": "True",
        "not admitted": "the coordinator does not",
        "nobody there": "no coordinator answers: is",
        "strange": "",
    },
    "models": {"found": "True", "another": "checkpoint_broken"},
    "unusable": {
        **dict.fromkeys(
            ("board.json", "trust.json", "state/receipt.jwk", "member.toml"), "settings_wrong"
        ),
        "told": ["board.json", "trust.json", "receipt.jwk"],
    },
}


def test_what_does_not_fit_at_a_member_is_refused(tmp_path: Path) -> None:
    seen = told_by("at_member.py", tmp_path)
    for part, expected in EXPECTED.items():
        assert seen[part] == expected, part
    assert seen.keys() == EXPECTED.keys()
