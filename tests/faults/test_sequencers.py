"""Sequencers in processes of their own, killed at each step: one tree, and no entry lost."""

import multiprocessing
import random
import signal
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from broker.settings import Settings
from broker.store.db import Database
from broker.store.head_file import FILE_NAME, HeadFile
from tests.broker.log_fixtures import (
    SIGNING_KEY,
    append,
    check_whole_log,
    checkpoints,
    count_pending,
    drain,
    sequencer,
)
from tests.broker.made_tables import make_tables
from tests.faults.lengths import SOAK, short_or_long
from tests.faults.sequencing import POINTS, sequence

# In every full run all points on SQLite, and on PostgreSQL one of each transaction.
HERE = [
    (engine, point)
    for engine in ("sqlite", "postgresql")
    for point in POINTS
    if SOAK
    or engine == "sqlite"
    or point in {"make head failed", "index persisted", "publish failed"}
]
ROUNDS = short_or_long(1, 200)
JOIN_SECONDS = 60


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that are forked from one that has imported everything and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.sequencing"])
    return context


@pytest.fixture
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    opened = Database(Settings(home=tmp_path, database_url=url).sqlalchemy_url)
    make_tables(opened)
    yield opened
    opened.close()


def started(
    processes: ForkServerContext, db: Database, home: Path, now: int, point: str = ""
) -> ForkServerProcess:
    url = db.url
    arguments = (str(home), url, SIGNING_KEY.private_jwk(), now, point)
    process = processes.Process(target=sequence, args=arguments)
    process.start()
    return process


def ended(process: ForkServerProcess) -> int | None:
    process.join(JOIN_SECONDS)
    return process.exitcode


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("db", "point"), HERE, indirect=["db"])
def test_a_sequencer_killed_at_each_step(
    processes: ForkServerContext, db: Database, tmp_path: Path, point: str
) -> None:
    names = list(range(300))
    if not point.startswith("make head"):
        append(db, *names)
        drain(sequencer(db, tmp_path))
    before = None if point.startswith("make head") else checkpoints(db, sequencer(db, tmp_path))[-1]
    more = list(range(300, 600))
    append(db, *more)
    assert ended(started(processes, db, tmp_path, 100, point)) == -signal.SIGKILL
    # What was published before is what the file knows at least: nothing went back.
    note = HeadFile(tmp_path / FILE_NAME).read()
    assert (note is None) == (before is None)
    # Another process goes on, and then there is nothing left for a third.
    assert ended(started(processes, db, tmp_path, 200)) == 0
    log = sequencer(db, tmp_path)
    assert log.run_once(300) is None
    assert count_pending(db) == 0
    check_whole_log(db, log, [*(names if before else []), *more])
    assert checkpoints(db, log)[-1].size == len(more) + (300 if before else 0)
    assert log.permits(300)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)
def test_two_sequencers_of_which_one_is_killed(
    processes: ForkServerContext, db: Database, tmp_path: Path
) -> None:
    """Two at once on the same entries; one dies at some point, the other goes on."""
    draw, names = random.Random(11), list[int]()
    append(db, "first")
    drain(sequencer(db, tmp_path))
    for number in range(ROUNDS):
        more = list(range(len(names), len(names) + draw.randint(1, 700)))
        names += more
        append(db, *more)
        points = [point for point in POINTS if not point.startswith("make head")]
        now = 1000 * (number + 1)
        both = [started(processes, db, tmp_path, now, point) for point in (draw.choice(points), "")]
        codes = [ended(process) for process in both]
        assert codes[0] in {0, -signal.SIGKILL}  # whoever comes second may find nothing to die at
        assert codes[1] == 0
        drain(sequencer(db, tmp_path), now + 500)
    log = sequencer(db, tmp_path)
    check_whole_log(db, log, ["first", *names])
