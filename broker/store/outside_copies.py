"""Withdrawals and erasures, kept outside of the database: a restored backup takes none back.

The file only grows. A line is durable before the transaction of its act commits, so that none that
was acknowledged is missing; one whose transaction then failed is there too, which errs on the
customer's side. Each line begins and ends with a newline: what a crash leaves half-written
spoils no line but itself. Lines hold identifiers alone; new kinds may be added, readers skip those
that they do not know.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.errors import LogUnavailable
from broker.store.durable import sync_folder

FILE_NAME = "withdrawals"
WITHDRAWN = "consent.withdrawn"
ERASED = "subject.erased"
_MODE = 0o600


@dataclass
class _Lines:
    """What one caller adds, and whether it is durable."""

    data: bytes
    kept: bool = False


_guard = threading.Lock()
_waiting: dict[Path, list[_Lines]] = {}
_writing: dict[Path, threading.Lock] = {}
_WITH_COMMIT = "kept outside with the commit"


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


def keep(folder: Path, *copies: WithdrawalCopy | ErasureCopy) -> None:
    """Add acts; durable when it returns. Raises `OSError`.

    Safe from several threads: those that wait for the disk at the same time share one flush.
    """
    lines = _Lines(b"".join(b"\n" + orjson.dumps(_line(copy)) + b"\n" for copy in copies))
    path = folder / FILE_NAME
    with _guard:
        waiting = _waiting.setdefault(path, [])
        waiting.append(lines)
        writing = _writing.setdefault(path, threading.Lock())
    with writing:
        if lines.kept:
            return
        with _guard:
            batch = list(waiting)
            waiting.clear()
        try:
            _write(path, b"".join(one.data for one in batch))
        except OSError:
            # The others try by themselves, and get the error of their own.
            with _guard:
                waiting[:0] = [one for one in batch if one is not lines]
            raise
        for one in batch:
            one.kept = True


def keep_with(tx: Connection, folder: Path, copy: WithdrawalCopy | ErasureCopy) -> None:
    """Add an act before the transaction commits, together with all others in the same commit."""
    tx.info.setdefault(_WITH_COMMIT, {}).setdefault(folder, []).append(copy)


def forget_with(tx: Connection) -> None:
    """Drop what would be kept with a commit: the transaction begins, or begins again."""
    tx.info.pop(_WITH_COMMIT, None)


def commit_with(tx: Connection) -> None:
    """Keep what `keep_with` was told; the commit comes next. Raises `LogUnavailable`."""
    for folder, copies in tx.info.pop(_WITH_COMMIT, {}).items():
        try:
            keep(folder, *copies)
        except OSError as error:
            raise LogUnavailable(
                f"the act cannot be kept outside of the database ({error.strerror}): try again"
            ) from error


def read(paths: Iterable[Path]) -> list[WithdrawalCopy]:
    """The withdrawals in several files, oldest first, each once. Raises `OSError`."""
    found: dict[tuple[str, str], WithdrawalCopy] = {}
    for told in _lines(paths, WITHDRAWN):
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            copy = WithdrawalCopy(str(told["tenant"]), str(told["consent"]), int(told["at"]))
            found.setdefault((copy.tenant_id, copy.consent_id), copy)
    return sorted(found.values(), key=lambda copy: copy.at)


def read_erasures(paths: Iterable[Path]) -> list[ErasureCopy]:
    """The erasures in several files, oldest first, each once. Raises `OSError`."""
    found: dict[tuple[str, tuple[str, ...]], ErasureCopy] = {}
    for told in _lines(paths, ERASED):
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
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


def _line(copy: WithdrawalCopy | ErasureCopy) -> dict[str, Any]:
    common = {"tenant": copy.tenant_id, "at": copy.at}
    if isinstance(copy, WithdrawalCopy):
        return {**common, "type": WITHDRAWN, "consent": copy.consent_id}
    return {**common, "type": ERASED, "contacts": list(copy.contact_ids)}


def _write(path: Path, data: bytes) -> None:
    fresh = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        sync_folder(path.parent)
