"""Others say when a checkpoint was there; whoever fails is asked less and less."""

import socket
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from broker.domain.note import parse_note, verify_note
from broker.domain.timestamp import timestamp_request, verify_timestamp
from broker.settings import Settings, SettingsError, WitnessAddress, read_settings
from broker.store import checkpoint_times, log_tree
from broker.store.checkpoint_times import CheckpointTime
from broker.store.db import Database
from broker.usecases.independent_time import (
    LONGEST_PAUSE,
    IndependentTime,
    sources,
)
from broker.usecases.sequencer import Sequencer
from dev.running import running_broker
from tests.broker.journeys import trust_of
from tests.broker.log_fixtures import append, drain
from tests.faults.asking import cosignatures, timestamps, words
from tests.faults.hostile import Behaviour, answering, serving
from tests.faults.strict_witness import StrictWitness
from tests.faults.timestamping import Authority

TEXT = b"log.example/broker/log\n42\nq83v\n"
BOTH = pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)


@BOTH
def test_the_newest_checkpoint_gets_a_timestamp_and_keeps_it(
    db: Database, log: Sequencer, authority: Authority
) -> None:
    with serving(authority.serve()) as server:
        time = IndependentTime(db, lambda: 0, [timestamps(server, authority)])
        (word,) = time.run_once(1_000)
        assert time.run_once(2_000) == []
        append(db, "later")
        drain(log, 2_000)
        assert time.run_once(1_010) == []  # asked at most once a minute
        (later,) = time.run_once(2_001)
    assert (word.size, later.size) == (5, 6)
    with db.reading() as tx:
        assert checkpoint_times.of_checkpoint(tx, 5, "rfc3161") == [word]
        assert checkpoint_times.first_covering(tx, 4, "rfc3161") == word
        assert checkpoint_times.first_covering(tx, 5, "rfc3161") == later
        assert checkpoint_times.first_covering(tx, 6, "rfc3161") is None
        stored = log_tree.checkpoint_covering(tx, 4)
    assert stored is not None
    text = parse_note(stored.note).text.encode()
    assert verify_timestamp(word.token, text, roots=[authority.root]).time == word.at


@BOTH
def test_another_process_does_not_ask_for_what_is_kept(
    db: Database, log: Sequencer, authority: Authority
) -> None:
    assert log.rolled_back is None
    with serving(authority.serve()) as server:
        IndependentTime(db, lambda: 0, [timestamps(server, authority)]).run_once(0)
        again = IndependentTime(db, lambda: 0, [timestamps(server, authority)])
        assert again.run_once(0) == []
        assert len(server.requests) == 1
    with db.reading() as tx:
        (kept,) = checkpoint_times.of_checkpoint(tx, 5, "rfc3161")
    with db.transaction() as tx:
        checkpoint_times.add(tx, CheckpointTime(5, "rfc3161", kept.source, b"other", 1))
    with db.reading() as tx:
        assert checkpoint_times.of_checkpoint(tx, 5, "rfc3161") == [kept]


def _answer_of_another_request(authority: Authority) -> Behaviour:
    old = authority.reply(timestamp_request(TEXT).der)
    return answering(old, media_type="application/timestamp-reply")


