"""How the demonstration ends what it started, and what it says where nothing came of it."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dev.federation.consortium import PYTHON
from dev.federation.demo import Demonstration, gate_for
from dev.federation.members import RefusedError
from dev.federation.programs import children, family, kill_family
from tests.faults.lengths import SOAK
from tests.programs import ROOT, missing

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
    failed = {"rounds": lambda: [{"state": "failed"}], "rounds_that_closed": list, "models": list}
    made: Any = SimpleNamespace(**failed)
    with pytest.raises(RuntimeError, match="no round of it was closed"):
        demonstration(tmp_path).seen(made, cast("Any", None), [])
    with pytest.raises(RuntimeError, match="the pilot ended, and no round"):
        demonstration(tmp_path).pilot_passed(made)


def test_few_customers_have_a_lower_bound_and_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    assert (gate_for(10)["bound"], gate_for(250)["bound"]) == ("0.6", "0.75")

    def refuse(*_: object) -> None:
        raise RefusedError("model promote", "the gate auc at_least 0.6 is shut")

    one = {"id": "m", "stage": "pilot", "number": 1, "metrics": {"auc": "0.55"}}
    made: Any = SimpleNamespace(
        rounds_that_closed=lambda: [{"model_out": "m"}],
        told_campaign=lambda: {"models": [one]},
        promote=refuse,
    )
    with pytest.raises(RuntimeError, match=r"teach too little.*at_least 0.6.*--customers"):
        demonstration(tmp_path).pilot_passed(made)


def test_evidence_that_does_not_verify_ends_it(tmp_path: Path) -> None:
    said = SimpleNamespace(returncode=1, stderr="signature_invalid\n")
    made: Any = SimpleNamespace(broker=SimpleNamespace(run=lambda *_: said))
    with pytest.raises(RuntimeError, match="does not verify: signature_invalid"):
        demonstration(tmp_path).evidence(made, "c-1")


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def what_it_shows_is_what_it_kept(tmp_path: Path) -> None:
    """The whole of it, small: a pilot, gates, a withdrawal in mid-run; and the files it leaves."""
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    asked = ["--json", "--out", str(tmp_path), "--customers", str(CUSTOMERS), "--rounds", "2"]
    finished = subprocess.run(
        [sys.executable, "-m", "dev.federation.demo", *asked],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert finished.returncode == 0, finished.stderr
    seen = json.loads(finished.stdout)
    assert json.loads((tmp_path / "result.json").read_text()) == seen
    assert [
        (one["stage"], one["number"], one["state"], one["receipts"]) for one in seen["rounds"]
    ] == [
        *(("pilot", number, "closed", 2) for number in (1, 2)),
        *(("consortium", number, "closed", 3) for number in (1, 2)),
    ]
    # The model that knows nothing is stopped at the gate; each stage's last one is let through.
    measured = [float(one["metrics"]["auc"]) for one in seen["gates"]]
    # A customer who withdraws during the last round is in it, and what it gave is not promoted.
    used = seen["withdrawn_after_round"]
    assert [one["passed"] for one in seen["gates"]] == [False, True, used < 4]
    assert measured[0] == 0.5
    bound = gate_for(CUSTOMERS)["bound"]
    assert min(measured[1:]) >= float(bound)
    assert f"auc at_least {bound}" in seen["gates"][0]["said"]
    assert [one["stage"] for one in seen["gates"]] == ["pilot", "pilot", "consortium"]
    # The row is in the pilot, and out of the last round, with those who hide it.
    shown = seen["evidence"]
    assert list(shown) == ["pilot 1", "pilot 2", "consortium 1", "consortium 2"]
    assert [one == "included" for one in shown.values()] == [place < used for place in range(4)]
    assert used in {2, 3, 4}
    cohort = 5
    rows = seen["rows_of_the_first_member"]
    assert rows == [CUSTOMERS] * used + [CUSTOMERS - cohort] * (4 - used)
    [task] = seen["unlearning"]
    assert (task["state"], task["policy"]) == ("done" if used < 4 else "open", "exclude")
    assert {one["taint"] for one in task["tainted"][:used]} == {"used"}
    if used < 4:
        assert (task["model"], task["taint"]) == (seen["gates"][-1]["model"], "descends")
        kept = task["residual"]
        for name in ("before", "after"):
            assert f"{seen['residual'][name]:.15f}".rstrip("0") == kept[name].rstrip("0")
        assert kept["measured"]["after"] == task["model"]
        assert kept["measured"]["before"] in {one["model"] for one in task["tainted"]}
    _drawn(tmp_path / "auc.svg", seen["auc"])
    report = (tmp_path / "report.html").read_text()
    for one in (*seen["gates"], *seen["unlearning"]):
        assert one["model"] in report
    assert all(one["metrics"]["auc"] in report for one in seen["gates"])
    assert (tmp_path / "metric-01.svg").exists()


CUSTOMERS = 12


def _drawn(picture: Path, auc: dict[str, Any]) -> None:
    """Each round's AUC is where the scale has it, and each figure beside its line."""
    root = ET.parse(picture).getroot()  # noqa: S314 (our own)
    space = "{http://www.w3.org/2000/svg}"
    places = [float(one.attrib["cy"]) for one in root.findall(f"{space}circle")]
    values = auc["federated"]
    assert len(places) == len(values)
    (low, down), *_, (high, top) = sorted(zip(values, places, strict=True))
    steps = [down + (top - down) * (one - low) / (high - low) for one in values]
    assert places == pytest.approx(steps, abs=0.2)
    said = [one.text or "" for one in root.findall(f"{space}text")]
    for one in (values[-1], auc["central"], *auc["alone"]):
        assert any(text.endswith(f" {one:.3f}") for text in said)
    assert {"a customer withdraws", "the pilot's model is promoted"} <= set(said)


if SOAK:  # two hundred seconds of processor time
    test_what_it_shows_is_what_it_kept = what_it_shows_is_what_it_kept
