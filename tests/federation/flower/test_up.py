"""Training by the two commands of people, over real processes, with what is killed in between.

A broker, a coordinator and members, each a process: TLS, registered nodes, consents that customers
signed, over HTTP. Most of the time are cold starts of Flower's programs.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dev.federation.consortium import PYTHON, Consortium, Member, consortium
from dev.running import CONSENT_BROKER
from tests.faults.lengths import SOAK
from tests.programs import ROOT, missing

CUSTOMERS, WITHDRAWN, ROUNDS = 10, 2, 8


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def what_is_killed_goes_on_and_a_row_that_left_stays_out(tmp_path: Path) -> None:
    """The coordinator is killed in the second round, and a customer withdraws meanwhile.

    Then a member is killed in a round, and last the SuperLink alone.
    """
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    said: list[tuple[str, dict[str, Any]]] = []
    with consortium(tmp_path, lambda name, event: said.append((name, event)), ("A", "B")) as made:
        begin(made, ROUNDS)
        first, other = made.members
        assert made.coordinator is not None
        closed(made, 1)
        made.coordinator.kill()
        made.withdraw(first, WITHDRAWN)
        made.start_coordinator()
        closed(made, 2)
        assert other.program is not None
        before = rows(other)
        other.program.kill()
        made.start_member(other)
        closed(made, 4)
        [link] = [one["pid"] for one in made.coordinator.events if one["event"] == "started"]
        os.kill(link, signal.SIGKILL)
        made.coordinator.await_event(
            lambda event: event["event"] == "campaign_state", "the end of the campaign"
        )
        found = made.rounds()
        trained = {first.id: rows(first), other.id: before + rows(other)}
        models = made.models()
    # Each round has at most one receipt of a member, and one of each where it gave a model.
    names = sorted(one.id for one in made.members)
    accepted = [one for one in found if one["state"] == "closed"]
    assert [one["receipts"] for one in found] == [sorted(set(one["receipts"])) for one in found]
    assert all(len(one["receipts"]) == 2 for one in accepted)
    assert [one["number"] for one in found] == list(range(1, ROUNDS + 1))
    assert found[0]["state"] == found[-1]["state"] == "closed"
    # Each model begins with the one before, and each is kept.
    assert [one["model_in"] for one in accepted][1:] == [one["model_out"] for one in accepted][:-1]
    assert len(models) == len(accepted)
    # Who withdrew is out, and one more goes along; the other member's rows all stay.
    assert trained[first.id][0] == CUSTOMERS
    assert trained[first.id][-1] == CUSTOMERS - 2
    assert set(trained[other.id]) == {CUSTOMERS}
    assert names == sorted(found[-1]["taking_part"])
    assert all(one.program is not None and ended(one.program.process) for one in made.members)


if SOAK:  # 200 s of processor time, most of it forty cold starts of Flower's programs
    test_what_is_killed_goes_on = what_is_killed_goes_on_and_a_row_that_left_stays_out


def begin(made: Consortium, rounds: int) -> None:
    """Everything is started, as the guide says."""
    made.draw(0, CUSTOMERS)
    made.sign_consents(CUSTOMERS, lambda: None)
    made.sign_campaign(rounds, cohort=2)
    made.settle()
    made.set_state("running")
    made.start_coordinator()
    for member in made.members:
        made.start_member(member)
        made.admit(member)


def closed(made: Consortium, number: int) -> None:
    """Wait until a round is closed, or a later one."""
    assert made.coordinator is not None
    made.coordinator.await_event(
        lambda event: event["event"] == "round_closed" and event["number"] >= number,
        f"round {number}",
    )


def rows(member: Member) -> list[int]:
    """On how many rows a member trained, by round."""
    assert member.program is not None
    return [one["rows"] for one in member.program.events if one["event"] == "trained"]


def ended(process: subprocess.Popen[str] | None) -> bool:
    return process is not None and process.poll() == 0


@pytest.mark.parametrize("command", [["federation", "up"], ["federation", "member", "up"]])
def test_without_flower_the_cure_is_named(tmp_path: Path, command: list[str]) -> None:
    finished = said_by(*command, "settings.toml", "--python", str(tmp_path / "python"))
    assert finished.returncode == 2
    assert "make federation" in finished.stderr
    assert "--example" in said_by(*command).stderr
    example = said_by(*command, "--example")
    assert "superlink" in example.stdout or "control_port" in example.stdout
    # What it shows can be read, once the names are one's own.
    file = tmp_path / "settings.toml"
    file.write_text(example.stdout)
    kind = "MemberHome" if "member" in command else "CoordinatorHome"
    subprocess.run(
        [sys.executable, "-c", READ.format(kind), str(file)], check=True, cwd=ROOT, timeout=300
    )


READ = """
import sys
from pathlib import Path
from federation.flower.settings import {0}
{0}.read(Path(sys.argv[1]))
"""


def said_by(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CONSENT_BROKER, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
