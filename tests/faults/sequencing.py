"""A sequencer in a process of its own that is killed at one point of its way.

The points are those between which `usecases/sequencer.py` promises that nothing is lost: each
durable act just before it ("failed") and just after it ("persisted").
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from broker.domain.errors import LogConflict
from broker.store.db import Database
from broker.store.head_file import FILE_NAME, HeadFile
from credentials.keys import SoftwareKey
from tests.broker.log_fixtures import sequencer

# Write transactions in the order of a run over entries that wait: in a new log the first makes the
# head, later runs index (1) and publish (2).
POINTS = (
    *("make head failed", "make head persisted"),
    *("index failed", "index persisted"),
    "sign failed",
    *("file failed", "file half-written", "file persisted"),
    *("publish failed", "publish persisted"),
)
_WRITE = {"make head": 1, "index": 1, "publish": 2}


def die() -> None:
    """End this process as `kill -9` does: nothing is flushed, nothing is closed."""
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyDatabase(Database):
    """A database whose process dies just before or just after the commit of its n-th write."""

    dies_at = 0
    persists = False
    _writes = 0

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A write transaction, maybe the last thing that happens."""
        self._writes += 1
        with super().transaction() as connection:
            yield connection
            if self._writes == self.dies_at and not self.persists:
                die()
        if self._writes == self.dies_at:
            die()


class DeadlyHeadFile(HeadFile):
    """A head file that dies before, while or after it is written."""

    dies = ""

    def write(self, note: str) -> None:
        """Replace the note, or not."""
        if self.dies == "failed":
            die()
        if self.dies == "half-written":
            self.path.with_name(f"{self.path.name}.new").write_text(note[: len(note) // 2])
            die()
        super().write(note)
        if self.dies == "persisted":
            die()


class DeadlyKey:
    """A key whose process dies when it is asked to sign."""

    alg = "Ed25519"

    def __init__(self, key: SoftwareKey, *, dies: bool) -> None:
        self._key, self._dies = key, dies

    def public_jwk(self) -> dict[str, Any]:
        """The public half."""
        return self._key.public_jwk()

    def sign(self, data: bytes) -> bytes:
        """Sign, or die."""
        if self._dies:
            die()
        return self._key.sign(data)


def sequence(home: str, url: str, private_jwk: dict[str, Any], now: int, point: str = "") -> None:
    """Sequence until nothing is left to do, or until the process dies at `point`."""
    step, _, outcome = point.rpartition(" ")
    db = DeadlyDatabase(url)
    db.dies_at, db.persists = _WRITE.get(step, 0), outcome == "persisted"
    file = DeadlyHeadFile(Path(home) / FILE_NAME)
    file.dies = outcome if step == "file" else ""
    key = DeadlyKey(SoftwareKey.from_private_jwk(private_jwk), dies=step == "sign")
    log = sequencer(db, Path(home), key, file)
    while True:
        try:
            if log.run_once(now) is None:
                break
        except LogConflict:
            continue
        now += 1
    db.close()
