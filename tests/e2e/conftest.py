from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright

from tests.conftest import CHROMIUM_FLAGS
from tests.programs import require
from tests.web.page_world import PageWorld, served_world


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = require("chromium", "look at the consent page in a real browser")
    started = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
    yield started
    started.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PageWorld]:
    with served_world(tmp_path) as made:
        yield made
