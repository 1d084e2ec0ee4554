"""Alembic's environment: runs the migrations on the connection that the broker hands over."""

from alembic import context
from sqlalchemy import Connection

from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.tables import metadata


def _migrate() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        url = context.config.get_main_option("sqlalchemy.url")
        with acting_for_all(), Database(url or "").transaction() as own:
            _run(own)
        return
    _run(connection)


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True
    )
    context.run_migrations()


_migrate()
