"""The coordinator's turns, in the environment with Flower: `reconciling.py`."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.programs import ROOT, missing

PYTHON = ROOT / ".venv-federation" / "bin" / "python"

EXPECTED: Mapping[str, Any] = {
    "usual": {
        # A node that has just been registered has yet to come.
        "waiting": [[0, ["p-0", "p-1", "p-2"]], [1, ["p-1", "p-2"]]],
        # One run; after it failed none for a while, then another; none when the stage is over.
        "runs": [[], 1, [], 1, []],
        "members": ["p-0", "p-1", "p-2"],
        "taking_part": [1, 2, 3],
        "events": [
            "broker_answers",
            "members",
            "waiting_for_members",
            "waiting_for_members",
            "waiting_for_members",
            "run_started",
            "round_opened",
            "run_ended",
            "run_started",
            "run_ended",
            "stage_over",
        ],
    },
    "spare": {
        "in time": [[1, 1, 1], [], 3, 3, "promote"],
        "at last": [[1, 1, 1], [], 3, 3, "promote"],
        "used up": [[1, 1, 1], [], 2, 3, "promote"],
        "for nothing": [[1, 1], [], 0, 3, "nothing"],
    },
    "others_waited_for": {
        **dict.fromkeys(("strangers", "invited", "offline", "anew"), 0),
        **dict.fromkeys(("not for ever", "comes and goes", "revoked"), 1),
    },
    "ended_at_each_call": {"running": [1] * 11},
    "membership": {
        "without": [1, 3],
        "paused": [1, [1, 3]],
        "stopped": ["stopped"],
        "events": [
            "broker_answers",
            "members",
            "waiting_for_members",
            "run_started",
            "members",
            "broker_silent",
            "broker_answers",
            "superlink_silent",
            "campaign_state",
            "members",
            "campaign_state",
        ],
    },
    "unsigned": {"runs": {}, "said": 1},
    "first_models": {
        "gone": "checkpoint_broken",
        "told": [["run_failed", "checkpoint_broken"]],
        "then": ["", 1],
    },
    "in_vain": {
        "first": [],
        "paused": ["no_round_accepted"],
        "then": 10,
        "again": 1,
        "older": [1, 1],
        "said": [
            ["campaign_paused", None],
            ["campaign_state", "no_round_accepted"],
        ],
    },
    "remarks_to_an_older_broker": {
        "sent": [["code", "left_out"], ["code"], ["code"], ["code", "left_out"]],
        "heard": "state_conflict",
    },
    "busy": {"kept": True, "stopped": "stopped", "then": [0, 1]},
    "closed_in_between": {"in_vain": 0},
    "not_paused": {
        "running": 0,
        "said": ["run_ended", "campaign_refused"],
        "paused": ["no_round_accepted"],
    },
    "spent": {
        "ended": [True, "state_conflict"],
        "events": ["budget_spent", "run_failed"],
    },
    "strangers_to_the_stage": {"waits": {"own": True, "others": False}},
}


def test_what_should_run_runs_once(tmp_path: Path) -> None:
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    finished = subprocess.run(
        [PYTHON, Path(__file__).with_name("reconciling.py"), tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLWR_TELEMETRY_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-5_000:]
    seen = json.loads(finished.stdout)
    for part, expected in EXPECTED.items():
        assert seen[part] == expected, part
    assert seen.keys() == EXPECTED.keys()
