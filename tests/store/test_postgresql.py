"""A transaction on PostgreSQL begins by the statement that says whether its connection lives."""

from collections.abc import Iterator
from contextvars import Context
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError

from broker.store.acting import NobodyActing, acting_for, acting_for_all
from broker.store.db import Database

WHOM = text("SELECT current_setting('broker.tenant')")
PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def db(postgres_database: str) -> Iterator[Database]:
    """Of one connection, which has been used already."""
    url = postgres_database.replace("postgresql://", "postgresql+psycopg://")
    made = Database(url, pool_size=1)
    with acting_for_all(), made.reading() as tx:
        assert tx.execute(WHOM).scalar_one() == "*"
    yield made
    made.close()


def test_no_round_trip_is_for_the_ping_alone(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def watched(cursor: Any, query: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        sent.append(str(query))
        return execute(cursor, query, *given, **named)

    monkeypatch.setattr(psycopg.Cursor, "execute", watched)
    for block in (db.reading, db.transaction):
        sent.clear()
        with acting_for("demo"), block() as tx:
            assert tx.execute(WHOM).scalar_one() == "demo"
        assert [query.split(" ", 1)[0] for query in sent] == ["BEGIN", "SELECT"]


def test_a_connection_that_died_is_replaced_before_anything_is_done(db: Database) -> None:
    with acting_for_all():
        with db.reading() as tx:
            before = tx.execute(PID).scalar_one()
        other = Database(db.url, pool_size=1)
        with other.transaction() as tx:
            tx.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": before})
        other.close()
        with db.transaction() as tx:
            assert tx.execute(PID).scalar_one() != before
            assert tx.execute(WHOM).scalar_one() == "*"


def test_one_that_reads_writes_nothing_and_the_next_may(db: Database) -> None:
    with acting_for_all():
        for _ in range(2):
            with pytest.raises(InternalError), db.reading() as tx:
                tx.execute(text("CREATE TABLE mine (x int)"))
        with db.transaction() as tx:
            tx.execute(text("CREATE TABLE mine (x int)"))


def test_a_connection_taken_for_one_tenant_begins_for_whom_it_begins(db: Database) -> None:
    with acting_for("one"):
        connection = db.engine.connect()
    with acting_for("other"), connection, connection.begin():
        assert connection.execute(WHOM).scalar_one() == "other"
    # Taken and given back unused: nothing of it is left for the next.
    with acting_for("one"), db.engine.connect():
        pass
    with acting_for("one"), db.transaction() as tx:
        assert tx.execute(WHOM).scalar_one() == "one"
        tx.execute(text("CREATE TABLE kept (x int)"))
    with acting_for("one"), db.reading() as tx:
        assert tx.execute(text("SELECT count(*) FROM kept")).scalar_one() == 0


def test_a_connection_that_is_taken_for_nobody_is_sound_still(db: Database) -> None:
    with acting_for_all(), db.reading() as tx:
        before = tx.execute(PID).scalar_one()

    def for_nobody() -> None:
        with db.engine.connect() as connection, pytest.raises(NobodyActing):
            connection.execute(PID)

    Context().run(for_nobody)
    with acting_for("one"), db.transaction() as tx:
        assert tx.execute(PID).scalar_one() == before
        assert tx.execute(WHOM).scalar_one() == "one"
