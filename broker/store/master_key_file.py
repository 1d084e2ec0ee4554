"""The master key in a file below the home folder, and the ones before it.

`master.key` seals and opens; `master.key.previous-<key id>` only open. Each is 32 bytes, readable
by its owner alone. Brokers read them again when they meet a value under a key that they do not
know, and each second (`MasterKey.refresh`), so a rotation needs no restart.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.settings import MASTER_KEY_BYTES, SettingsError
from broker.store.durable import new_file, sync_folder
from credentials.sealing import Keys, key_id_of

FILE_NAME = "master.key"
PREVIOUS = f"{FILE_NAME}.previous-"
_MODE = 0o600


@dataclass(frozen=True)
class MasterKeyFile:
    """The key files of a home folder; `further` keys, of the settings, open as well."""

    home: Path
    further: tuple[bytes, ...] = ()

    def read(self) -> Keys:
        """The current key, made on first use, and the previous ones. Raises `SettingsError`."""
        # The current key first: a rotation in between has then put it among the previous ones.
        current = self._current()
        previous = [_key(path) for path in sorted(self.home.glob(f"{PREVIOUS}*"))]
        return current, (*previous, *self.further)

    def rotate(self) -> bytes:
        """Make a new current key; the one before opens what it sealed. Returns the new key's id.

        Durable when it returns. A crash leaves the old key current or the new one, and never a key
        that sealed something without its file.
        """
        with _alone(self.home):
            current = self._current()
            kept = self.home / f"{PREVIOUS}{key_id_of(current).hex()}"
            if not kept.exists():
                _write(self.home, kept, current)
            fresh = secrets.token_bytes(MASTER_KEY_BYTES)
            _write(self.home, self.home / FILE_NAME, fresh)
        return key_id_of(fresh)

    def _current(self) -> bytes:
        path = self.home / FILE_NAME
        try:
            return _key(path)
        except FileNotFoundError:
            pass
        if any(self.home.glob(f"{PREVIOUS}*")):
            message = f"{path} is missing and older ones are there: restore it from your backup"
            raise SettingsError(message)
        key = secrets.token_bytes(MASTER_KEY_BYTES)
        with new_file(path) as file:
            file.write(key)
        sync_folder(self.home)
        return key


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two rotations at once would leave a key that has sealed something without its file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != MASTER_KEY_BYTES:
        message = f"{path} is not 32 bytes: restore it from your backup, or set BROKER_MASTER_KEY"
        raise SettingsError(message)
    return key


def _write(folder: Path, path: Path, key: bytes) -> None:
    fresh = path.with_name(f"new.{path.name}")  # not to be taken for a previous key
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(folder)
