import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import BrowserContext

from broker.store.tables import metadata
from tests.programs import ROOT, require, shared

ABSENT = "consent-broker-absent-program"


def test_a_missing_program_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{ABSENT}.*needed to see the rule"):
        require(ABSENT, "see the rule")


def test_a_missing_program_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=ABSENT):
        require(ABSENT, "see the rule")


def test_a_missing_vector_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"vectors/absent\.json"):
        shared("vectors/absent.json")


def test_a_program_is_found_by_its_full_path() -> None:
    assert require("sh", "see the rule").is_absolute()


SKIPS = {
    "in a test": "import pytest\ndef test_it():\n    pytest.skip('asleep')\n",
    "by a mark": "import pytest\n@pytest.mark.skip(reason='asleep')\ndef test_it():\n    pass\n",
    "a module": "import pytest\npytest.skip('asleep', allow_module_level=True)\n",
}


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS.keys())
@pytest.mark.parametrize("ci", ["true", ""])
def test_under_ci_every_skip_is_a_failure(tmp_path: Path, source: str, ci: str) -> None:
    (tmp_path / "test_asleep.py").write_text(source)
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env=os.environ | {"CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "asleep" in finished.stdout or not ci
    assert (finished.returncode in {1, 2}) == bool(ci), finished.stdout


def test_each_postgres_database_is_ones_own(
    postgres_database: str, empty_postgres_database: str
) -> None:
    found = []
    for address in (postgres_database, empty_postgres_database):
        with psycopg.connect(address) as connection:
            connection.execute("CREATE TABLE written (x int)")
            tables = connection.execute(
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
            ).fetchone()
        found.append(tables)
    assert found == [(len(metadata.tables) + 2,), (1,)]  # alembic_version and the one made here


def test_the_shared_postgres_database_answers(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)


def test_chromium_shows_a_page(chromium: BrowserContext) -> None:
    page = chromium.new_page()
    page.set_content("<title>同意</title><p>Nothing has been shared yet.</p>")
    assert page.title() == "同意"
    assert page.inner_text("p") == "Nothing has been shared yet."
