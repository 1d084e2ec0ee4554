"""The database of a test, made once in this process and copied from then on."""

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from broker.settings import Settings
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.migrate import migrate
from credentials.sealing import MasterKey

PRIVATE = 0o600


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


@dataclass(frozen=True)
class _Begun:
    """A home folder by its files, and the key that its secrets are sealed under."""

    master: MasterKey
    files: Mapping[str, bytes]


_begun: dict[tuple[Callable[[Settings, MasterKey], None], str], _Begun] = {}


def begun(chosen: Settings, begin: Callable[[Settings, MasterKey], None]) -> MasterKey:
    """Put into the home folder what `begin` leaves there; the master key of it.

    `begin` opens the database and closes it. Called with the same settings again it is not: what it
    left is copied, the same identifiers and keys. A database that is there already, or on
    PostgreSQL, is begun by itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        other = replace(chosen, home=Path(folder))
        name = make_url(other.sqlalchemy_url).database or ""
        if not name.startswith(folder) or (chosen.home / Path(name).name).exists():
            master = MasterKey.generate()
            begin(chosen, master)
            return master
        told = begin, repr(replace(chosen, home=Path()))
        if told not in _begun:
            master = MasterKey.generate()
            begin(other, master)
            files = {one.name: one.read_bytes() for one in Path(folder).iterdir()}
            _begun[told] = _Begun(master, files)
    for file, content in _begun[told].files.items():
        place = chosen.home / file
        place.touch(PRIVATE)
        place.write_bytes(content)
    return _begun[told].master
