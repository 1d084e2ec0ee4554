"""Fixtures that start real programs, and the rule that CI skips nothing."""

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from fastapi.dependencies import models as fastapi_dependencies
from playwright.sync_api import BrowserContext, Playwright, sync_playwright

from broker.store.acting import acting_for_all
from dev.running import Broker, running_broker
from tests.postgres import Server, throw_away_server
from tests.programs import in_ci, require

# Every broker and command that is started would compile what it imports again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests mostly wait for a disk, to keep what they throw away: where there is room, memory does.
MEMORY = Path("/dev/shm")  # noqa: S108 (what is made in it has names of its own)
ROOM = 8 << 30
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

CHROMIUM_FLAGS = (
    "--no-sandbox",  # as root it does not start otherwise
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # no look-ups of its own
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session", autouse=True)
def _everybody() -> Iterator[None]:
    """A test looks behind the broker at every tenant's rows; what it starts has to say for whom."""
    with acting_for_all():
        yield


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays: modules and thousands of collected tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _no_application_stays() -> Iterator[None]:
    """FastAPI caches what it has found out about functions, and so keeps every application.

    In a test process that makes hundreds the garbage collector then stops every thread, servers
    and browsers' pages among them, for up to ten seconds at a time.
    """
    yield
    for cached in vars(fastapi_dependencies).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL cluster of this test process's own."""
    with throw_away_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Server) -> str:
    """The address of a database that the tests of a session share; see `postgres_database`."""
    return postgres_server.create("shared")


@pytest.fixture
def postgres_database(postgres_server: Server) -> Iterator[str]:
    """The address of a database for this test alone, as `DATABASE_URL` takes it: migrated."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres_server.create_migrated(name)
    postgres_server.drop(name)


@pytest.fixture
def empty_postgres_database(postgres_server: Server) -> Iterator[str]:
    """The same without any table, for tests of what comes before."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres_server.create(name)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker in a process of its own on SQLite, shared by the tests of this test process."""
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright itself, without a browser.

    While it is open an event loop runs in this thread, in which no other test could run its own.
    """
    with sync_playwright() as started:
        yield started


@pytest.fixture
def chromium(playwright: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    """A Chromium with an empty profile: `chromium.new_page()`."""
    path = require("chromium", "look at the pages in a real browser")
    context = playwright.chromium.launch_persistent_context(
        tmp_path / "profile",
        executable_path=path,
        headless=True,
        args=list(CHROMIUM_FLAGS),
        locale="en",
    )
    yield context
    context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under `CI=true` turn a skip, wherever it comes from, into a failure."""
    return _nothing_skipped((yield), item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    return _nothing_skipped((yield), collector.nodeid)


def _nothing_skipped(report: Report, name: str) -> Report:
    if report.skipped and in_ci():
        place = report.longrepr
        reason = place[2] if isinstance(place, tuple) else str(place)
        report.outcome = "failed"
        report.longrepr = f"{name}: under CI=true a skip is a failure. {reason}"
    return report
