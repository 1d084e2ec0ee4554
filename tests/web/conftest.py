"""A world for each test of the pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.page_world import PageWorld, page_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PageWorld]:
    with page_world(tmp_path) as made:
        yield made
