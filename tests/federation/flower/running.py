"""Scripts that run in the environment of `make federation`, and what they print."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.programs import ROOT, missing

PYTHON = ROOT / ".venv-federation" / "bin" / "python"


def told_by(script: str, directory: Path) -> dict[str, Any]:
    """The JSON object that a script beside this file prints, given a directory to work in."""
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    finished = subprocess.run(
        [PYTHON, Path(__file__).with_name(script), directory],
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLWR_TELEMETRY_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-5_000:]
    told: dict[str, Any] = json.loads(finished.stdout)
    return told
