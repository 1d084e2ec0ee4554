"""A file that one process at a time holds."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from federation.errors import FederationError
from federation.flower.broker import AGAIN_SECONDS

WAIT_SECONDS: Final = 60.0


@contextmanager
def held(file: Path, otherwise: FederationError, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold a file; who has it is waited for, not for ever. Raises `otherwise`."""
    with file.open("ab") as lock:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise otherwise from None
                time.sleep(AGAIN_SECONDS)
        try:
            yield
        finally:
            # Closing alone would not do: a child that was forked meanwhile has the file open too.
            fcntl.flock(lock, fcntl.LOCK_UN)
