"""The sequencer: one tree whatever fails, nothing lost, nothing forked, no way back unnoticed."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from broker.domain.errors import LogConflict, LogRolledBack, StateConflict
from broker.domain.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from broker.settings import Settings
from broker.store import append_only, audit, log_tree
from broker.store.acting import acting_for
from broker.store.db import Database
from broker.store.head_file import FILE_NAME, HeadFile
from broker.store.migrate import migrate
from broker.usecases.sequencer import LARGEST_BATCH, Sequencer
from credentials.keys import SoftwareKey
from tests.broker.log_fixtures import (
    LOG_KEY,
    SIGNING_KEY,
    FailingDatabase,
    FailingHeadFile,
    FailingKey,
    append,
    check_whole_log,
    checkpoints,
    count_pending,
    drain,
    entries,
    sequencer,
    table_refuses,
)

Opener = Callable[[], FailingDatabase]


@pytest.fixture(params=["sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open the same fresh database again and again, as processes do."""
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    address = Settings(home=tmp_path, database_url=url).sqlalchemy_url
    opened: list[FailingDatabase] = []

    def open_database() -> FailingDatabase:
        opened.append(FailingDatabase(address))
        return opened[-1]

    migrate(open_database())
    yield open_database
    for db in opened:
        db.close()


@pytest.fixture
def db(opener: Opener) -> FailingDatabase:
    return opener()


def test_entries_get_indexes_in_order_and_a_signed_tree(db: Database, tmp_path: Path) -> None:
    log = sequencer(db, tmp_path)
    append(db, *range(700))
    first = log.run_once(10)
    assert first is not None
    assert (first.added, first.size) == (LARGEST_BATCH, LARGEST_BATCH)
    drain(log, 11)
    check_whole_log(db, log, range(700))
    with db.reading() as tx:
        entry = audit.entry(tx, "e-699")
        assert entry is not None
        assert entry.index == 699
        assert LOG_KEY.open(entry.sealed).body == {"name": "699"}
    assert [checkpoint.size for checkpoint in checkpoints(db, log)] == [LARGEST_BATCH, 700]
    assert log.run_once(20) is None


