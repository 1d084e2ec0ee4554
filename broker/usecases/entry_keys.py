"""The log keys of customers and tenants, opened into memory for a short while.

A customer's key may be destroyed by another process (erasure): so each is read again after
`AGE_SECONDS`, and `forget` drops what nobody asks for any more.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.entry import KEY_BYTES, LogKey
from broker.domain.errors import NotFound
from broker.store import keys as store
from credentials.sealing import MasterKey

MOST_KEPT = 10_000
AGE_SECONDS = 25
"""With a sweep every 30 s no process holds a key a minute after it was destroyed."""


@dataclass(frozen=True, slots=True)
class _Kept:
    key: LogKey
    read_at: float


class EntryKeys:
    """Log keys by their owner. Safe from several threads."""

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def of_subject(self, tx: Connection, subject_id: str) -> LogKey:
        """A customer's key; raises `NotFound` when it has been destroyed."""
        return self._find(f"subject:{subject_id}", lambda: store.subject_log_key(tx, subject_id))

    def of_tenant(self, tx: Connection, tenant_id: str) -> LogKey:
        """The key of entries that concern no customer."""
        return self._find(f"tenant:{tenant_id}", lambda: store.tenant_log_key(tx, tenant_id))

    def make(self, owner: str) -> bytes:
        """A fresh sealed key for `owner` (`subject:<id>` or `tenant:<id>`)."""
        key = secrets.token_bytes(KEY_BYTES)
        # A customer's first entry follows at once, and an id that came to nothing is never asked
        # for again. A tenant's id is chosen: a tenant that exists already must keep its key here.
        if owner.startswith("subject:"):
            self._keep(owner, key)
        return self._master.seal(key, f"log-key:{owner}")

    def forget(self, subject_id: str | None = None) -> None:
        """Drop a customer's key, or (None) all that were read too long ago."""
        oldest = time.monotonic() - AGE_SECONDS
        with self._lock:
            if subject_id is not None:
                self._kept.pop(f"subject:{subject_id}", None)
                return
            self._kept = {name: kept for name, kept in self._kept.items() if kept.read_at > oldest}

    def _find(self, owner: str, read: Callable[[], bytes | None]) -> LogKey:
        kept = self._kept.get(owner)
        if kept is None or time.monotonic() - kept.read_at >= AGE_SECONDS:
            sealed = read()
            if sealed is None:
                with self._lock:
                    self._kept.pop(owner, None)
                raise NotFound("the log key of this entry's owner has been destroyed or never was")
            kept = self._keep(owner, self._master.open(sealed, f"log-key:{owner}"))
        return kept.key

    def _keep(self, owner: str, key: bytes) -> _Kept:
        kept = _Kept(LogKey(key), time.monotonic())
        with self._lock:
            while len(self._kept) >= MOST_KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[owner] = kept
        return kept
