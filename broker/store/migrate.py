"""Bring a database to the newest schema, and say whether this broker may serve on it.

A broker serves on its own schema, and on a newer one whose `schema_support` still names a revision
that it knows: that is how two versions run side by side during an upgrade, and how the older one
comes back after it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import ProgrammingError

import migrations
from broker.settings import SettingsError
from broker.store import tables
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.tables import metadata

SUPPORT = tables.SchemaSupport.__table__  # type: ignore[attr-defined]
_NOT_ALLOWED = "42501"  # PostgreSQL's insufficient_privilege
_log = structlog.get_logger("broker.store")
_MIGRATION_LOCK = 0x6D6967  # any number that no other advisory lock of the broker uses


def migrate(db: Database) -> None:
    """Run the migrations that the database has not seen, in one transaction.

    Of several machines that start at once, one migrates while the others wait. A database that a
    newer broker has migrated is left as it is. Raises `SettingsError` when this broker is too old
    for it, or when its role may not change tables that have to be changed.
    """
    with acting_for_all(), db.transaction() as connection:
        if not db.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config = _config()
        revision = _revision(connection)
        scripts = ScriptDirectory.from_config(config)
        if revision == scripts.get_current_head():
            return
        if not _knows(scripts, revision):
            _check_support(connection, scripts, revision)
            return
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
                raise
            message = (
                f"the database is at schema {revision or 'none'}, this broker needs "
                f"{scripts.get_current_head()}, and the role of DATABASE_URL may not change "
                "tables: run `consent-broker migrate` as their owner first"
            )
            raise SettingsError(message) from error


@dataclass(frozen=True)
class Standing:
    """How a database stands to this broker: its schema (None: no tables), ours, and what it means.

    `current` is the one in which this broker may serve: its own schema, or a newer one that
    supports it.
    """

    present: str | None
    newest: str
    level: Literal["current", "behind", "ahead"]


def standing_of(db: Database) -> Standing:
    """How the database stands; nothing is changed. Raises SQLAlchemy's errors."""
    scripts = ScriptDirectory.from_config(_config())
    newest = scripts.get_current_head() or ""
    with db.reading() as connection:
        revision = _revision(connection)
        if revision == newest:
            return Standing(revision, newest, "current")
        if _knows(scripts, revision):
            return Standing(revision, newest, "behind")
        supported = _is_supported(connection, scripts)
    return Standing(revision, newest, "current" if supported else "ahead")


def is_current(db: Database) -> bool:
    """Whether this broker may serve on the database: newest migration, or newer and supported."""
    return standing_of(db).level == "current"


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _knows(scripts: ScriptDirectory, revision: str | None) -> bool:
    return revision is None or revision in {one.revision for one in scripts.walk_revisions()}


def _is_supported(connection: Connection, scripts: ScriptDirectory) -> bool:
    oldest = connection.execute(select(SUPPORT.c.oldest)).scalar_one_or_none()
    return oldest is not None and _knows(scripts, oldest)


def _check_support(connection: Connection, scripts: ScriptDirectory, revision: str | None) -> None:
    known = scripts.get_current_head()
    if not _is_supported(connection, scripts):
        message = (
            f"the database is at schema {revision}, which brokers of schema {known} cannot serve: "
            "start the newer version again, or restore the backup from before its migration"
        )
        raise SettingsError(message)
    _log.warning("schema_newer_than_broker", database=revision, broker=known)


def is_known(revision: str) -> bool:
    """Whether this version of the broker has a migration of that name."""
    return _knows(ScriptDirectory.from_config(_config()), revision)


def differences(connection: Connection) -> list[object]:
    """Where the code's tables and the database differ; empty when migrations are complete."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
