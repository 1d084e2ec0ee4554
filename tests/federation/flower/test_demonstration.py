"""How the demonstration ends what it started, and what it says where nothing came of it."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dev.federation.demo import Demonstration
from dev.federation.programs import children, family, kill_family

STARTS_BY_A_THREAD = """
import subprocess, sys, threading
def start():
    subprocess.Popen([sys.executable, "-c", LAST])
    threading.Event().wait()
LAST = "import time; print('begun', flush=True); time.sleep(600)"
threading.Thread(target=start).start()
"""


def test_what_a_thread_started_is_ended_too() -> None:
    """It lies below the thread that started it, and its parent gone it would live on."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS_BY_A_THREAD], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        [child] = children(process.pid)
        assert family(process.pid) == [process.pid, child]
        kill_family(process.pid)
        # The end of what both write to: neither is left.
        assert process.stdout.read() == ""


def demonstration(place: Path) -> Demonstration:
    return Demonstration(Namespace(json=True, seed=0, customers=1), place, place)


def test_without_a_round_that_closed_nothing_is_judged(tmp_path: Path) -> None:
    made: Any = SimpleNamespace(rounds=lambda: [{"state": "failed"}], models=list)
    with pytest.raises(RuntimeError, match="no round of it was closed"):
        demonstration(tmp_path).seen(made, cast("Any", None))


def test_evidence_that_does_not_verify_ends_it(tmp_path: Path) -> None:
    said = SimpleNamespace(returncode=1, stderr="signature_invalid\n")
    made: Any = SimpleNamespace(broker=SimpleNamespace(run=lambda *_: said))
    with pytest.raises(RuntimeError, match="does not verify: signature_invalid"):
        demonstration(tmp_path).evidence(made, "c-1")