def test_proofs_from_the_database_verify_at_every_size(db: Database, tmp_path: Path) -> None:
    log = sequencer(db, tmp_path)
    append(db, *range(530))
    drain(log)
    leaves = [leaf_hash(entry.leaf_data) for entry in entries(*range(530))]
    with db.reading() as tx:
        roots = {}
        for size in (1, 255, 256, 257, 512, 513, 530):
            tree = log_tree.TileReader(tx, size)
            roots[size] = log_tree.right_edge(tx, size).frontier().root()
            for index in {0, size // 2, size - 1}:
                proof = inclusion_proof(index, size, tree)
                verify_inclusion(leaves[index], index, size, proof, roots[size])
        for old, old_root in roots.items():
            proof = consistency_proof(old, 530, log_tree.TileReader(tx, 530))
            verify_consistency(old, 530, old_root, roots[530], proof)


def test_at_most_one_checkpoint_a_second_each_extending_the_last(
    db: Database, tmp_path: Path
) -> None:
    log = sequencer(db, tmp_path)
    notes = []
    for number, now in enumerate([5, 5, 5, 6, 6, 9]):
        append(db, number)
        done = log.run_once(now)
        assert done is not None
        notes.append(done.note)
    assert [note is not None for note in notes] == [True, False, False, True, False, True]
    assert [checkpoint.size for checkpoint in checkpoints(db, log)] == [1, 4, 6]
    check_whole_log(db, log, range(6))


FAULTS = ["make head", "index", "publish", "sign", "file"]


@pytest.mark.parametrize("restarted", [False, True], ids=["goes on", "restarted"])
@pytest.mark.parametrize("outcome", ["failed", "persisted"])
@pytest.mark.parametrize("step", FAULTS)
def test_a_failure_after_each_step_loses_and_doubles_nothing(
    opener: Opener, tmp_path: Path, step: str, outcome: str, restarted: bool
) -> None:
    db, key = opener(), FailingKey(SIGNING_KEY)
    file = FailingHeadFile(tmp_path / FILE_NAME)
    log = sequencer(db, tmp_path, key, file)
    if step != "make head":
        append(db, *range(300))
        drain(log)
    append(db, *range(300, 600))
    writes = {"make head": 1, "index": 1, "publish": 2}
    db.arm(writes.get(step, 0), persists=outcome == "persisted")
    key.fails = step == "sign"
    file.fails = outcome if step == "file" else None
    with pytest.raises((DBAPIError, OSError)):
        log.run_once(100)
    db.arm(0, persists=False)
    key.fails, file.fails = False, None
    if restarted:
        db = opener()
        log = sequencer(db, tmp_path)
    drain(log, 101)
    check_whole_log(db, log, range(300, 600) if step == "make head" else range(600))
    published = checkpoints(db, log)[-1]
    assert HeadFile(tmp_path / FILE_NAME).read() is not None
    assert published.size == (300 if step == "make head" else 600)
    assert log.permits(110)


def test_two_sequencers_at_once_make_one_tree(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the lock, which is only an optimisation, all safety is in the compare-and-swap.
    monkeypatch.setattr(log_tree, "try_sequencer_lock", lambda _tx: True)
    logs = [sequencer(opener(), tmp_path / str(number)) for number in range(3)]
    writers = [opener() for _ in range(2)]
    stop = threading.Event()
    failures: list[BaseException] = []
    threads = [threading.Thread(target=sequence_until, args=(stop, log, failures)) for log in logs]
    appending = [
        threading.Thread(target=append_each, args=(db, range(number * 400, number * 400 + 400)))
        for number, db in enumerate(writers)
    ]
    for thread in [*threads, *appending]:
        thread.start()
    for thread in appending:
        thread.join()
    while count_pending(writers[0]) and not failures:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    drain(logs[0], 1_000_000_000)
    check_whole_log(writers[0], logs[0], range(800))


def sequence_until(stop: threading.Event, log: Sequencer, failures: list[BaseException]) -> None:
    now = 0
    while not stop.is_set():
        now += 1
        try:
            log.run_once(now)
        except LogConflict:
            continue
        except Exception as error:  # noqa: BLE001 (told to the test)
            failures.append(error)
            return


@acting_for("demo")
def append_each(db: Database, names: range) -> None:
    for name in names:
        append(db, name)


def test_a_sequencer_that_lost_the_race_writes_nothing(db: Database, tmp_path: Path) -> None:
    log = sequencer(db, tmp_path)
    append(db, "a", "b")
    log.run_once(0)
    append(db, "c")
    with db.reading() as tx:
        stale = log_tree.Head(log.origin)
        waiting = audit.pending(tx, 10, 0)
        edge, filled = log_tree.right_edge(tx, 0).extend([leaf_hash(waiting[0].leaf_data)])
    with pytest.raises(LogConflict), db.transaction() as tx:
        log_tree.advance(tx, stale, edge, waiting, filled)
    drain(log, 1)
    check_whole_log(db, log, ["a", "b", "c"])


def test_an_entry_that_is_taken_twice_stops_the_advance(db: Database, tmp_path: Path) -> None:
    log = sequencer(db, tmp_path)
    append(db, "a")
    with db.reading() as tx:
        waiting = audit.pending(tx, 10, 0)
    log.run_once(0)
    with db.reading() as tx:
        head = log_tree.head(tx)
        assert head is not None
        edge, filled = log_tree.right_edge(tx, 1).extend([leaf_hash(waiting[0].leaf_data)])
    with pytest.raises(LogConflict), db.transaction() as tx:
        log_tree.advance(tx, head, edge, waiting, filled)
    check_whole_log(db, log, ["a"])


def test_a_late_commit_is_not_lost(opener: Opener, tmp_path: Path) -> None:
    db = opener()
    if db.is_sqlite:
        # One writer: a transaction that began first also commits first. Nothing can be late.
        append(db, "late")
        append(db, "early")
        log = sequencer(db, tmp_path)
    else:
        log = sequencer(db, tmp_path)
        other = opener()
        with other.transaction() as late:
            audit.append(late, *entries("late"))
            append(db, "early")
            done = log.run_once(0)
            assert done is not None
            assert done.added == 1
    drain(log, 1)
    check_whole_log(db, log, ["late", "early"])


def test_an_act_that_is_rolled_back_leaves_no_entry(db: Database, tmp_path: Path) -> None:
    def refused_act() -> None:
        with db.transaction() as tx:
            audit.append(tx, *entries("never"))
            raise StateConflict("the consent is withdrawn")

    with pytest.raises(StateConflict):
        refused_act()
    append(db, "done")
    log = sequencer(db, tmp_path)
    drain(log)
    check_whole_log(db, log, ["done"])


def test_the_log_permits_only_while_it_keeps_up(db: Database, tmp_path: Path) -> None:
    key = FailingKey(SIGNING_KEY)
    log = sequencer(db, tmp_path, key)
    assert not log.permits(0)
    append(db, "a", time=0)
    log.run_once(0)
    assert log.permits(60)
    assert not log.permits(61)
    append(db, "b", time=100)
    log.run_once(100)
    key.fails = True
    append(db, "c", time=101)
    for now in range(101, 170, 10):
        with pytest.raises(OSError, match="key device"):
            log.run_once(now)
    assert log.permits(160)
    assert not log.permits(161)
    key.fails = False
    log.run_once(200)
    assert log.permits(200)


@pytest.mark.parametrize("table", ["audit_entry", "checkpoint"])
def test_a_table_that_takes_no_rows_is_no_success(db: Database, tmp_path: Path, table: str) -> None:
    log = sequencer(db, tmp_path)
    append(db, "a", time=100)
    log.run_once(100)
    append(db, "b", time=101)
    with table_refuses(db, table):
        for now in (102, 130, 161):
            with pytest.raises(DBAPIError):
                log.run_once(now)
        assert not log.permits(161)
    drain(log, 162)
    assert log.permits(162)
    check_whole_log(db, log, "ab")


def test_a_backlog_older_than_a_minute_permits_nothing(db: Database, tmp_path: Path) -> None:
    log = sequencer(db, tmp_path)
    append(db, *range(LARGEST_BATCH + 1), time=0)
    log.run_once(61)
    assert not log.permits(61)
    assert log.lag(61) == 61
    log.run_once(62)
    assert log.permits(62)


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[tuple[Sequencer, Database]]:
    """A log of 20 whose database was put back to when it had 10."""
    path, backup = tmp_path / "broker.db", tmp_path / "backup.db"
    db = Database(f"sqlite:///{path}")
    migrate(db)
    append(db, *range(10))
    drain(sequencer(db, tmp_path))
    db.close()
    shutil.copy(path, backup)
    db = Database(f"sqlite:///{path}")
    append(db, *range(10, 20))
    drain(sequencer(db, tmp_path), 100)
    db.close()
    shutil.copy(backup, path)
    db = Database(f"sqlite:///{path}")
    yield sequencer(db, tmp_path, clock=lambda: 200), db
    db.close()


def test_a_restored_database_is_noticed_and_nothing_is_signed(
    restored: tuple[Sequencer, Database],
) -> None:
    log, db = restored
    append(db, *range(50))
    before = checkpoints(db, log)
    for _ in range(2):
        with pytest.raises(LogRolledBack):
            log.run_once(200)
    assert not log.permits(200)
    assert checkpoints(db, log) == before
    assert count_pending(db) == 50


def test_a_broker_starts_over_a_restored_database_and_permits_nothing(
    restored: tuple[Sequencer, Database],
) -> None:
    log, _db = restored
    log.start()
    log.stop()
    assert log.rolled_back is not None
    assert not log.permits(200)


@pytest.mark.parametrize("grown", [10, 30], ids=["to the signed size", "past it"])
def test_a_restore_that_grew_is_noticed(
    restored: tuple[Sequencer, Database], tmp_path: Path, grown: int
) -> None:
    log, db = restored
    append(db, *range(100, 100 + grown))
    # A sequencer that does not have the head file, as on another machine.
    elsewhere = tmp_path / "elsewhere"
    stranger = sequencer(db, elsewhere)
    stranger.adopt()
    drain(stranger, 300)
    with pytest.raises(LogRolledBack):
        log.run_once(400)
    assert not log.permits(400)


def test_a_database_that_is_put_back_while_the_broker_runs_is_noticed(
    opener: Opener, tmp_path: Path
) -> None:
    db = opener()
    log = sequencer(db, tmp_path)
    append(db, *range(10))
    drain(log)
    with db.transaction() as tx:
        for statement in append_only.drop(tx.dialect.name):
            tx.exec_driver_sql(statement)
        tx.execute(log_tree.HEAD.delete())
        tx.execute(log_tree.CHECKPOINT.delete())
        tx.execute(audit.ENTRY.delete())
    append(db, "new")
    with pytest.raises(LogRolledBack):
        log.run_once(100)
    assert not log.permits(100)


def test_a_changed_entry_below_the_head_is_noticed_before_signing(
    opener: Opener, tmp_path: Path
) -> None:
    db = opener()
    append(db, *range(10))
    drain(sequencer(db, tmp_path))
    with db.transaction() as tx:
        for statement in append_only.drop(tx.dialect.name):
            tx.exec_driver_sql(statement)
        changed = audit.ENTRY.update().where(audit.ENTRY.c.log_index == 3)
        tx.execute(changed.values(leaf_data=bytes(32)))
    log = sequencer(db, tmp_path)
    append(db, "new")
    with pytest.raises(LogRolledBack):
        log.run_once(100)
    assert len(checkpoints(db, log)) == 1


@pytest.mark.parametrize("damage", ["missing", "binary", "forged", "other key"])
def test_a_head_file_that_is_not_ours_permits_nothing(
    db: Database, tmp_path: Path, damage: str
) -> None:
    append(db, *range(10))
    drain(sequencer(db, tmp_path))
    path = tmp_path / FILE_NAME
    key = SIGNING_KEY
    if damage == "missing":
        path.unlink()
    elif damage == "binary":
        path.write_bytes(b"\xff\xfe")
    elif damage == "forged":
        path.write_text(path.read_text().replace("\n10\n", "\n9\n"))
    else:
        key = SoftwareKey.generate("Ed25519")
    log = sequencer(db, tmp_path, key)
    with pytest.raises(LogRolledBack):
        log.run_once(100)
    assert not log.permits(100)


def test_a_new_machine_adopts_the_head_once_told(db: Database, tmp_path: Path) -> None:
    append(db, *range(10))
    drain(sequencer(db, tmp_path / "old"))
    log = sequencer(db, tmp_path / "new")
    with pytest.raises(LogRolledBack):
        log.run_once(100)
    log.adopt()
    append(db, "more")
    drain(log, 101)
    assert log.permits(101)
    check_whole_log(db, log, [*range(10), "more"])
    with pytest.raises(LogRolledBack):
        log.adopt()


def test_the_origin_stays_when_the_public_address_changes(db: Database, tmp_path: Path) -> None:
    append(db, "a")
    log = sequencer(db, tmp_path)
    drain(log)
    assert log.origin == "log.example/broker/log"
    moved = Sequencer(
        db,
        SIGNING_KEY,
        Settings(home=tmp_path, public_url="https://elsewhere.example"),
        lambda: 0,
    )
    append(db, "b")
    drain(moved, 10)
    assert moved.origin == "log.example/broker/log"
    check_whole_log(db, moved, ["a", "b"])


def test_the_thread_indexes_and_signs_by_itself(db: Database, tmp_path: Path) -> None:
    log = sequencer(db, tmp_path, clock=lambda: int(time.time()))
    log.start()
    try:
        append(db, *range(600), time=int(time.time()))
        log.wake()
        while count_pending(db) or not checkpoints(db, log):
            time.sleep(0.01)
        assert log.permits(int(time.time()))
    finally:
        log.stop()
    drain(sequencer(db, tmp_path), 2_000_000_000)
    check_whole_log(db, log, range(600))


CHANGES = [
    *(f"DELETE FROM {table}" for table in (*append_only.APPEND_ONLY, "log_head")),
    "UPDATE audit_entry SET type = 'nothing'",
    "UPDATE audit_entry SET leaf_data = leaf_data WHERE log_index = 0",
    "UPDATE log_tile SET hashes = nodes",
    "UPDATE checkpoint SET note = ''",
    "UPDATE log_head SET size = size - 1",
    "UPDATE log_head SET root = root",
    "UPDATE log_head SET origin = 'elsewhere'",
]
REST = (
    "tenant_id, type, consent_id, subject_id, leaf_data, sealed_body, created_at "
    "FROM audit_entry WHERE log_index = 0"
)
REPLACEMENTS = [
    "INSERT OR REPLACE INTO audit_entry SELECT * FROM audit_entry WHERE log_index = 0",
    f"INSERT OR REPLACE INTO audit_entry SELECT log_index + 300, id, {REST}",
    f"INSERT INTO audit_entry SELECT log_index + 301, id || 'x', {REST}",
    "INSERT OR REPLACE INTO log_tile SELECT * FROM log_tile",
    "REPLACE INTO checkpoint SELECT size, frontier, '', signed_at FROM checkpoint",
    "REPLACE INTO log_head SELECT id, origin, 0, root FROM log_head",
    "INSERT INTO log_head SELECT 2, origin, 0, root FROM log_head",
]


def test_the_database_refuses_every_change_of_the_log(db: Database, tmp_path: Path) -> None:
    log = sequencer(db, tmp_path)
    append(db, *range(300))
    drain(log)
    truncations = [f"TRUNCATE {table} CASCADE" for table in (*append_only.APPEND_ONLY, "log_head")]
    refused = [*CHANGES, *(REPLACEMENTS if db.is_sqlite else truncations)]
    for statement in refused:
        with pytest.raises(DBAPIError, match=r"append-only|only grows"), db.transaction() as tx:
            tx.exec_driver_sql(statement)
    check_whole_log(db, log, range(300))
