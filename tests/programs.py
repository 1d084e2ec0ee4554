"""Programs and files from outside the project that tests use.

They are found, or the test is skipped by their name. Under `CI=true` nothing may be missing: there
the same call fails the test (and `conftest.py` fails every other skip too), so that no part of the
suite can fall asleep unnoticed.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Where Debian, Homebrew and others keep what is not on the PATH.
ELSEWHERE = {
    "initdb": (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql*/bin",
    ),
    "pg_ctl": (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql*/bin",
    ),
}
OTHER_NAMES = {"chromium": ("chromium-browser", "google-chrome", "google-chrome-stable")}
PACKAGES = {
    "initdb": "postgresql",
    "pg_ctl": "postgresql",
    "node": "nodejs",
    "softhsm2-util": "softhsm2",
}


def require(program: str, reason: str) -> Path:
    """Return the full path of `program`; without it skip the test, or fail it under `CI=true`.

    `reason` completes the sentence "needed to ...".
    """
    found = find(program)
    if found is None:
        package = PACKAGES.get(program, program)
        missing(
            f"{program} is not installed, needed to {reason} "
            f"(on Debian and Ubuntu: apt-get install {package})"
        )
    return found


def find(program: str) -> Path | None:
    """Return the full path of `program` on the PATH or in its known places, newest first."""
    for name in (program, *OTHER_NAMES.get(program, ())):
        path = shutil.which(name)
        if path is not None:
            return Path(path)
    for pattern in ELSEWHERE.get(program, ()):
        folders = sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
        for folder in folders:
            if (folder / program).is_file():
                return folder / program
    return None


def shared(path: str) -> Path:
    """Return a published test vector or other file beside the checkout; without it as `require`."""
    found = SHARED / path
    if not found.exists():
        missing(f"../shared/{path} is not there: published test vectors lie beside the checkout")
    return found


def missing(message: str) -> NoReturn:
    """Skip the running test for `message`, or fail it where nothing may be missing."""
    if in_ci():
        pytest.fail(f"under CI nothing may be missing: {message}", pytrace=False)
    pytest.skip(message)


def in_ci() -> bool:
    """Whether this run is the one that must not skip anything."""
    return os.environ.get("CI") == "true"


def _version(folder: Path) -> tuple[int, ...]:
    digits = "".join(c if c.isdigit() else " " for c in str(folder)).split()
    return tuple(int(part) for part in digits)
