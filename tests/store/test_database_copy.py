"""Putting a copy in a database's place: nobody else uses it, and nothing is lost on the way."""

import contextlib
import errno
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from broker.domain.errors import BackupRefused
from broker.store import database_copy
from broker.store.database_copy import holds_something, put_database
from broker.store.durable import new_file
from tests.postgres import ROLE, Server

NEIGHBOUR = "neighbour"


def test_a_session_of_another_role_is_in_the_way(
    postgres_server: Server, postgres_database: str, tmp_path: Path
) -> None:
    """The role that restores owns the tables, the brokers' is another; neither sees all of it."""
    theirs = postgres_database.replace(f"//{ROLE}@", f"//{NEIGHBOUR}@")
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        postgres_server.execute(f"CREATE ROLE {NEIGHBOUR} LOGIN")
    with (
        psycopg.connect(theirs),
        pytest.raises(BackupRefused, match=f"as {NEIGHBOUR}: stop every broker first"),
    ):
        put_database(postgres_database, tmp_path / "none", tmp_path)


def filled(path: Path, word: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE told (word TEXT)")
        made.execute("INSERT INTO told VALUES (?)", (word,))
    return path


def word(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as found:
        return str(found.execute("SELECT word FROM told").fetchone()[0])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return filled(tmp_path / "source", "restored")


def put(path: Path, source: Path) -> None:
    put_database(f"sqlite:///{path}", source, source.parent)


def test_what_was_kept_before_stays_kept(home: Path, source: Path) -> None:
    path = filled(home / "broker.db", "first")
    put(path, source)
    put(path, filled(source.with_name("another"), "second"))
    put(path, source)
    assert word(path) == "restored"
    assert path.stat().st_mode & 0o777 == 0o600
    kept = [home / f"broker.db.before-restore{more}" for more in ("", "-2", "-3")]
    assert [word(one) for one in kept] == ["first", "restored", "second"]
    assert names(home) == {"broker.db", *(one.name for one in kept)}


def test_a_copy_that_does_not_fit_moves_nothing(
    home: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(home / "broker.db", "first")

    def full(_source: object, to: object, _at_once: int) -> None:
        to.write(b"half")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        put(path, source)
    assert word(path) == "first"
    assert names(home) == {"broker.db"}


def test_a_crash_before_the_last_step_leaves_the_database(
    home: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(home / "broker.db", "first")
    real = Path.replace

    def cut(self: Path, target: Path) -> Path:
        if self.name.endswith(database_copy.RESTORING):
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        put(path, source)
    assert word(path) == "first"
    monkeypatch.undo()
    # What a kill leaves there is no obstacle.
    (home / "broker.db.restoring").write_bytes(b"half")
    put(path, source)
    assert word(path) == "restored"


def damage(path: Path, kind: str) -> None:
    if kind == "no database":
        path.write_bytes(b"x" * 8192)
    else:
        data = bytearray(path.read_bytes())
        data[100:200] = bytes(100)  # the first page of the schema
        path.write_bytes(data)


@pytest.mark.parametrize("kind", ["no database", "schema"])
def test_a_damaged_database_is_something_and_can_be_replaced(
    home: Path, source: Path, kind: str
) -> None:
    path = filled(home / "broker.db", "first")
    damage(path, kind)
    (home / "broker.db-wal").write_bytes(b"what was written last")
    damaged = path.read_bytes()
    assert holds_something(f"sqlite:///{path}")
    put(path, source)
    assert word(path) == "restored"
    assert (home / "broker.db.before-restore").read_bytes() == damaged
    assert names(home) >= {"broker.db", "broker.db.before-restore"}
    assert "broker.db-wal" not in names(home)


def test_a_damaged_database_that_is_in_use_is_left_alone(home: Path, source: Path) -> None:
    path = filled(home / "broker.db", "first")
    reading = (
        "import sqlite3, sys; found = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "found.execute('BEGIN'); found.execute('SELECT * FROM told').fetchone();"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reading, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        damage(path, "no database")
        damaged = path.read_bytes()
        with pytest.raises(BackupRefused, match="stop the broker first"):
            put(path, source)
        other.communicate()
    assert path.read_bytes() == damaged
    assert names(home) == {"broker.db"}


def test_a_new_file_follows_nobody_s_link(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_bytes(b"precious")
    link.symlink_to(tmp_path / "nowhere")
    for path in (there, link):
        with pytest.raises(FileExistsError), new_file(path):
            raise AssertionError("it was opened")
    assert there.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
