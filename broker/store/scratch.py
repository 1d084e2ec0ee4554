"""A folder for what lies about unsealed for as long as a backup or a restore takes."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.domain.errors import BackupRefused

LOCK = ".scratch-lock"
_FOLDER = ".scratch-folder-"
_MODE = 0o600


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """An empty folder below `home`, where what is secret stays; gone when the block ends.

    One at a time: what one that was killed has left is removed by the next. Raises `BackupRefused`
    when another process has one, `OSError`.
    """
    handle = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _MODE)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRefused(
                f"another backup or restore is at work in {home}: wait until it has ended"
            ) from None
        for left in home.glob(f"{_FOLDER}*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=home) as folder:
            yield Path(folder)
    finally:
        os.close(handle)
