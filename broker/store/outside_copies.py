"""Withdrawals, kept in a file outside of the database: a restored backup does not take them back.

The file only grows. A line is durable before the transaction of its withdrawal commits, so that
none that was acknowledged is missing; one whose transaction then failed is there too, which errs on
the customer's side. Each line begins and ends with a newline: what a crash leaves half-written
spoils no line but itself. Lines hold identifiers alone; new kinds may be added, readers skip those
that they do not know.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

FILE_NAME = "withdrawals"
WITHDRAWN = "consent.withdrawn"
_MODE = 0o600


@dataclass(frozen=True)
class WithdrawalCopy:
    """That a consent was withdrawn, and when (Unix seconds)."""

    tenant_id: str
    consent_id: str
    at: int


def keep(folder: Path, copy: WithdrawalCopy) -> None:
    """Add a withdrawal; durable when it returns. Raises `OSError`."""
    path = folder / FILE_NAME
    line = {"type": WITHDRAWN, "tenant": copy.tenant_id, "consent": copy.consent_id, "at": copy.at}
    fresh = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
    try:
        os.write(descriptor, b"\n" + orjson.dumps(line) + b"\n")
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        _sync(folder)


def read(paths: Iterable[Path]) -> list[WithdrawalCopy]:
    """The withdrawals in several files, oldest first, each once. Raises `OSError`."""
    found: dict[tuple[str, str], WithdrawalCopy] = {}
    for path in paths:
        for line in path.read_bytes().splitlines():
            copy = _read(line)
            if copy is not None:
                found.setdefault((copy.tenant_id, copy.consent_id), copy)
    return sorted(found.values(), key=lambda copy: copy.at)


def _read(line: bytes) -> WithdrawalCopy | None:
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        told = orjson.loads(line)
        if told["type"] == WITHDRAWN:
            return WithdrawalCopy(str(told["tenant"]), str(told["consent"]), int(told["at"]))
    return None


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
