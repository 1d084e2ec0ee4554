"""Packages of npm that tests use: installed beside their lock file, as it says, once for all."""

import fcntl
import hashlib
import subprocess
from pathlib import Path

from tests.programs import missing, require


def installed(folder: Path, reason: str) -> Path:
    """The `node_modules` of `folder`, with what its package-lock.json names.

    `reason` completes the sentence "needed to ...". Workers wait for the one that installs.
    """
    npm = require("npm", reason)
    lock, modules = folder / "package-lock.json", folder / "node_modules"
    stamp, wanted = modules / ".installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                missing(f"npm ci could not fetch what it needs to {reason}: {done.stderr[-800:]}")
            stamp.write_text(wanted)
    return modules
