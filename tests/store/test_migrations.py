"""The migrations make exactly the tables that the code describes, and protect the log."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from broker.settings import SettingsError
from broker.store.db import Database
from broker.store.migrate import differences, is_current, migrate
from tests.postgres import Server

FIRST_SUPPORTED = "0002"

ENTRY = (
    "INSERT INTO audit_entry (log_index, id, tenant_id, type, leaf_data, sealed_body, created_at) "
    "VALUES (0, 'e-1', 't', 'x', :data, :data, 1)"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'broker.db'}"
    else:
        address: str = request.getfixturevalue("empty_postgres_database")
        url = address.replace("postgresql://", "postgresql+psycopg://")
    db = Database(url)
    migrate(db)
    yield db
    db.close()


def test_the_migrated_schema_is_the_tables(migrated: Database) -> None:
    with migrated.reading() as tx:
        assert differences(tx) == []


def test_a_migrated_database_is_current_and_migrating_again_changes_nothing(
    migrated: Database,
) -> None:
    assert is_current(migrated)
    migrate(migrated)
    assert is_current(migrated)


@pytest.mark.parametrize("change", ["UPDATE audit_entry SET type = 'y'", "DELETE FROM audit_entry"])
def test_the_database_refuses_to_change_the_log(migrated: Database, change: str) -> None:
    with migrated.transaction() as tx:
        tx.execute(text(ENTRY), {"data": b"\x00" * 32})
    with pytest.raises(SQLAlchemyError, match="append-only"), migrated.transaction() as tx:
        tx.execute(text(change))
    with migrated.reading() as tx:
        assert tx.execute(text("SELECT type FROM audit_entry")).scalar_one() == "x"


def make_newer(db: Database, *, oldest: str) -> None:
    """As a later version's migration leaves the database."""
    with db.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        tx.execute(text("UPDATE schema_support SET oldest = :oldest"), {"oldest": oldest})


def test_an_older_broker_serves_on_a_newer_schema_that_supports_it(migrated: Database) -> None:
    make_newer(migrated, oldest=FIRST_SUPPORTED)
    migrate(migrated)
    assert is_current(migrated)
    with migrated.reading() as tx:
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"


def test_an_older_broker_refuses_a_schema_that_has_left_it_behind(migrated: Database) -> None:
    make_newer(migrated, oldest="9999")
    assert not is_current(migrated)
    with pytest.raises(SettingsError, match="schema 9999"):
        migrate(migrated)


def test_a_role_that_may_not_change_tables_is_told_who_has_to(
    postgres_server: Server, empty_postgres_database: str
) -> None:
    role = f"serving_{uuid.uuid4().hex}"
    postgres_server.execute(f'CREATE ROLE "{role}" LOGIN')
    name = str(conninfo_to_dict(empty_postgres_database)["dbname"])
    address = postgres_server.url(name, role)
    db = Database(address.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with pytest.raises(SettingsError, match="run `consent-broker migrate` as their owner"):
            migrate(db)
    finally:
        db.close()
        postgres_server.drop(name)
        postgres_server.execute(f'DROP ROLE "{role}"')


def test_sweeps_find_what_is_due_by_their_own_indexes(empty_postgres_database: str) -> None:
    db = Database(empty_postgres_database.replace("postgresql://", "postgresql+psycopg://"))
    migrate(db)
    with db.transaction() as tx:
        # Whatever the size: a plan without the index is out of the question.
        tx.execute(text("SET LOCAL enable_seqscan = off"))
        for table, state, end, index in (
            ("consent", "granted", "valid_until", "ix_consent_expiry"),
            ("consent_request", "open", "expires_at", "ix_consent_request_open"),
        ):
            plan = tx.execute(
                text(f"EXPLAIN SELECT * FROM {table} WHERE state = '{state}' AND {end} <= 1")
            )
            assert index in "".join(plan.scalars())
    db.close()
