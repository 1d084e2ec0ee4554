"""Brokers with a partner and a tenant `demo`, for tests that need no more of them than that."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.flow_world import World, world


@pytest.fixture(params=["sqlite", "postgresql"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """One on each database."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with world(tmp_path / "home", database_url=url) as broker:
        yield broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    """One on SQLite."""
    with world(tmp_path / "home") as found:
        yield found
