"""A copy of a whole database at one moment, while it is in use, and putting one in its place.

SQLite: its online backup, within one read transaction. PostgreSQL: its own programs, `pg_dump`
within an exported snapshot, `pg_restore` and `psql` in one transaction.
"""

import contextlib
import fcntl
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import make_url

from broker.domain.errors import BackupRefused
from broker.store.acting import EVERYBODY
from broker.store.durable import new_file, sync_folder
from broker.store.row_security import SETTING

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much (0: not known)."""

PAGES_AT_ONCE = 1024
COPIED_AT_ONCE = 1_048_576
BEFORE = "before-restore"
RESTORING = "restoring"
SHARED_LOCK = (510, 0x40000002)
"""Length and start of the bytes that whoever reads a database locks (SQLite's os.h)."""
# Who may not read other roles' statistics sees of their sessions that they are there, and whose,
# and not what they are; what belongs to no role is the server's own (autovacuum).
_OTHERS = (
    "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND usesysid IS NOT NULL "
    "AND coalesce(backend_type, 'client backend') = 'client backend'"
)
_SCHEMA = "SELECT version_num FROM alembic_version"
_HEAD = "SELECT origin, size FROM log_head"


@dataclass(frozen=True)
class Moment:
    """The database as it was copied: its newest migration, the log's origin and size."""

    schema: str
    origin: str
    log_size: int


def copy_database(url: str, to: Path, progress: Progress) -> Moment:
    """Copy the database at `url` (SQLAlchemy's form) into the file `to`.

    Raises `BackupRefused` when a program is missing or refuses, or the database is not a broker's.
    """
    if url.startswith("sqlite"):
        return _copy_sqlite(_path(url), to, progress)
    return _copy_postgresql(url, to, progress)


def holds_something(url: str) -> bool:
    """Whether there is anything in the database that a restore would replace.

    A damaged database counts: something may be read out of it yet.
    """
    if not url.startswith("sqlite"):
        with _postgresql(url) as connection:
            return bool(_tables(connection))
    path = _path(url)
    if not path.exists():
        return False
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
        except sqlite3.DatabaseError:
            return True


def put_database(url: str, source: Path, scratch: Path) -> None:
    """Put the copy in `source` in the place of the database at `url`: all of it, or nothing.

    Nobody else may use it, otherwise `BackupRefused`. A SQLite database that was there is kept
    beside as `<name>.before-restore`, or the first `<name>.before-restore-<number>` that is free.
    """
    if url.startswith("sqlite"):
        _put_sqlite(_path(url), source)
    else:
        _put_postgresql(url, source, scratch)


def _copy_sqlite(path: Path, to: Path, progress: Progress) -> Moment:
    if not path.exists():
        raise BackupRefused(f"there is no database at {path}")

    def tell(_status: int, remaining: int, total: int) -> None:
        progress(total - remaining, total)

    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(to)) as target:
        # One snapshot for everything: what others commit meanwhile neither shows nor starts the
        # copy over.
        source.execute("BEGIN")
        try:
            moment = _moment(source.execute(_SCHEMA).fetchone(), source.execute(_HEAD).fetchone())
        except sqlite3.OperationalError as error:
            raise BackupRefused(f"this is not a broker's database: {error}") from None
        source.backup(target, pages=PAGES_AT_ONCE, progress=tell)
        source.execute("ROLLBACK")
        if target.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise BackupRefused("the copy does not pass SQLite's integrity check: see `doctor`")
    return moment


