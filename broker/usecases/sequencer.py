"""The sequencer: gives waiting entries their index, extends the tree, signs and publishes it.

The order of steps, and what a crash after each leaves behind:

1. Entries get indexes, tiles are stored and the head advances: one transaction, whose
   compare-and-swap on the head no two sequencers can both pass. A crash before its commit leaves
   everything waiting; after it, a tree that is not signed yet and is signed by the next run.
2. The new tree is shown to extend the one that was signed last, then signed. A crash leaves
   nothing: signing again gives a signature of the same tree.
3. The signed head is written to the file outside the database. A crash leaves a file that the
   database extends already, since step 1 is durable.
4. The checkpoint is stored, unique by its size, and thereby published. What was published is
   therefore always in the file too. Steps 2 to 4 share a transaction, so that neither the file
   nor the published size can go back when several processes run.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from broker.domain.checkpoint import Checkpoint, sign_checkpoint
from broker.domain.errors import LogConflict, LogError, LogRolledBack
from broker.domain.merkle import leaf_hash
from broker.domain.note import Ed25519Signer, Ed25519Verifier
from broker.domain.tiles import RightEdge
from broker.settings import Settings
from broker.store import audit, log_tree, status_lists
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.head_file import FILE_NAME, HeadFile
from broker.store.log_tree import Head, StoredCheckpoint
from broker.usecases.log_keys import KnownLogKey, LogKeys, LogSigners, OneLogKey
from broker.usecases.signed_head import SignedHead
from credentials.jws import Signer

LARGEST_BATCH = 512
LONGEST_WAIT = 60
LARGEST_STEP_BACK = 10
"""By how many seconds a clock that is kept in time may be set back."""
POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0

_log = structlog.get_logger("broker.log")


@dataclass(frozen=True)
class Sequenced:
    """What a run has done: entries that got an index, the tree now, the note if one was signed."""

    added: int
    size: int
    root: bytes
    note: str | None


class Sequencer:
    """The one writer of the log's tree. Safe from several threads, processes and machines.

    `permits` is the question every grant asks first. `start` runs it in a thread of its own.
    """

    def __init__(
        self,
        db: Database,
        keys: LogKeys | Signer,
        settings: Settings,
        clock: Callable[[], int],
        head_file: HeadFile | None = None,
    ) -> None:
        """`keys` sign the log, Ed25519 each; a single key is never rotated.

        A new log takes its origin from the public address.
        """
        self._db, self._clock = db, clock
        self._keys: LogSigners = keys if isinstance(keys, LogKeys) else OneLogKey(keys)
        file = head_file or HeadFile(settings.home / FILE_NAME)
        self._head = SignedHead(db, file, self._verifiers)
        address = urlsplit(settings.public_url)
        self._new_origin = f"{address.netloc}{address.path.rstrip('/')}/log"
        self._running = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._edge: tuple[Head, RightEdge] | None = None
        self._origin: str | None = None
        self._checked = False
        self._rolled_back: LogRolledBack | None = None
        self._caught_up_at: int | None = None
        self._latest = 0

    @property
    def rolled_back(self) -> LogRolledBack | None:
        """Why nothing is signed and nothing permitted, if so."""
        return self._rolled_back

    @property
    def origin(self) -> str:
        """The log's name, which is also its keys' name."""
        if self._origin is None:
            with self._db.reading() as tx:
                head = log_tree.head(tx)
            if head is None:
                with self._db.transaction() as tx:
                    head = log_tree.create_head(tx, self._new_origin)
            self._origin = head.origin
        return self._origin

    def known_keys(self) -> Sequence[KnownLogKey]:
        """Every key that the log ever had, the newest first."""
        with self._db.reading() as tx:
            return self._keys.known(tx)

    @property
    def verifier(self) -> Ed25519Verifier:
        """What checks the log's newest checkpoints."""
        return self.verifiers()[0]

    def verifiers(self) -> Sequence[Ed25519Verifier]:
        """What checks checkpoints of any time: every key that the log ever had."""
        return [Ed25519Verifier(key.named(self.origin)) for key in self.known_keys()]

    def _verifiers(self, tx: Connection) -> Sequence[Ed25519Verifier]:
        head = log_tree.head(tx)
        origin = self._new_origin if head is None else head.origin
        return [Ed25519Verifier(key.named(origin)) for key in self._keys.known(tx)]

    def permits(self, now: int) -> bool:
        """Whether anything may be granted: the log is sound and at most 60 s behind.

        False too when no run has succeeded for that long, whatever stopped it, and when the clock
        went back. Withdrawals and erasures do not ask.
        """
        if self._rolled_back is not None or self._caught_up_at is None or self.clock_went_back(now):
            return False
        return now - self._caught_up_at <= LONGEST_WAIT

    def clock_went_back(self, now: int) -> bool:
        """Whether `now` is clearly before what the log's runs in this process have seen.

        What has ended would live again. It is over when the clock is past that again, or, where it
        was wrong before, with a restart after it was put right. Kept for longer it could not be: a
        clock that was once ahead by a year would have nothing permitted for a year. `doctor`
        compares the clock with the log's newest entry, also before a start.
        """
        return now < self._latest - LARGEST_STEP_BACK

    def lag(self, now: int) -> int | None:
        """How many seconds the log is behind; None before the first run."""
        return None if self._caught_up_at is None else max(0, now - self._caught_up_at)

    def run_once(self, now: int) -> Sequenced | None:
        """Index one batch of what waits, and sign the tree when it grew and a second has passed.

        None when there was nothing to do. Raises `LogRolledBack` for good, `LogConflict` when
        another sequencer was faster, `SQLAlchemyError` or `OSError` when storage fails; every
        failure leaves a state from which the next run goes on.
        """
        with self._running, acting_for_all():
            if self._rolled_back is not None:
                raise self._rolled_back
            self._latest = max(self._latest, now)
            try:
                if not self._checked:
                    self._head.check()
                    self._checked = True
                return self._run(now)
            except LogRolledBack as error:
                self._rolled_back = error
                raise

    def check(self) -> None:
        """Raise `LogRolledBack` unless the log extends the head that was signed last."""
        with self._running, acting_for_all():
            self._head.check()

    def adopt(self) -> None:
        """Take the database's published checkpoint as the last signed head.

        For a new machine without a head file, after somebody has made sure that the database is
        the newest one there is. Raises `LogRolledBack` when a head file says otherwise.
        """
        with self._running, acting_for_all():
            self._head.adopt()
            self._checked, self._rolled_back = False, None

    def start(self) -> None:
        """Check the log against its last signed head, then sequence in a thread until `stop`.

        A log that was rolled back does not raise here: the broker serves, and permits nothing.
        """
        self._turn()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._loop, name="sequencer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the batch that it is at; what waits stays waiting."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        """Say that there is something to index, so that nobody waits for the next poll."""
        self._wake.set()

    def _loop(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            if pause:
                self._wake.wait(pause)
                self._wake.clear()
            if not self._stopping.is_set():
                pause = self._turn()

    def _turn(self) -> float:
        """Run once, and say how long to wait for the next run."""
        try:
            done = self.run_once(self._clock())
        except LogConflict:
            return POLL_SECONDS
        except LogRolledBack as error:
            _log.critical("log_rolled_back", reason=str(error))
            # Nothing heals this but an operator, who restarts the broker.
            self._stopping.set()
            return RETRY_SECONDS
        except (SQLAlchemyError, OSError, LogError) as error:
            _log.error("log_not_written", error=type(error).__name__)
            return RETRY_SECONDS
        return 0.0 if done is not None and done.added == LARGEST_BATCH else POLL_SECONDS

    def _run(self, now: int) -> Sequenced | None:
        origin = self.origin
        with self._db.reading() as tx:
            oldest = audit.oldest_pending(tx, now)
        added = self._index_batch(origin, now) if oldest is not None else 0
        if added:
            with self._db.reading() as tx:
                oldest = audit.oldest_pending(tx, now)
        note = self._publish(now)
        self._caught_up_at = now if oldest is None else min(oldest, now)
        if not added and note is None:
            return None
        with self._db.reading() as tx:
            head = log_tree.head(tx) or Head(origin)
        return Sequenced(added, head.size, head.root, note)

    def _index_batch(self, origin: str, now: int) -> int:
        """Step 1. The number of entries that got an index.

        An end that was held back is shown by its entry's index and its partner's list together.
        """
        with self._db.transaction() as tx:
            if not log_tree.try_sequencer_lock(tx):
                return 0
            waiting = audit.pending(tx, LARGEST_BATCH, now)
            if not waiting:
                return 0
            old = log_tree.create_head(tx, origin)
            self._head.refuse_smaller(old.size)
            edge = self._edge_at(tx, old)
            grown, filled = edge.extend([leaf_hash(entry.leaf_data) for entry in waiting])
            head = log_tree.advance(tx, old, grown, waiting, filled)
            if shown := [entry.shows for entry in waiting if entry.shows is not None]:
                status_lists.mark_shown(tx, shown)
        self._edge = (head, grown)
        return len(waiting)

    def _edge_at(self, tx: Connection, head: Head) -> RightEdge:
        kept = self._edge
        edge = kept[1] if kept and kept[0] == head else log_tree.right_edge(tx, head.size)
        if edge.frontier().root() != head.root:
            raise LogRolledBack("the stored tree does not have the root that the head names")
        return edge

    def _publish(self, now: int) -> str | None:
        """Steps 2 to 4. The note, if one was signed."""
        with self._db.reading() as tx:
            # In this order: whatever is published is then within the head.
            latest, head = log_tree.latest_checkpoint(tx), log_tree.head(tx)
        self._head.refuse_smaller(head.size if head else 0)
        if not self._head.is_behind(latest) and not _is_due(head, latest, now):
            return None
        with self._db.transaction() as tx:
            if not log_tree.try_sequencer_lock(tx):
                return None
            latest, head = log_tree.latest_checkpoint(tx), log_tree.head(tx)
            if head is None:
                return None
            tree = log_tree.TileReader(tx, head.size)
            if latest is not None and self._head.is_behind(latest):
                self._head.follow(tx, tree, latest)
            if not _is_due(head, latest, now):
                return None
            # 2. A log must not sign what is inconsistent with what it has signed.
            frontier = b"".join(self._edge_at(tx, head).frontier().hashes)
            checkpoint = Checkpoint(head.origin, head.size, head.root)
            published = latest.size if latest is not None else 0
            keys = self._keys.signing(tx, now, published)
            note = sign_checkpoint(
                checkpoint, [Ed25519Signer.from_key(head.origin, key) for key in keys]
            )
            # 3.
            self._head.keep(tree, checkpoint, note)
            # 4.
            log_tree.add_checkpoint(tx, StoredCheckpoint(head.size, note, now, frontier))
        return note


def _is_due(head: Head | None, latest: StoredCheckpoint | None, now: int) -> bool:
    """Whether the tree has grown since it was published, at least a second ago."""
    if latest is None:
        return head is not None and head.size > 0
    return head is not None and head.size > latest.size and now > latest.signed_at
