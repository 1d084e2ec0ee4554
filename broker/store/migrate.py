"""Bring a database to the newest schema, and say whether it is there."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

import migrations
from broker.store.db import Database
from broker.store.tables import metadata

_MIGRATION_LOCK = 0x6D6967  # any number that no other advisory lock of the broker uses


def migrate(db: Database) -> None:
    """Run the migrations that the database has not seen, in one transaction.

    Of several machines that start at once, one migrates while the others wait.
    """
    with db.transaction() as connection:
        if not db.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(db: Database) -> bool:
    """Whether the database stands at the newest migration."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    with db.reading() as connection:
        return MigrationContext.configure(connection).get_current_revision() == newest


def differences(connection: Connection) -> list[object]:
    """Where the code's tables and the database differ; empty when migrations are complete."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