FAULTS: dict[str, Callable[[Authority], Behaviour]] = {
    "an error": lambda _: answering(status="500 Internal Server Error"),
    "another type": lambda a: answering(a.reply(timestamp_request(TEXT).der)),
    "an old answer": _answer_of_another_request,
    "nonsense": lambda _: answering(b"\x30\x03abc", media_type="application/timestamp-reply"),
    "nothing": lambda _: lambda _connection, _request: None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_authority_leaves_nothing_and_is_asked_less_and_less(
    db: Database, log: Sequencer, authority: Authority, fault: str
) -> None:
    assert log.rolled_back is None
    with serving(FAULTS[fault](authority)) as server:
        time = IndependentTime(db, lambda: 0, [timestamps(server, authority)])
        asked = []
        for now in range(64):
            before = len(server.requests)
            assert time.run_once(now) == []
            if len(server.requests) > before:
                asked.append(now)
    assert asked == [0, 2, 6, 14, 30, 62]
    assert words(db) == 0


def test_the_pause_has_an_end_and_success_ends_it(
    db: Database, log: Sequencer, authority: Authority
) -> None:
    assert log.rolled_back is None
    failing = [True]

    def behaviour(connection: object, request: bytes) -> None:
        serve = answering(status="503 Busy") if failing[0] else authority.serve()
        serve(connection, request)  # type: ignore[arg-type]

    with serving(behaviour) as server:
        time = IndependentTime(db, lambda: 0, [timestamps(server, authority)])
        now = 0
        for _ in range(20):
            time.run_once(now)
            now += LONGEST_PAUSE
        assert len(server.requests) == 20
        failing[0] = False
        assert len(time.run_once(now)) == 1


def test_the_thread_asks_and_stops(db: Database, log: Sequencer) -> None:
    witness = StrictWitness(log.verifier)
    with serving(witness) as server:
        time = IndependentTime(db, lambda: 0, [cosignatures(server, witness)])
        time.start()
        while not words(db):
            pass
        time.stop()
    assert witness.answers == ["200 OK"]


def test_settings_name_whom_to_ask(authority: Authority, tmp_path: Path, log: Sequencer) -> None:
    witness = StrictWitness(log.verifier)
    key = witness.verifier_key.encode()
    settings = read_settings(
        {
            "BROKER_TIMESTAMP_URL": "https://tsa.example/",
            "BROKER_TIMESTAMP_ROOTS": str(authority.root_file),
            "BROKER_WITNESSES": f"{key} https://witness.example/w, {key} https://two.example",
        }
    )
    assert settings.timestamp_roots == (authority.root,)
    assert [(source.kind, source.name) for source in sources(settings)] == [
        ("rfc3161", "tsa.example"),
        ("witness", witness.name),
        ("witness", witness.name),
    ]
    assert sources(Settings(home=tmp_path)) == []
    broken = Settings(home=tmp_path, witnesses=(WitnessAddress("no-key", "https://w.example"),))
    with pytest.raises(SettingsError, match="BROKER_WITNESSES"):
        sources(broken)


@pytest.mark.parametrize(
    "environment",
    [
        {"BROKER_TIMESTAMP_URL": "https://tsa.example/"},
        {"BROKER_TIMESTAMP_ROOTS": "roots.pem"},
        {"BROKER_TIMESTAMP_URL": "https://t.example", "BROKER_TIMESTAMP_ROOTS": "/nowhere.pem"},
        {"BROKER_WITNESSES": "key-without-address"},
        {"BROKER_PROFILE": "strict", "BROKER_PRIVATE_HOSTS": "tsa.internal"},
    ],
)
def test_incomplete_settings_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(reversed(environment))):
        read_settings(environment)


def test_a_running_broker_asks_both_and_shows_it(authority: Authority, tmp_path: Path) -> None:
    stamps = authority.serve()
    witnesses: list[StrictWitness] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        behaviour = stamps if request.startswith(b"POST /tsa ") else witnesses[0]
        behaviour(connection, request)

    home = tmp_path
    with running_broker(home) as broker:
        log_key = trust_of(broker).verifiers()[0]
    witnesses.append(StrictWitness(log_key))
    with serving(answer) as server:
        base = f"http://localhost:{server.port}"
        settings = {
            "PUBLIC_URL": broker.address,
            "PORT": broker.address.rpartition(":")[2],
            "BROKER_TIMESTAMP_URL": f"{base}/tsa",
            "BROKER_TIMESTAMP_ROOTS": str(authority.root_file),
            "BROKER_WITNESSES": f"{witnesses[0].verifier_key.encode()} {base}/w",
            "BROKER_PRIVATE_HOSTS": "localhost",
        }
        with running_broker(home, settings) as again:
            note = ""
            while witnesses[0].name not in note:
                note = httpx2.get(f"{again.address}/log/checkpoint").text
            told = trust_of(again)
    verify_note(parse_note(note), [witnesses[0].key])
    assert told.timestamps == (authority.root,)
    db = Database(f"sqlite:///{home / 'broker.db'}")
    with db.reading() as tx:
        stamp = checkpoint_times.first_covering(tx, 0, "rfc3161")
    db.close()
    assert stamp is not None
    assert stamp.source == f"localhost:{server.port}"