def _put_sqlite(path: Path, source: Path) -> None:
    """Crashes leave the old database or the new one, and never one's log of writes to the other."""
    fresh = path.with_name(f"{path.name}.{RESTORING}")
    fresh.unlink(missing_ok=True)  # of a restore that was cut off
    # Whole on this disk, before anything is moved.
    with source.open("rb") as data, new_file(fresh) as file:
        shutil.copyfileobj(data, file, COPIED_AT_ONCE)
    try:
        if path.exists():
            _close_sqlite(path)
            _set_aside(path)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def _close_sqlite(path: Path) -> None:
    """Bring everything into the one file, for which the database is needed for oneself.

    One that is damaged stays as it is; whoever still has it open is in the way all the same.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=1)) as present:
        try:
            alone = present.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        except sqlite3.OperationalError as error:
            raise BackupRefused(
                f"the database is in use: stop the broker first ({error})"
            ) from None
        except sqlite3.DatabaseError:
            alone = True
    if not alone or _has_readers(path):
        raise BackupRefused("the database is in use: stop the broker first")


def _has_readers(path: Path) -> bool:
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *SHARED_LOCK)
        except BlockingIOError:
            return True
    return False


def _set_aside(path: Path) -> None:
    """Keep the database under another name beside, what was kept before too."""
    kept = path.with_name(f"{path.name}.{BEFORE}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.{BEFORE}-{number}")
    # Of one that is damaged, what was written last may be here; it belongs to no other database.
    for beside in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}{beside}").replace(kept.with_name(f"{kept.name}{beside}"))
    kept.hardlink_to(path)


def _copy_postgresql(url: str, to: Path, progress: Progress) -> Moment:
    with _postgresql(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()
        try:
            moment = _moment(
                connection.execute(_SCHEMA).fetchone(), connection.execute(_HEAD).fetchone()
            )
        except psycopg.errors.UndefinedTable as error:
            raise BackupRefused(f"this is not a broker's database: {error}") from None
        progress(0, 0)
        named = "" if snapshot is None else snapshot[0]
        dump = ("--format=custom", f"--snapshot={named}", f"--file={to}")
        _run(url, "pg_dump", *dump, "--enable-row-security")
        progress(1, 1)
    return moment


def _put_postgresql(url: str, source: Path, scratch: Path) -> None:
    with _postgresql(url) as connection:
        others = connection.execute(_OTHERS).fetchall()
        if others:
            roles = ", ".join(str(role) for (role,) in others)
            raise BackupRefused(
                f"others are connected to the database, as {roles}: stop every broker first"
            )
        drops = [
            sql.SQL("DROP TABLE IF EXISTS {} CASCADE;\n")
            .format(sql.Identifier(*table))
            .as_string(connection)
            for table in _tables(connection)
        ]
    before, script = scratch / "before.sql", scratch / "restore.sql"
    before.write_text("".join(drops), encoding="utf-8")
    # What the copy does not know (tables of a newer schema) goes too; all in one transaction.
    _run(
        None,
        "pg_restore",
        *("--clean", "--if-exists", "--no-owner", "--enable-row-security"),
        *(f"--file={script}", str(source)),
    )
    _run(
        url,
        "psql",
        *("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"),
        *(f"--file={before}", f"--file={script}"),
    )


@contextlib.contextmanager
def _postgresql(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(_conninfo(url)) as connection:
        yield connection


def _tables(connection: psycopg.Connection) -> list[tuple[str, str]]:
    found = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = current_schema()"
    )
    return [(str(row[0]), str(row[1])) for row in found]


def _run(url: str | None, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs; the password goes by its environment, not its arguments."""
    path = shutil.which(program)
    if path is None:
        raise BackupRefused(
            f"{program} is not installed: install PostgreSQL's client programs (on Debian and "
            "Ubuntu: apt-get install postgresql-client), not older than the server"
        )
    # For every tenant: otherwise row-level security would leave their rows out.
    environment, named = {"PGOPTIONS": f"-c {SETTING}={EVERYBODY}"}, []
    if url is not None:
        told = {name: str(value) for name, value in conninfo_to_dict(_conninfo(url)).items()}
        if "password" in told:
            environment["PGPASSWORD"] = told.pop("password")
        named = [f"--dbname={make_conninfo('', **told)}"]
    done = subprocess.run(  # noqa: S603 (PostgreSQL's own program, by its full path)
        [path, *named, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BackupRefused(f"{program} refuses: {done.stderr.strip()[-800:]}")


def _conninfo(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _path(url: str) -> Path:
    return Path(make_url(url).database or "")


def _moment(schema: tuple[str] | None, head: tuple[str, int] | None) -> Moment:
    if schema is None:
        raise BackupRefused("this database was never migrated: run consent-broker migrate")
    origin, size = head or ("", 0)
    return Moment(str(schema[0]), str(origin), int(size))
