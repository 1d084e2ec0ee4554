"""The tables of a test's database, made by the migrations once and copied from then on."""

import contextlib
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.migrate import migrate


def make_tables(db: Database) -> None:
    """Migrate a database: a new SQLite file becomes a copy of one that was."""
    name = make_url(db.url).database
    if db.is_sqlite and name is not None and not Path(name).exists():
        Path(name).write_bytes(_migrated())
    else:
        migrate(db)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "broker.db"
        with acting_for_all(), contextlib.closing(Database(f"sqlite:///{file}")) as db:
            migrate(db)
        return file.read_bytes()
