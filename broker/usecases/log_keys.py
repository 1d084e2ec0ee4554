"""The keys that sign the log: the newest, and older ones beside it until readers have the newest.

A log key that was rotated out cosigns each checkpoint for as long as the rotation said, so that
whoever has an older trust file goes on verifying; afterwards its largest tree is noted, and a
newer trust file says that it counts no further. Who signs is read in the very transaction that
publishes a checkpoint: no process signs with a key that another has retired.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from sqlalchemy import Connection

from broker.domain.note import ED25519, VerifierKey
from broker.store import keys as store
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.keys import KeyRow
from broker.usecases.key_making import KeyMaker
from credentials.jcs import b64url_decode
from credentials.jws import Signer

MOST_SIGNERS = 8
"""C2SP signed-note: readers take 16 signatures at least, and witnesses add theirs."""


@dataclass(frozen=True)
class KnownLogKey:
    """A log key without its private half.

    `until_size`: the largest tree it has signed, None while nobody has noted it. `signs_until`: the
    time (Unix seconds) at which one that was rotated out ceases to sign.
    """

    public_key: bytes
    until_size: int | None
    compromised: bool
    signs_until: int | None = None

    def counts_until(self, now: int, published: int) -> int | None:
        """The largest tree for which its word counts; None while it signs.

        Nobody notes it before the next checkpoint: of a quiet log the newest, `published`, is the
        largest that it can have signed.
        """
        over = self.signs_until is not None and self.signs_until <= now
        return published if over and self.until_size is None else self.until_size

    def named(self, origin: str) -> VerifierKey:
        """Its text form under the log's origin."""
        return VerifierKey(origin, ED25519, self.public_key)


class LogSigners(Protocol):
    """Who signs a log, and who has."""

    def signing(self, tx: Connection, now: int, published: int) -> Sequence[Signer]:
        """The keys that sign the next checkpoint, the newest first.

        `tx` is the transaction that publishes it; `published` is the size of the one before.
        """

    def known(self, tx: Connection) -> Sequence[KnownLogKey]:
        """Every key the log ever had, the newest first."""


class OneLogKey:
    """A log with one key for ever."""

    def __init__(self, key: Signer) -> None:
        self._key = key

    def signing(self, tx: Connection, now: int, published: int) -> Sequence[Signer]:
        """The one key."""
        del tx, now, published
        return (self._key,)

    def known(self, tx: Connection) -> Sequence[KnownLogKey]:
        """The one key."""
        del tx
        return (KnownLogKey(_public(self._key.public_jwk()["x"]), None, compromised=False),)


class LogKeys:
    """The deployment's log keys. Safe from several threads."""

    def __init__(self, db: Database, maker: KeyMaker) -> None:
        self._db, self._maker = db, maker
        self._lock = threading.Lock()
        self._opened: dict[str, Signer] = {}

    def current(self) -> Signer:
        """The newest key, made when there is none."""
        with self._db.reading() as tx:
            row = store.active(tx, "log", None)
        if row is None:
            with acting_for_all(), self._db.transaction() as tx:
                store.hold_creation(tx)
                row = store.active(tx, "log", None) or self._maker.log(tx)
        return self._open(row)

    def replace(self, tx: Connection, now: int, *, overlap: int, published: int) -> KeyRow:
        """A new key that takes over at once; the older ones cosign for `overlap` more seconds.

        The caller keeps others from publishing meanwhile; `published` is the largest size so far.
        """
        store.hold_creation(tx)
        made = self._maker.log(tx)
        until = now + overlap if overlap > 0 else None
        retired = store.retire_others(tx, made, now, signs_until=until)
        if until is None:
            store.bound(tx, retired, published)
        store.count_change(tx)
        return made

    def signing(self, tx: Connection, now: int, published: int) -> Sequence[Signer]:
        """The active key and the retired ones that still cosign; the others' size is noted."""
        rows = store.of(tx, "log", None, "active", "retired")
        active = [row for row in rows if row.state == "active"][:1]
        overlapping = [row for row in rows if row.state == "retired" and row.log_size is None]
        still = [row for row in overlapping if (row.signs_until or 0) > now][: MOST_SIGNERS - 1]
        over = [row.id for row in overlapping if row not in still]
        if over:
            store.bound(tx, over, published)
        return [self._open(row) for row in (*active, *still)]

    def known(self, tx: Connection) -> Sequence[KnownLogKey]:
        """Every key, the newest first."""
        rows = store.of(tx, "log", None)
        return [
            KnownLogKey(
                _public(orjson.loads(row.public_jwk)["x"]),
                row.log_size if row.state != "active" else None,
                compromised=row.state == "compromised",
                signs_until=row.signs_until,
            )
            for row in rows
        ]

    def _open(self, row: KeyRow) -> Signer:
        with self._lock:
            if row.id not in self._opened:
                self._opened[row.id] = self._maker.open(row)
            return self._opened[row.id]


def _public(encoded: str) -> bytes:
    return b64url_decode(encoded)
