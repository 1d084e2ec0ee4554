"""What several tests of this folder start from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.store.db import Database
from broker.usecases.sequencer import Sequencer
from tests.broker.log_fixtures import append, drain, sequencer
from tests.broker.made_tables import make_tables
from tests.faults.operations import Served, served
from tests.faults.soft_hsm import Device, soft_hsm
from tests.faults.timestamping import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("time") / "authority")


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """One for all tests of this process: it loads the module once, with one configuration."""
    with soft_hsm(tmp_path_factory.mktemp("softhsm")) as made:
        yield made


@pytest.fixture(scope="session")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A broker that serves two tenants in use, for tests that send it whatever they like."""
    with served(tmp_path_factory.mktemp("operated")) as made:
        yield made


@pytest.fixture
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if getattr(request, "param", "sqlite") == "sqlite":
        url = f"sqlite:///{tmp_path / 'broker.db'}"
    else:
        address: str = request.getfixturevalue("postgres_database")
        url = address.replace("postgresql://", "postgresql+psycopg://")
    opened = Database(url)
    make_tables(opened)
    yield opened
    opened.close()


@pytest.fixture
def log(db: Database, tmp_path: Path) -> Sequencer:
    log = sequencer(db, tmp_path)
    append(db, *range(5))
    drain(log)
    return log
