"""A partner cosigns the log by C2SP tlog-witness, and refuses what does not extend what it saw."""

from pathlib import Path

import pytest

from broker.domain.checkpoint import open_checkpoint
from broker.domain.errors import FetchFailed, WitnessRefused
from broker.domain.note import parse_note, verify_note
from broker.domain.witnessing import known_size
from broker.store import checkpoint_times, log_tree
from broker.store.db import Database
from broker.store.migrate import migrate
from broker.usecases import log_reading
from broker.usecases.independent_time import (
    IndependentTime,
)
from broker.usecases.sequencer import Sequencer
from tests.broker.log_fixtures import append, drain, sequencer
from tests.faults.asking import cosignatures, words
from tests.faults.hostile import answering, serving
from tests.faults.strict_witness import StrictWitness


def published(db: Database) -> str:
    with db.reading() as tx:
        return log_reading.checkpoint(tx)


@pytest.mark.parametrize("post_quantum", [False, True])
def test_a_witness_cosigns_each_checkpoint_and_readers_see_it(
    db: Database, log: Sequencer, *, post_quantum: bool
) -> None:
    witness = StrictWitness(log.verifier, post_quantum=post_quantum)
    with serving(witness) as server:
        time = IndependentTime(db, lambda: 0, [cosignatures(server, witness)])
        assert [word.size for word in time.run_once(0)] == [5]
        for round_ in range(1, 6):
            append(db, *(f"{round_}-{number}" for number in range(round_ * 100)))
            drain(log, round_ * 100)
            (word,) = time.run_once(round_ * 100)
            assert word.at == witness.time
    assert set(witness.answers) == {"200 OK"}
    note = published(db)
    checkpoint = open_checkpoint(note, log.verifier)
    assert checkpoint == witness.cosigned
    signatures = verify_note(parse_note(note), [log.verifier, witness.key])
    assert [line.name for line in signatures] == [log.origin, witness.name]


def test_a_witness_that_knows_more_than_we_remember_is_asked_again_with_its_size(
    db: Database, log: Sequencer
) -> None:
    witness = StrictWitness(log.verifier)
    with serving(witness) as server:
        IndependentTime(db, lambda: 0, [cosignatures(server, witness)]).run_once(0)
        # As after a restore of the table, or beside another process that was faster.
        with db.transaction() as tx:
            tx.execute(checkpoint_times.TIME.delete())
        append(db, *(f"more-{number}" for number in range(300)))
        drain(log, 100)
        time = IndependentTime(db, lambda: 0, [cosignatures(server, witness)])
        assert [word.size for word in time.run_once(0)] == [305]
        with db.transaction() as tx:
            tx.execute(checkpoint_times.TIME.delete())
        time = IndependentTime(db, lambda: 0, [cosignatures(server, witness)])
        assert [word.size for word in time.run_once(0)] == [305]
    assert witness.answers == ["200 OK", "409 Conflict", "200 OK", "409 Conflict", "200 OK"]


def test_a_log_that_is_smaller_or_other_than_what_was_cosigned_is_not_cosigned(
    db: Database, log: Sequencer, tmp_path: Path
) -> None:
    witness = StrictWitness(log.verifier)
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    migrate(other)
    with serving(witness) as server:
        ask = cosignatures(server, witness)
        append(db, "six")
        drain(log, 100)
        IndependentTime(db, lambda: 0, [ask]).run_once(0)
        forked = sequencer(other, tmp_path / "other")
        append(other, *range(3))
        drain(forked)
        with pytest.raises(WitnessRefused, match="older database"):
            ask.ask(other, _latest(other))
        append(other, "a", "b", "c")
        drain(forked, 100)
        with pytest.raises(WitnessRefused, match="does not accept"):
            ask.ask(other, _latest(other))
        append(other, "d")
        drain(forked, 200)
        with pytest.raises(FetchFailed, match="422"):
            ask.ask(other, _latest(other))
    assert witness.cosigned == open_checkpoint(published(db), log.verifier)
    other.close()


def _latest(db: Database) -> log_tree.StoredCheckpoint:
    with db.reading() as tx:
        latest = log_tree.latest_checkpoint(tx)
    assert latest is not None
    return latest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"ok\n",
        b"42\n",
        "— witness.example/w1 AAAA\n".encode(),
        b"\xff\xfe\n",
        b"another text\n\n",
        "— stranger.example AAAAB3h4eHg=\n".encode(),
    ],
)
def test_an_answer_without_its_cosignature_is_refused(
    db: Database, log: Sequencer, body: bytes
) -> None:
    witness = StrictWitness(log.verifier)
    with serving(answering(body, media_type="text/plain")) as server:
        with pytest.raises(WitnessRefused):
            cosignatures(server, witness).ask(db, _latest(db))
        assert IndependentTime(db, lambda: 0, [cosignatures(server, witness)]).run_once(0) == []
    assert words(db) == 0


def test_a_cosignature_of_another_checkpoint_is_refused(db: Database, log: Sequencer) -> None:
    witness = StrictWitness(log.verifier)
    with serving(witness) as server:
        first = cosignatures(server, witness).ask(db, _latest(db))
    append(db, "later")
    drain(log, 100)
    behaviour = answering(first.token, media_type="text/plain")
    with serving(behaviour) as server, pytest.raises(WitnessRefused):
        cosignatures(server, witness).ask(db, _latest(db))


@pytest.mark.parametrize("body", [b"", b"5", b"05\n", b"-1\n", b"5\n\n", b"9" * 19 + b"\n"])
def test_a_size_is_a_decimal_and_a_newline(body: bytes) -> None:
    with pytest.raises(WitnessRefused):
        known_size(body)
