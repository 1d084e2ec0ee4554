"""A PostgreSQL server of the test run's own: made, used and thrown away."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.migrate import migrate
from tests.programs import require

OWNER = "postgres"
MIGRATED = "migrated"
# Whom the broker connects as: row-level security binds it, which it would not the cluster's owner.
ROLE = "ordinary"
INITDB_OPTIONS = ("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
SERVER_OPTIONS = (
    "-c fsync=off",  # the cluster lives as long as the tests: there is nothing to lose
    "-c full_page_writes=off",
    "-c shared_buffers=32MB",
    "-c max_connections=60",
    "-c autovacuum=off",
    "-c timezone=UTC",
)


@dataclass(frozen=True)
class Server:
    """A running cluster, reached by the socket in `folder`; each database in it is one test's."""

    folder: Path

    def url(self, database: str, role: str = ROLE) -> str:
        """The address of a database, in the form that `DATABASE_URL` takes."""
        return f"postgresql://{role}@/{database}?host={self.folder}"

    def create(self, database: str) -> str:
        """Make an empty database that an ordinary role owns; return its address."""
        self.execute(f'CREATE DATABASE "{database}" OWNER {ROLE}')
        return self.url(database)

    def create_migrated(self, database: str) -> str:
        """The same with all tables in it: a copy of one that was migrated once."""
        with psycopg.connect(self.url("postgres", OWNER)) as connection:
            named = "SELECT count(*) FROM pg_database WHERE datname = %s"
            found = connection.execute(named, (MIGRATED,)).fetchone()
        if found == (0,):
            url = self.create(MIGRATED).replace("postgresql://", "postgresql+psycopg://")
            with acting_for_all(), contextlib.closing(Database(url)) as db:
                migrate(db)
        self.execute(f'CREATE DATABASE "{database}" OWNER {ROLE} TEMPLATE {MIGRATED}')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, cutting connections that are still open."""
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def crash_and_start(self) -> None:
        """Kill the cluster at once, as a crash would, and start it again with the same options."""
        self.restart("immediate")

    def restart(self, mode: str = "fast") -> None:
        """Stop the cluster in one of `pg_ctl`'s modes and start it again with the same options."""
        pg_ctl = require("pg_ctl", "restart PostgreSQL")
        log = self.folder / "server.log"
        _run(
            pg_ctl,
            *("restart", "--wait", "--mode", mode),
            *("--pgdata", self.folder / "data", "--log", log),
        )

    def cut_transactions(self, database: str) -> int:
        """Cut every connection of a database, as a network does; how many had a transaction."""
        cut = (
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid) AND xact_start IS NOT NULL) "
            f"FROM pg_stat_activity WHERE datname = '{database}' AND usename = '{ROLE}'"
        )
        with psycopg.connect(self.url("postgres", OWNER), autocommit=True) as connection:
            row = connection.execute(cut).fetchone()
        return int(row[0]) if row else 0

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement of whoever owns the cluster."""
        with psycopg.connect(self.url(database, OWNER), autocommit=True) as connection:
            connection.execute(statement)


@contextlib.contextmanager
def throw_away_server(settings: Sequence[str] = SERVER_OPTIONS) -> Iterator[Server]:
    """Start a cluster that listens on a socket in its own folder; stop and remove it at the end.

    Without a TCP port, clusters of parallel test processes cannot collide. PostgreSQL refuses to
    run as root, so there its own user runs it.
    """
    reason = "run the store's tests on PostgreSQL"
    initdb, pg_ctl = require("initdb", reason), require("pg_ctl", reason)
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    data, log = home / "data", home / "server.log"
    try:
        if os.geteuid() == 0:
            shutil.chown(home, OWNER)
        _run(initdb, "--pgdata", data, "--username", OWNER, *INITDB_OPTIONS)
        options = " ".join(["-h ''", f"-k {home}", *settings])
        _run(pg_ctl, "start", "--wait", "--pgdata", data, "--log", log, "--options", options)
        try:
            server = Server(home)
            server.execute(f"CREATE ROLE {ROLE} LOGIN")
            yield server
        finally:
            _run(pg_ctl, "stop", "--wait", "--mode", "immediate", "--pgdata", data)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(program: Path, *arguments: str | Path) -> None:
    command = [str(program), *map(str, arguments)]
    if os.geteuid() == 0:
        runuser = require("runuser", "run PostgreSQL as its own user")
        command = [str(runuser), "-u", OWNER, "--", *command]
    # The output goes to a file: the server would keep a pipe open for as long as it runs.
    with tempfile.TemporaryFile() as output:
        finished = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
        output.seek(0)
        words = output.read().decode(errors="replace")
    if finished.returncode != 0:
        raise RuntimeError(f"{program.name} failed with {finished.returncode}:\n{words}")
