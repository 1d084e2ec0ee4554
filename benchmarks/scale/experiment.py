"""The experiment: a cluster that is thrown away, real rows in it, and databases of each size."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.scale.grow import CONSENTS_PER_CONTACT, Growing, Progress, Step
from benchmarks.scale.partition import guards, partition
from benchmarks.scale.plans import WATCHED, Statements, Taken
from benchmarks.scale.real import Cost, Flow, Sizes, resident_mib, sizes, written
from dev.running import running_broker
from tests.postgres import OWNER, ROLE, Server, throw_away_server

PLAIN, PARTITIONED = "plain", "partitioned"
FORMS = (PLAIN, PARTITIONED)
WARM, COLD = 40, 10
FORGOTTEN = 1_048_576  # bytes: smaller files are the server's own catalogues, mostly
DECISIONS = 4
SETTINGS = (
    *("-c fsync=off", "-c full_page_writes=off", "-c wal_level=minimal", "-c max_wal_senders=0"),
    *("-c shared_buffers=1GB", "-c maintenance_work_mem=512MB", "-c max_wal_size=4GB"),
    *("-c effective_cache_size=8GB", "-c random_page_cost=1.1", "-c jit=off"),
    *("-c autovacuum=off", "-c max_parallel_maintenance_workers=0", "-c timezone=UTC"),
)


@dataclass(frozen=True)
class Real:
    """What the real flow cost: acts, bytes by table, and write-ahead log for each customer."""

    customers: int
    idle_mib: float
    costs: tuple[Cost, ...]
    sizes: Sizes
    log_bytes_per_customer: float


@dataclass(frozen=True)
class Grown:
    """One database of one size: how long each step of its load took, its bytes, its statements."""

    rows: int
    form: str
    steps: tuple[Step, ...]
    sizes: Sizes
    warm: tuple[Taken, ...]
    cold: tuple[Taken, ...]
    guards: Mapping[str, bool]


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    real: Real
    grown: tuple[Grown, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object."""
        return asdict(self)


def run(
    rows: Sequence[int],
    forms: Sequence[str],
    customers: int,
    progress: Progress,
    seconds: float = 10,
) -> Found:
    """Measure real rows, then databases of `rows` consents in each form, one after the other."""
    with throw_away_server(SETTINGS) as server:
        real = _real(server, customers, seconds, progress)
        for name, value in WATCHED.items():
            server.execute(f"ALTER ROLE {ROLE} SET {name} = '{value}'")
        grown = []
        for count in rows:
            for form in forms:
                grown.append(_grown(server, count, form, progress))
                server.execute("DROP DATABASE grown WITH (FORCE)")
    return Found(real, tuple(grown))


def _real(server: Server, customers: int, seconds: float, progress: Progress) -> Real:
    url, above = server.create("real"), server.url("real", OWNER)
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        home = Path(folder)
        with running_broker(home, {"DATABASE_URL": url}) as broker:
            idle, flow = resident_mib(broker.pid), Flow(broker, _pid(server), progress)
            with closing(flow), psycopg.connect(above, autocommit=True) as connection:
                before = written(connection)
                costs = [flow.costing("bind and grant", customers, flow.bind_and_grant)]
                log = written(connection) - before
                decisions, withdrawals = DECISIONS * customers, max(1, customers // 4)
                costs.append(flow.costing("decide", decisions, flow.decide))
                connection.execute("VACUUM ANALYZE")
                taken = sizes(connection)
                costs.append(flow.costing("withdraw", withdrawals, flow.withdraw))
                costs.append(flow.decisions_at_once(connection, seconds))
    return Real(customers, idle, tuple(costs), taken, log / customers)


def _pid(server: Server) -> int:
    return int((server.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])


def _grown(server: Server, count: int, form: str, progress: Progress) -> Grown:
    server.execute(f"CREATE DATABASE grown OWNER {ROLE} TEMPLATE real")
    url, now, held = server.url("grown"), int(time.time()), {}
    contacts = count // CONSENTS_PER_CONTACT + 1
    # A superuser: a load without triggers, past the policies, needs one.
    with psycopg.connect(server.url("grown", OWNER), autocommit=True) as connection:
        if form == PARTITIONED:
            partition(connection, count + 100_000)
            held = guards(connection)
        growing = Growing(connection, now, progress)
        growing.fill(
            {"contact": contacts, "consent_request": contacts, "consent": count}
            | {"audit_entry": count}
        )
        taken = sizes(connection)
    progress(f"{count:,} {form}: statements, warm", 0, 2)
    warm = _measured(url, count, now, WARM)
    server.restart()
    _forget(server.folder / "data" / "base", larger_than=FORGOTTEN)
    progress(f"{count:,} {form}: statements, cold", 1, 2)
    cold = _measured(url, count, now, COLD)
    return Grown(count, form, tuple(growing.steps), taken, warm, cold, held)


def _measured(url: str, count: int, now: int, times: int) -> tuple[Taken, ...]:
    statements = Statements(url.replace("postgresql:", "postgresql+psycopg:"), count, now)
    try:
        return tuple(statements.measure(times))
    finally:
        statements.close()


def _forget(folder: Path, larger_than: int) -> None:
    """Drop a database's files from the memory of the operating system, for a cold start."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > larger_than:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
