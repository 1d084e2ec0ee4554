"""Ask others when the log's newest checkpoint was there, and keep their word.

A thread of its own, so that neither a request nor the sequencer ever waits for somebody else. What
was asked and not answered is asked again for the then newest checkpoint, which covers everything
below it; each source waits longer after each failure, up to ten minutes.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError

from broker.domain.cosignature import Cosigner
from broker.domain.errors import BrokerError, MalformedNote, OutgoingError
from broker.domain.merkle import consistency_proof
from broker.domain.note import VerifierKey, parse_note
from broker.domain.witnessing import cosigned_time
from broker.outbound.guarded import GuardedClient, rules_of
from broker.outbound.timestamping import TimestampAuthority
from broker.outbound.witness import Witness
from broker.settings import Settings, SettingsError
from broker.store import checkpoint_times, log_tree
from broker.store.acting import acting_for_all
from broker.store.checkpoint_times import CheckpointTime, Kind
from broker.store.db import Database
from broker.store.log_tree import StoredCheckpoint

TIMESTAMP_SECONDS = 60
WITNESS_SECONDS = 2
LONGEST_PAUSE = 600
POLL_SECONDS = 1.0
CLOCKS_DIFFER_SECONDS = 60

_log = structlog.get_logger("broker.log")


class Source(Protocol):
    """Somebody who says when a checkpoint was there; asked at most every `seconds`."""

    @property
    def kind(self) -> Kind:
        """What its word is."""

    @property
    def name(self) -> str:
        """Who it is."""

    @property
    def seconds(self) -> int:
        """How long to leave it alone."""

    def ask(self, db: Database, latest: StoredCheckpoint) -> CheckpointTime:
        """Its word, verified. Raises leaves of `BrokerError`, `SQLAlchemyError`."""


@dataclass(frozen=True)
class Timestamps:
    """A timestamping authority, over the text of the checkpoint's note."""

    authority: TimestampAuthority
    seconds: int = TIMESTAMP_SECONDS
    kind: Kind = "rfc3161"

    @property
    def name(self) -> str:
        """The authority's host."""
        return urlsplit(self.authority.url).netloc

    def ask(self, _db: Database, latest: StoredCheckpoint) -> CheckpointTime:
        """A timestamp over the checkpoint."""
        token, stamp = self.authority.stamp(parse_note(latest.note).text.encode())
        return CheckpointTime(latest.size, self.kind, self.name, token, stamp.time)


@dataclass(frozen=True)
class Cosignatures:
    """A witness, over the checkpoint and the proof that it extends the one cosigned before."""

    witness: Witness
    seconds: int = WITNESS_SECONDS
    kind: Kind = "witness"

    @property
    def name(self) -> str:
        """The witness's name."""
        return self.witness.key.name

    def ask(self, db: Database, latest: StoredCheckpoint) -> CheckpointTime:
        """The witness's cosignature."""

        def prove(old: int) -> Sequence[bytes]:
            with db.reading() as tx:
                return consistency_proof(old, latest.size, log_tree.TileReader(tx, latest.size))

        with db.reading() as tx:
            old = checkpoint_times.largest_size(tx, self.kind, self.name)
        lines = self.witness.add_checkpoint(latest.note, latest.size, old=old, prove=prove)
        token = "".join(line.encode() for line in lines).encode()
        return CheckpointTime(latest.size, self.kind, self.name, token, cosigned_time(lines))


@dataclass
class _State:
    next_at: int = 0
    failures: int = 0
    size: int | None = None


class IndependentTime:
    """Asks each source about the newest checkpoint, again and again. `start` runs it in a thread.

    Safe to run in several processes: the words of each are kept once.
    """

    def __init__(self, db: Database, clock: Callable[[], int], sources: Sequence[Source]) -> None:
        """`clock` gives Unix seconds."""
        self._db, self._clock = db, clock
        self._sources = [(source, _State()) for source in sources]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def run_once(self, now: int) -> list[CheckpointTime]:
        """Ask every source whose time has come; what they said is kept when this returns."""
        given = []
        for source, state in self._sources:
            if now < state.next_at:
                continue
            try:
                with acting_for_all():
                    word = self._ask(source, state)
            except (BrokerError, SQLAlchemyError) as error:
                state.failures += 1
                state.next_at = now + min(2**state.failures, LONGEST_PAUSE)
                _report(source, error, state.next_at - now)
                continue
            state.failures = 0
            if word is None:
                continue
            state.next_at, state.size = now + source.seconds, word.size
            given.append(word)
            if abs(word.at - now) > CLOCKS_DIFFER_SECONDS:
                _log.warning("clocks_differ", source=source.name, seconds=word.at - now)
        return given

    def start(self) -> None:
        """Ask in a thread until `stop`; nothing to do without sources."""
        if self._sources:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._loop, name="time", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after the question that it is at (seconds)."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _ask(self, source: Source, state: _State) -> CheckpointTime | None:
        with self._db.reading() as tx:
            latest = log_tree.latest_checkpoint(tx)
            if state.size is None:
                state.size = checkpoint_times.largest_size(tx, source.kind, source.name)
        if latest is None or latest.size <= state.size:
            return None
        word = source.ask(self._db, latest)
        with self._db.transaction() as tx:
            checkpoint_times.add(tx, word)
        return word

    def _loop(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            self.run_once(self._clock())


def sources(settings: Settings) -> list[Source]:
    """Whom a deployment asks. Raises `SettingsError`."""
    if not settings.timestamp_url and not settings.witnesses:
        return []
    client = GuardedClient(rules_of(settings))
    found: list[Source] = []
    if settings.timestamp_url:
        found.append(
            Timestamps(TimestampAuthority(client, settings.timestamp_url, settings.timestamp_roots))
        )
    for address in settings.witnesses:
        try:
            key = Cosigner(VerifierKey.parse(address.key))
        except MalformedNote as error:
            message = f"BROKER_WITNESSES: {error}"
            raise SettingsError(message) from error
        found.append(Cosignatures(Witness(client, address.url, key)))
    return found


def _report(source: Source, error: Exception, pause: int) -> None:
    _log.warning(
        "no_independent_time",
        source=source.name,
        code=error.code if isinstance(error, BrokerError) else type(error).__name__,
        reason=error.reason if isinstance(error, OutgoingError) else None,
        again_in=pause,
    )
