"""The migrations make exactly the tables that the code describes, and protect the log."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from broker.store.db import Database
from broker.store.migrate import differences, is_current, migrate

ENTRY = (
    "INSERT INTO audit_entry (log_index, id, tenant_id, type, leaf_data, sealed_body, created_at) "
    "VALUES (0, 'e-1', 't', 'x', :data, :data, 1)"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'broker.db'}"
    else:
        address: str = request.getfixturevalue("postgres_database")
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
