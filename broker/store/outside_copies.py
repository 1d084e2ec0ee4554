"""Withdrawals and erasures, kept outside of the database: a restored backup takes none back.

The file only grows. A line is durable before the transaction of its act commits, so that none that
was acknowledged is missing; one whose transaction then failed is there too, which errs on the
customer's side. Each line begins and ends with a newline: what a crash leaves half-written
spoils no line but itself. Lines hold identifiers alone; new kinds may be added, readers skip those
that they do not know.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

FILE_NAME = "withdrawals"
WITHDRAWN = "consent.withdrawn"
ERASED = "subject.erased"
_MODE = 0o600


@dataclass(frozen=True)
class WithdrawalCopy:
    """That a consent was withdrawn, and when (Unix seconds)."""

    tenant_id: str
    consent_id: str
    at: int


@dataclass(frozen=True)
class ErasureCopy:
    """That the customer behind these contacts was erased, and when (Unix seconds)."""

    tenant_id: str
    contact_ids: tuple[str, ...]
    at: int


def keep(folder: Path, copy: WithdrawalCopy | ErasureCopy) -> None:
    """Add an act; durable when it returns. Raises `OSError`."""
    path = folder / FILE_NAME
    line = {"tenant": copy.tenant_id, "at": copy.at}
    if isinstance(copy, WithdrawalCopy):
        line |= {"type": WITHDRAWN, "consent": copy.consent_id}
    else:
        line |= {"type": ERASED, "contacts": list(copy.contact_ids)}
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
    for told in _lines(paths, WITHDRAWN):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            copy = WithdrawalCopy(str(told["tenant"]), str(told["consent"]), int(told["at"]))
            found.setdefault((copy.tenant_id, copy.consent_id), copy)
    return sorted(found.values(), key=lambda copy: copy.at)


def read_erasures(paths: Iterable[Path]) -> list[ErasureCopy]:
    """The erasures in several files, oldest first, each once. Raises `OSError`."""
    found: dict[tuple[str, tuple[str, ...]], ErasureCopy] = {}
    for told in _lines(paths, ERASED):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            ids = tuple(str(contact_id) for contact_id in told["contacts"])
            copy = ErasureCopy(str(told["tenant"]), ids, int(told["at"]))
            found.setdefault((copy.tenant_id, copy.contact_ids), copy)
    return sorted(found.values(), key=lambda copy: copy.at)


def _lines(paths: Iterable[Path], kind: str) -> Iterator[dict[str, Any]]:
    for path in paths:
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                told = orjson.loads(line)
                if isinstance(told, dict) and told.get("type") == kind:
                    yield told


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
