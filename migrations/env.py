"""Alembic's environment: runs the migrations on the connection that the broker hands over."""

from alembic import context
from sqlalchemy import Connection, create_engine

from broker.store.tables import metadata


def _migrate() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        url = context.config.get_main_option("sqlalchemy.url")
        with create_engine(url or "").begin() as own:
            _run(own)
        return
    _run(connection)


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True
    )
    context.run_migrations()


_migrate()
