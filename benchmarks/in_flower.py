"""Scripts of this package that run in the environment of `make federation`."""

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv-federation" / "bin" / "python"


def told_by(module: str, *arguments: object) -> dict[str, Any]:
    """The JSON object that `benchmarks.MODULE` prints there. Raises `LookupError` without it."""
    if not PYTHON.exists():
        raise LookupError("there is no .venv-federation: make federation prepares it")
    finished = subprocess.run(
        [PYTHON, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    told: dict[str, Any] = json.loads(finished.stdout)
    return told
