"""Coverage-guided inputs (atheris): a few in every full run, a million over all parsers in soak."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from credentials.errors import CredentialError, Malformed
from tests.faults.lengths import SOAK, short_or_long
from tests.fuzzing.judging import Escaped, judge
from tests.fuzzing.parser import Parser
from tests.programs import ROOT, missing

INPUTS = short_or_long(400, 1_000_000)
PARSERS = () if SOAK else ("note", "public key")


@pytest.mark.slow
@pytest.mark.timeout(14_400)
def test_guided_inputs_find_nothing(tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        missing("atheris has wheels for Linux alone")
    command = (sys.executable, "-m", "tests.fuzzing.guided", "--runs", str(INPUTS))
    done = subprocess.run(
        [*command, "--folder", str(tmp_path), *PARSERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)  # noqa: T201 (how many, how long: shown by -s, and when it fails)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.rstrip().endswith("0 findings")
    # libFuzzer has had each of them: an early end would look like peace.
    for log in tmp_path.glob("*/log"):
        assert "stat::number_of_executed_units" in log.read_text("utf-8", "replace")


def test_what_escapes_is_found() -> None:
    """The judge itself: an error that is not of the family, and one that is its root."""

    def fails(error: Exception) -> Parser:
        def act(_data: bytes) -> None:
            raise error

        return Parser("broken", (), act, (b"",), (CredentialError,))

    for error in (KeyError("x"), RecursionError(), CredentialError("no leaf")):
        with pytest.raises(Escaped):
            judge(fails(error), b"")
    assert judge(fails(Malformed("a leaf")), b"") is False
