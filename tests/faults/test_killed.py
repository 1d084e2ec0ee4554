"""The process, the database or the disk fails under load: what was acknowledged is there, once."""

import contextlib
import http.client
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.store.consents import REQUEST
from dev.running import free_port, running_broker
from tests.faults.agreement import check_agreement
from tests.faults.lengths import SOAK, short_or_long
from tests.faults.load import Load
from tests.faults.serving import Deployment, deployment
from tests.postgres import Server, throw_away_server

KILLS = short_or_long(2, 20)
CONSENTS = 60
LOAD_SECONDS = 1.5
CUTS = short_or_long(5, 50)
# A machine that is busy with other tests starts PostgreSQL's and our threads late.
HEALTHY_SECONDS = 5 if SOAK else 20
SMALL_FILE = 4096
RESTARTS, RESTART_SECONDS = 3, 90
PATIENCE = 120


def until(happens: Callable[[], object], what: str) -> None:
    """Wait for what a busy machine does late."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)


def _acts(load: Load) -> bool:
    return bool(load.withdrawn and load.decided)


def _fails(load: Load) -> bool:
    return load.failed > 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    """A cluster of this file's own: it is killed."""
    with throw_away_server() as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_killed_under_load(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = "" if engine == "sqlite" else request.getfixturevalue("postgres_database")
    draw, loads = random.Random(5), []
    with deployment(tmp_path, url, PORT=str(free_port())) as made, ExitStack() as restarted:
        environment = dict(made.servers[0].environment)
        for number in range(KILLS):
            load = Load(made, f"kill-{number}", CONSENTS)
            with load.running():
                until(partial(_acts, load), "it acts")
                time.sleep(LOAD_SECONDS + draw.random())
                os.kill(made.servers[0].pid, signal.SIGKILL)
                until(partial(_fails, load), "the server is killed under load")
            assert load.unexpected == []
            loads.append(load)
            again = running_broker(tmp_path, environment, log_name=f"again-{number}.log")
            made.servers[0] = restarted.enter_context(again)
        _check(made, loads)


@pytest.mark.timeout(600)
def test_database_crashes_under_load(cluster: Server, tmp_path: Path) -> None:
    url = cluster.create("crashed_under_load")
    with deployment(tmp_path, url) as made:
        load = Load(made, "crash", 2 * CONSENTS)
        with load.running():
            time.sleep(LOAD_SECONDS)
            cluster.crash_and_start()
            _wait_until_ready(made)
            before = load.acknowledged
            until(lambda: load.acknowledged > before, "it goes on")
        assert load.failed, "the database was not gone under load"
        assert load.unexpected == []
        _check(made, [load])


@pytest.mark.timeout(600)
def test_connections_are_cut_under_load(cluster: Server, tmp_path: Path) -> None:
    """As by a firewall: the pool heals. Then, in the long form, workers restart one by one."""
    url = cluster.create("cut_under_load")
    with deployment(tmp_path, url, WORKERS=str(short_or_long(1, 2))) as made:
        load, cut = Load(made, "cut", CONSENTS), 0
        with load.running():
            for _ in range(CUTS):
                time.sleep(LOAD_SECONDS / CUTS)
                cut += cluster.cut_transactions("cut_under_load")
            deadline = time.monotonic() + PATIENCE
            while not (cut and load.failed) and time.monotonic() < deadline:
                cut += cluster.cut_transactions("cut_under_load")
            healed = load.acknowledged
            _wait_until_ready(made)
            until(lambda: load.acknowledged > healed, "it goes on")
            assert load.failed, "nobody noticed"
            if SOAK:
                _restart_workers(made)
            restarted = load.acknowledged
            until(lambda: load.acknowledged > restarted, "it goes on")
        assert cut, "no transaction was under way"
        assert load.unexpected == []
        _check(made, [load])


def _restart_workers(made: Deployment) -> None:
    """`kill -HUP`: each worker ends once another has taken its place, so somebody always serves."""
    workers = _workers(made)
    assert len(workers) > 1
    for _ in range(RESTARTS):
        os.kill(made.servers[0].pid, signal.SIGHUP)
        # A new worker that takes long to be ready is given up, and the old one stays.
        deadline = time.monotonic() + RESTART_SECONDS
        while time.monotonic() < deadline:
            _wait_until_ready(made)
            if not _workers(made) & workers:
                return
            time.sleep(0.1)
    raise AssertionError("the workers were not restarted")


def _workers(made: Deployment) -> set[int]:
    """The processes that serve, apart from their parent."""
    pid = made.servers[0].pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    named = {int(one): Path(f"/proc/{one}/cmdline") for one in children}
    return {
        one
        for one, path in named.items()
        if path.exists() and "spawn_main" in path.read_text(encoding="utf-8", errors="replace")
    }


@pytest.mark.timeout(600)
def test_disk_full_under_load(tmp_path: Path) -> None:
    """No file of the server's may grow: writes of database and request log fail alike."""
    with deployment(tmp_path) as made:
        load = Load(made, "full", 2 * CONSENTS)
        pid = made.servers[0].pid
        with load.running():
            time.sleep(LOAD_SECONDS)
            soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL_FILE, hard))
            time.sleep(0.5)  # what was under way is over
            full = load.acknowledged
            time.sleep(1)
            assert load.acknowledged == full, "success without room for a row"
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
            _wait_until_ready(made)
            time.sleep(LOAD_SECONDS)
        assert load.acknowledged > full, "it does not go on"
        assert load.failed
        assert load.unexpected == []
        _check(made, [load])


def _check(made: Deployment, loads: list[Load]) -> None:
    check_agreement(
        made.ctx,
        made.servers[0].address,
        withdrawn=[one for load in loads for one in load.withdrawn],
        decided=[one for load in loads for one in load.decided],
        checkpoints=[one for load in loads for one in load.checkpoints],
    )
    opened = {request for load in loads for request in load.opened.values()}
    with made.ctx.db.reading() as tx:
        waiting = tx.execute(select(REQUEST).where(REQUEST.c.state == "open")).all()
    assert opened <= {row.id for row in waiting}
    # Each was sent again under its key until it was answered: none was opened twice.
    assert set(Counter(row.contact_id for row in waiting).values()) == {1}


def _wait_until_ready(made: Deployment) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if made.caller("partner").get("/readyz").status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"not healthy again within {HEALTHY_SECONDS} s")
