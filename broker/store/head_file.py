"""The last signed head of the log, kept in a file outside the database.

A database that is restored from a backup cannot restore this file with it, so the log notices.
"""

import os
from pathlib import Path

from broker.domain.errors import LogRolledBack
from broker.store.durable import sync_folder

FILE_NAME = "log-head"
_MODE = 0o600


class HeadFile:
    """A file that holds one signed checkpoint.

    `write` is atomic and durable when it returns: a crash leaves the old note or the new one.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the file; its folder is made on the first write."""
        self.path = path

    def read(self) -> str | None:
        """The signed note, None when there is no file.

        Raises `LogRolledBack` when the file is there and is not text, `OSError` when it cannot
        be read.
        """
        try:
            return self.path.read_bytes().decode()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise LogRolledBack(f"{self.path.name} does not hold a signed head") from None

    def write(self, note: str) -> None:
        """Replace the note. Raises `OSError`."""
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(note.encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        sync_folder(folder)
