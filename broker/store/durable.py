"""Files that are whole and durable, or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_MODE = 0o600


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file for its owner alone; durable when the block ends, gone when it fails.

    Raises `FileExistsError` for anything that is there already, a link that leads nowhere too: what
    is written follows nobody's link. Its name is durable after `sync_folder`, as after a rename.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    whole = False
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        whole = True
    finally:
        if not whole:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make durable which names are in a folder. Raises `OSError`."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
