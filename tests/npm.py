"""Packages of npm that tests use: installed beside their lock file, as it says, once for all.

And programs in TypeScript that use them: compiled, which checks their types.
"""

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


def compiled(folder: Path, program: str, reason: str) -> Path:
    """Where the TypeScript in `folder/program` lies compiled; an error in its types is a failure.

    It is in `folder/node_modules`, so that its imports are found, and made anew when a source or
    the lock file changes.
    """
    require("node", reason)
    modules = installed(folder, reason)
    built, sources = modules / f".{program}", sorted((folder / program).glob("*.*"))
    told = b"".join(source.read_bytes() for source in (folder / "package-lock.json", *sources))
    stamp, wanted = built / ".built", hashlib.sha256(told).hexdigest()
    with (folder / program / "tsconfig.json").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            done = subprocess.run(
                [modules / ".bin" / "tsc", "-p", folder / program],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"the types do not fit:\n{done.stdout}{done.stderr}"
            stamp.write_text(wanted)
    return built
