"""The pinned Flower is what this project takes it for, and what we closed is closed.

One run of real processes: a SuperLink, two SuperNodes and the tasks that they start, which is most
of the time. When a pinned version changes, this says what no longer holds.
"""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.programs import ROOT, missing

PYTHON = ROOT / ".venv-federation" / "bin" / "python"
SECONDS = 1_500
UNANSWERED, INVALID_BUNDLE = 3, 7  # Flower's codes of errors in replies

# Members read what the run was started with: `run_settings` looks at it for that reason.
TOLD = {"telemetry": 0.0, "members": 2.0}

EXPECTED = {
    "version": "1.42.0",
    "some_of_each": True,
    "control_open": [],
    "control_login": [501, 501, 401],
    "task_without_secret": 401,
    "members_reach": [],
    "members_reach_pages": [],
    "members_reach_around": [],
    "fleet_without_a_key": [401],
    "fleet_by_another_host": 401,
    "unregistered": {"register": "refused", "activate": "refused"},
    "hub": "refused",
    "registered_again": True,
    "rounds": {
        "rounds": [
            {"answered": 2, "errors": [], "weight": 1.0, **TOLD},
            {"answered": 1, "errors": [UNANSWERED], "weight": 2.0, **TOLD},
        ],
        "telemetry": 0,
    },
    "ended": "completed",
    "unsigned": [
        {"answered": 0, "errors": [INVALID_BUNDLE], "weight": None, **dict.fromkeys(TOLD)}
    ],
    "undeclared": "refused",
    "stopped": "stopped",
    "no_such_run": "unknown",
}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_flower_is_what_we_take_it_for(tmp_path: Path) -> None:
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    process = subprocess.Popen(
        [PYTHON, Path(__file__).with_name("contract.py"), tmp_path],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, failed = process.communicate(timeout=SECONDS)
    finally:
        # Whatever happened: SuperNodes and their tasks are all of this group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{failed}\n{_logs(tmp_path)}"
    assert json.loads(told) == EXPECTED, _logs(tmp_path)


def _logs(directory: Path) -> str:
    return "\n".join(
        f"{log.parent.name}: ...{log.read_text(errors='replace')[-3_000:]}"
        for log in sorted(directory.glob("*/log"))
    )
