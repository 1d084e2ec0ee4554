"""Writes from event loops: durable when they return, each undone alone, nobody kept waiting."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError

from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.group_commit import _next_group, _Write

CREATE = text("CREATE TABLE item (name VARCHAR(40) PRIMARY KEY)")


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'items.db'}"
    if request.param == "postgresql":
        address: str = request.getfixturevalue("postgres_database")
        url = address.replace("postgresql://", "postgresql+psycopg://")
    database = Database(url)
    with database.transaction() as tx:
        tx.execute(CREATE)
    yield database
    database.close()


@pytest.fixture
def sqlite_db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'items.db'}")
    with database.transaction() as tx:
        tx.execute(CREATE)
    yield database
    database.close()


def add(tx: Connection, name: str) -> str:
    tx.execute(text("INSERT INTO item VALUES (:name)"), {"name": name})
    return name


def adding(name: str) -> Callable[[Connection], str]:
    """The work of adding a name."""
    return lambda tx: add(tx, name)


def names(db: Database) -> list[str]:
    with db.reading() as tx:
        return list(tx.execute(text("SELECT name FROM item ORDER BY name")).scalars())


def elsewhere(db: Database) -> list[str]:
    """What a process of its own would see."""
    with sqlite3.connect(db.url.removeprefix("sqlite:///")) as connection:
        found = [str(row[0]) for row in connection.execute("SELECT name FROM item ORDER BY name")]
    connection.close()
    return found


def test_many_writes_at_once_all_arrive(db: Database) -> None:
    async def everybody() -> list[str]:
        return await asyncio.gather(*[db.write(adding(f"{number:03}")) for number in range(200)])

    assert asyncio.run(everybody()) == [f"{number:03}" for number in range(200)]
    assert len(names(db)) == 200


def test_a_write_is_committed_when_it_returns(sqlite_db: Database) -> None:
    async def one_after_another() -> None:
        for number in range(20):
            await sqlite_db.write(adding(f"{number:03}"))
            assert len(elsewhere(sqlite_db)) == number + 1

    asyncio.run(one_after_another())


def test_one_callers_error_undoes_only_its_own(db: Database) -> None:
    def fail(tx: Connection) -> str:
        add(tx, "half")
        raise LookupError("on purpose")

    def clash(tx: Connection) -> str:
        add(tx, "c-mine")
        return add(tx, "a")

    async def everybody() -> tuple[object, ...]:
        return await asyncio.gather(
            db.write(adding("a")),
            db.write(fail),
            db.write(adding("b")),
            db.write(clash),
            db.write(adding("d")),
            return_exceptions=True,
        )

    outcomes = asyncio.run(everybody())
    assert [outcomes[place] for place in (2, 4)] == ["b", "d"]
    assert isinstance(outcomes[1], LookupError)
    # Of the two that want "a" one gets it; on PostgreSQL that may be the other.
    assert {type(outcomes[0]), type(outcomes[3])} == {str, IntegrityError}
    assert "half" not in names(db)
    assert ("c-mine" in names(db)) is (outcomes[3] == "a")


def test_a_savepoint_inside_a_write_is_its_own(db: Database) -> None:
    def tries(tx: Connection) -> str:
        add(tx, "kept")
        try:
            with tx.begin_nested():
                add(tx, "kept")
        except IntegrityError:
            return "undone"
        return "doubled"

    assert asyncio.run(db.write(tries)) == "undone"
    assert names(db) == ["kept"]


def test_writes_of_threads_and_event_loops_take_turns(sqlite_db: Database) -> None:
    """A loop that writes all the time keeps no thread waiting for long."""
    waits = []
    stop = threading.Event()

    @acting_for_all()
    def in_thread() -> None:
        for number in range(30):
            began = time.perf_counter()
            with sqlite_db.transaction() as tx:
                add(tx, f"thread-{number:03}")
            waits.append(time.perf_counter() - began)
        stop.set()

    async def in_loop() -> int:
        count = 0

        async def writer(who: int) -> None:
            nonlocal count
            while not stop.is_set():
                count += 1
                await sqlite_db.write(adding(f"loop-{who}-{count:06}"))

        await asyncio.gather(*[writer(who) for who in range(8)])
        return count

    thread = threading.Thread(target=in_thread)
    thread.start()
    written = asyncio.run(in_loop())
    thread.join()
    assert len(names(sqlite_db)) == written + 30


def test_several_event_loops_write_side_by_side(sqlite_db: Database) -> None:
    @acting_for_all()
    def worker(who: int) -> None:
        async def writes() -> None:
            await asyncio.gather(*[sqlite_db.write(adding(f"{who}-{n:03}")) for n in range(50)])

        asyncio.run(writes())

    threads = [threading.Thread(target=worker, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(sqlite_db)) == 200


def test_another_process_that_writes_is_waited_for(sqlite_db: Database) -> None:
    other = sqlite3.connect(sqlite_db.url.removeprefix("sqlite:///"), check_same_thread=False)
    other.isolation_level = None
    other.execute("BEGIN IMMEDIATE")
    turns = []

    async def meanwhile() -> str:
        write = asyncio.ensure_future(sqlite_db.write(adding("ours")))
        for _ in range(5):  # the loop goes on while the write waits
            await asyncio.sleep(0.01)
            turns.append(write.done())
        other.execute("INSERT INTO item VALUES ('theirs')")
        other.execute("COMMIT")
        return await write

    assert asyncio.run(meanwhile()) == "ours"
    assert turns == [False] * 5
    other.close()
    assert names(sqlite_db) == ["ours", "theirs"]


def test_a_failed_commit_fails_every_write_and_the_next_goes_on(sqlite_db: Database) -> None:
    """Deferred foreign keys fail at the commit itself."""
    with sqlite_db.transaction() as tx:
        tx.exec_driver_sql(
            "CREATE TABLE part (of VARCHAR REFERENCES item (name) DEFERRABLE INITIALLY DEFERRED)"
        )

    def orphan(tx: Connection) -> None:
        tx.exec_driver_sql("INSERT INTO part VALUES ('nobody')")

    async def everybody() -> tuple[object, ...]:
        return await asyncio.gather(
            sqlite_db.write(adding("a")),
            sqlite_db.write(orphan),
            return_exceptions=True,
        )

    outcomes = asyncio.run(everybody())
    assert all(isinstance(outcome, IntegrityError) for outcome in outcomes)
    assert names(sqlite_db) == []
    assert asyncio.run(sqlite_db.write(adding("b"))) == "b"


def test_a_transaction_inside_a_write_is_refused_instead_of_waiting_for_ever(
    sqlite_db: Database,
) -> None:
    def nested(_tx: Connection) -> None:
        with sqlite_db.transaction() as inner:
            add(inner, "never")

    with pytest.raises(RuntimeError, match="for ever"):
        asyncio.run(sqlite_db.write(nested))
    assert asyncio.run(sqlite_db.write(adding("next"))) == "next"


def test_a_caller_who_goes_away_keeps_nobody_else_from_writing(sqlite_db: Database) -> None:
    async def impatient() -> list[str]:
        tasks = [asyncio.ensure_future(sqlite_db.write(adding(f"{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return [await tasks[0], await tasks[2]]

    assert asyncio.run(impatient()) == ["0", "2"]
    assert asyncio.run(sqlite_db.write(adding("after"))) == "after"


def test_an_event_loop_that_ends_while_waiting_gives_its_turn_away(sqlite_db: Database) -> None:
    holding, release = threading.Event(), threading.Event()

    @acting_for_all()
    def hold() -> None:
        with sqlite_db.transaction() as tx:
            add(tx, "held")
            holding.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()

    async def leaves() -> None:
        write = asyncio.ensure_future(sqlite_db.write(adding("left")))
        await asyncio.sleep(0.02)
        write.cancel()

    asyncio.run(leaves())
    release.set()
    thread.join()
    assert asyncio.run(sqlite_db.write(adding("next"))) == "next"
    assert "left" not in names(sqlite_db)


def test_reads_of_the_event_loop_cannot_write_and_see_one_moment(sqlite_db: Database) -> None:
    def count(tx: Connection) -> tuple[int, int]:
        first = tx.execute(text("SELECT count(*) FROM item")).scalar_one()
        with sqlite_db.transaction() as other:
            add(other, "meanwhile")
        return first, tx.execute(text("SELECT count(*) FROM item")).scalar_one()

    assert asyncio.run(sqlite_db.read(count)) == (0, 0)
    with pytest.raises(OperationalError):
        asyncio.run(sqlite_db.read(adding("never")))
    assert asyncio.run(sqlite_db.read(count_all)) == 1


def count_all(tx: Connection) -> int:
    found: int = tx.execute(text("SELECT count(*) FROM item")).scalar_one()
    return found


def test_large_writes_share_a_commit_up_to_its_size() -> None:
    async def sizes(given: list[int]) -> list[list[int]]:
        loop = asyncio.get_running_loop()
        waiting = [_Write(lambda _: None, loop.create_future(), size) for size in given]
        groups = []
        while waiting:
            groups.append([one.size for one in _next_group(waiting)])
        return groups

    assert asyncio.run(sizes([50, 50, 10, 4, 1])) == [[50], [50, 10, 4], [1]]
    assert asyncio.run(sizes([100, 1])) == [[100], [1]]
    assert asyncio.run(sizes([1] * 9)) == [[1] * 8, [1]]
