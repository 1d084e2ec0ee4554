"""The head of the log that was signed last: what everything that follows must extend."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from broker.domain.checkpoint import Checkpoint, open_checkpoint_of
from broker.domain.errors import LogError, LogRolledBack
from broker.domain.merkle import consistency_proof, root_at, verify_consistency
from broker.domain.note import NoteVerifier
from broker.store import log_tree
from broker.store.db import Database
from broker.store.head_file import HeadFile
from broker.store.log_tree import StoredCheckpoint


class SignedHead:
    """The last signed head, in memory and in its file; it only ever moves forward.

    Every method raises `LogRolledBack` when the log is not the one that was signed.
    """

    def __init__(
        self,
        db: Database,
        file: HeadFile,
        verifiers: Callable[[Connection], Sequence[NoteVerifier]],
    ) -> None:
        """`verifiers` gives every key that the log ever had, as a transaction sees them.

        Also those that were retired or stolen since: the head in the file was signed before.
        """
        self._db, self._file, self._verifiers = db, file, verifiers
        self._signed: Checkpoint | None = None

    def check(self) -> None:
        """At start: the log must extend the head in the file."""
        note = self._file.read()
        with self._db.reading() as tx:
            latest, head = log_tree.latest_checkpoint(tx), log_tree.head(tx)
            if note is None:
                if latest is not None:
                    raise LogRolledBack(
                        "the file with the last signed head is missing: restore it, or adopt this "
                        "database's head once it is sure that no newer database exists"
                    )
                return
            signed = self._open(tx, note)
            self._signed = signed
            self.refuse_smaller(head.size if head else 0)
            if root_at(signed.size, log_tree.TileReader(tx, signed.size)) != signed.root:
                raise LogRolledBack("the log differs from the head that was signed last")

    def adopt(self) -> None:
        """Take the database's published checkpoint for the last signed head, where no file is."""
        if self._file.read() is not None:
            raise LogRolledBack("there is a head file: it must not be overwritten from a database")
        with self._db.reading() as tx:
            latest = log_tree.latest_checkpoint(tx)
            if latest is not None:
                self._open(tx, latest.note)
        if latest is not None:
            self._file.write(latest.note)

    def refuse_smaller(self, size: int) -> None:
        """The log must not have fewer entries than were signed."""
        if self._signed is not None and size < self._signed.size:
            raise LogRolledBack(
                f"the log has {size} entries and the head signed last has {self._signed.size}: "
                "an older database was restored; bring back the newest one"
            )

    def is_behind(self, latest: StoredCheckpoint | None) -> bool:
        """Whether somebody has published a larger checkpoint than this head."""
        return latest is not None and (self._signed is None or latest.size > self._signed.size)

    def follow(self, tx: Connection, tree: log_tree.TileReader, latest: StoredCheckpoint) -> None:
        """Keep a head that another sequencer has signed and published, as if it were ours."""
        self.keep(tree, self._open(tx, latest.note), latest.note)

    def keep(self, tree: log_tree.TileReader, new: Checkpoint, note: str) -> None:
        """Move forward to `new`, shown to extend what is kept; durable when it returns."""
        old = self._signed
        if old is not None:
            try:
                proof = consistency_proof(old.size, new.size, tree)
                verify_consistency(old.size, new.size, old.root, new.root, proof)
            except LogError as error:
                raise LogRolledBack(
                    f"the log does not extend the head that was signed last: {error}"
                ) from None
        if old != new:
            self._file.write(note)
        self._signed = new

    def _open(self, tx: Connection, note: str) -> Checkpoint:
        try:
            return open_checkpoint_of(note, self._verifiers(tx))
        except LogError as error:
            raise LogRolledBack(f"the last signed head is not of this log: {error}") from None
