"""The tables of a test's database, made quickly where nothing is lost by it."""

from broker.store import append_only, tables
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.migrate import migrate


def make_tables(db: Database) -> None:
    """All tables, with what the database guards; on SQLite without the way of the migrations."""
    if not db.is_sqlite:
        migrate(db)
        return
    with acting_for_all(), db.transaction() as tx:
        tables.metadata.create_all(tx)
        for statement in append_only.create("sqlite"):
            tx.exec_driver_sql(statement)
