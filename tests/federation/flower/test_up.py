"""Training by the two commands of people, over real processes, with what is killed in between.

A broker, a coordinator and members, each a process: TLS, registered nodes, consents that customers
signed, over HTTP. Most of the time are cold starts of Flower's programs.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.store import audit
from broker.store.acting import acting_for_all
from dev.federation.consortium import NAMES, PYTHON, Consortium, consortium
from dev.federation.members import Member, RefusedError
from dev.federation.programs import Program, children, until
from dev.running import CONSENT_BROKER
from tests.faults.lengths import SOAK
from tests.programs import ROOT, missing

CUSTOMERS, WITHDRAWN, ROUNDS = 10, 2, 18
TOLD = logging.getLogger(__name__)
STEPS = ("run_started", "round_opened", "trained", "round_closed")
"""Of a run, as they are told; killed in each of them, a round is before, in or behind it."""


@dataclass
class Killings:
    """Who is killed once something was told; `heard` is what programs told, and when."""

    made: Consortium
    heard: list[tuple[float, str, str]]
    killed: list[tuple[float, str]] = field(default_factory=list)
    """When, and what is told once all is as before."""

    @property
    def coordinator(self) -> Program:
        assert self.made.coordinator is not None
        return self.made.coordinator

    @property
    def member(self) -> Program:
        assert self.made.members[0].program is not None
        return self.made.members[0].program

    def after(self, step: str, kill: Callable[[], None], back: str = "run_started") -> None:
        """Kill when a step is told; what was told until then does not count for the next one."""
        teller = self.coordinator
        if step == "trained":
            # In a round of a run that goes on, and not in what was left of one that was killed.
            teller.await_event(lambda event: event["event"] == "round_opened", "a round")
            teller = self.member
            teller.forget()
        teller.await_event(lambda event: event["event"] == step, step)
        self.killed.append((time.time(), back))
        kill()
        for one in (self.coordinator, self.member):
            one.forget()

    def kill_coordinator(self) -> None:
        self.coordinator.kill()
        self.made.start_coordinator()

    def kill_superlink(self) -> None:
        """The SuperLink itself: what supervises it goes on."""
        started = [one["pid"] for one in self.coordinator.events if one["event"] == "started"]
        until(lambda: bool(children(started[-1])), "the SuperLink")
        os.kill(children(started[-1])[0], signal.SIGKILL)

    def kill_member(self) -> None:
        """All of a member's site."""
        self.member.kill()
        self.made.members[0].start(self.made.told)

    def hit(self, rounds: list[dict[str, Any]]) -> set[int]:
        """The rounds that were open when somebody was killed, or opened before all was well."""
        [file] = self.made.state.glob("campaigns/*/events.jsonl")
        told = [json.loads(line) for line in file.read_text().splitlines()]
        # By the broker, which says the next second: who opened one may be killed before it is told.
        opened = {one["number"]: one["opened_at"] - 1 for one in rounds}
        over = {
            one["number"]: one["when"]
            for one in told
            if one["event"] in {"round_closed", "round_failed"}
        }
        first = f"member {self.made.members[0].id}"
        found = set()
        for began, back in self.killed:
            teller = first if back == "trained" else "coordinator"
            well = next(
                (when for when, *who in self.heard if when > began and who == [teller, back]),
                time.time(),
            )
            found |= {
                number
                for number, when in opened.items()
                if when < well and over.get(number, well) > began
            }
        return found


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def each_is_killed_at_each_step_and_a_row_that_left_stays_out(tmp_path: Path) -> None:
    """Coordinator, SuperLink and a member are killed at each step; a customer withdraws."""
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    rows: dict[str, list[int]] = {}
    heard: list[tuple[float, str, str]] = []

    def told(name: str, event: dict[str, Any]) -> None:
        heard.append((time.time(), name, event["event"]))
        if event["event"] == "trained":
            rows.setdefault(name, []).append(event["rows"])

    with consortium(tmp_path, told) as made:
        begin(made, ROUNDS, spare_rounds=3 * len(STEPS))
        killings = Killings(made, heard)
        for step in STEPS:
            killings.after(step, killings.kill_coordinator)
        made.members[0].customers[WITHDRAWN].withdraw()
        for step in STEPS:
            killings.after(step, killings.kill_superlink)
        for step in STEPS:
            killings.after(step, killings.kill_member, back="trained")
        killings.coordinator.await_event(
            lambda event: event["event"] == "campaign_state", "the end of the campaign"
        )
        ending, found, models = made.told_campaign(), made.rounds(), made.models()
        first, *others = [one.id for one in made.members]
        hit = killings.hit(found)
    assert (ending["state"], ending["reason"]) == ("finished", None)
    failed = {one["number"] for one in found if one["state"] == "failed"}
    TOLD.info("failed %s, hit %s", sorted(failed), sorted(hit))
    # A killing costs a round at most, and nothing else does.
    assert failed <= hit
    assert len(failed) <= len(killings.killed) == 3 * len(STEPS)
    # All that were asked for gave a model, each from exactly one receipt of each member; no round
    # has two receipts of one.
    names = sorted([first, *others])
    closed = [one for one in found if one["state"] == "closed"]
    assert len(closed) == ROUNDS == len(found) - len(failed)
    assert [one["number"] for one in found] == list(range(1, len(found) + 1))
    assert all(max(Counter(one["receipts"]).values(), default=1) == 1 for one in found)
    assert [sorted(one["receipts"]) for one in closed] == [names] * ROUNDS
    given = {one["id"]: one["members"] for one in ending["models"]}
    assert [given[one["model_out"]] for one in closed] == [names] * ROUNDS
    # Each model begins with the one before, and each is kept.
    assert [one["model_in"] for one in closed][1:] == [one["model_out"] for one in closed][:-1]
    assert len(models) == ROUNDS
    # Who withdrew is out, and one more goes along; the other members' rows all stay.
    assert rows[f"member {first}"][0] == CUSTOMERS
    assert rows[f"member {first}"][-1] == CUSTOMERS - 2
    assert all(set(rows[f"member {one}"]) == {CUSTOMERS} for one in others)
    assert all(one.program is not None and ended(one.program.process) for one in made.members)


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_revoked_crashed_and_run_by_a_thief(tmp_path: Path) -> None:
    """Four rounds of one consortium, whose start is most of the time; two give a model, as asked.

    1. A member is revoked while its answer is waited for: the round goes on without it.
    2. The coordinator's machine is lost while the next is open.
    3. Whoever has the control token runs the board's own application with a parameter of its own:
       each member refuses, trains on nothing and is told why.
    4. The coordinator comes back, and there are as many models as the board asked for.
    """
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    trained: list[tuple[str, int]] = []

    def told_by_programs(name: str, event: dict[str, Any]) -> None:
        if event["event"] == "trained":
            trained.append((name, event["number"]))

    with consortium(tmp_path, told_by_programs) as made:
        begin(made, 2, spare_rounds=2, minimum_members=2, last_waits=True)
        coordinator, gone = made.coordinator, made.members[-1]
        others = sorted(one.id for one in made.members[:-1])
        assert coordinator is not None
        try:
            coordinator.await_event(lambda event: event["event"] == "round_opened", "a round")
            made.revoke(gone)
            began = time.monotonic()
            closed = out_and_over(coordinator, others)
            TOLD.info("out, its round over, the next open %.1f s", time.monotonic() - began)
            coordinator.kill()
        finally:
            let_go(last_rows(made))
        stolen = made.in_flower("-m", "tests.federation.flower.thief", coordinator.command[-2])
        refusals = [refusal_of(one, 3) for one in made.members[:-1]]
        coordinator = made.start_coordinator()
        coordinator.await_event(lambda event: event["event"] == "campaign_state", "the end")
        # What it holds opens nothing any more.
        with pytest.raises(RefusedError, match="not admitted"):
            gone.join(made.broker.address)
        told, logged = made.told_campaign(), entries(made)
    assert (closed["event"], closed["members"]) == ("round_closed", others)
    assert sorted(closed["left_out"]) == [gone.id]
    first, lost, forced, last = told["rounds"]
    assert sorted(first["taking_part"]) == sorted([*others, gone.id])
    assert [sorted(one["taking_part"]) for one in (lost, forced, last)] == [others] * 3
    assert [(one["state"], one["code"]) for one in told["rounds"]] == [
        *(("closed", None), ("failed", "interrupted")),
        *(("failed", "too_few_updates"), ("closed", None)),
    ]
    # All models that the board asked for, each from one receipt of each member that counts.
    assert (told["state"], told["reason"]) == ("finished", None)
    used = {"rounds": 2, "closed": 2, "failed": 2, "spare_rounds": 2, "spare_used": 2}
    assert told["progress"] == used
    assert [one["members"] for one in told["models"] if one["number"]] == [others] * 2
    assert [sorted(one["receipts"]) for one in (first, last)] == [others] * 2
    assert (first["model_out"], last["model_out"]) == (last["model_in"], told["models"][-1]["id"])
    check_theft(json.loads(stolen), refusals, forced)
    assert {number for _, number in trained} - {1, 2, 4} == set()
    assert {(f"member {one}", 4) for one in others} <= set(trained)
    states = {one["member"]: one["state"] for one in told["members"]}
    assert states == {**dict.fromkeys(others, "admitted"), gone.id: "revoked"}
    # In the log: admitted each by its credential, and revoked while the first round was open.
    assert logged == [
        *["federation.admitted"] * 3,
        *("training.round_opened", "federation.revoked", "training.round_closed"),
        *("training.round_opened", "training.round_failed") * 2,
        *("training.round_opened", "training.round_closed"),
        "federation.join_refused",
    ]


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def a_private_pilot_a_consortium_and_a_secure_campaign(tmp_path: Path) -> None:
    """DP-SGD by two members, then by all; after it, one whose updates nobody sees."""
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    with consortium(tmp_path, lambda _name, _event: None) as made:
        named = sorted(one.id for one in made.members)
        two = [one.id for one in made.members[:2]]
        stages = [("pilot", sorted(two)), ("consortium", named)]
        begin(
            made,
            1,
            minimum_members=2,
            privacy=PRIVACY,
            rollout=[
                {"stage": stage, "members": of, "gates": [], "approvals": 2} for stage, of in stages
            ],
        )
        assert made.coordinator is not None
        made.introduce()
        made.coordinator.await_event(lambda event: event["event"] == "stage_over", "the pilot")
        pilot = made.told_campaign()["models"][-1]
        made.promote("pilot", pilot["id"])
        made.coordinator.await_event(
            lambda event: event["event"] == "campaign_state", "the end of the campaign"
        )
        private = made.told_campaign()
        made.sign_campaign(1, id="masked", aggregation=SECURE, minimum_members=3, cohort=2)
        made.set_state("running")
        made.coordinator.await_event(
            lambda event: event["event"] == "campaign_state", "the end of the secure one"
        )
        secure = made.told_campaign()
    assert [private["state"], secure["state"]] == ["finished", "finished"]
    closed = [one for one in private["rounds"] if one["state"] == "closed"]
    assert [(one["stage"], sorted(one["receipts"])) for one in closed] == stages
    # What the one begins with is what passed the other; each tells what was spent until then.
    assert closed[1]["model_in"] == pilot["id"]
    spent = [Decimal(one["epsilon"]) for one in private["models"] if one["epsilon"]]
    assert 0 < spent[0] < spent[1] <= Decimal(PRIVACY["epsilon"])
    [round_] = secure["rounds"]
    assert sorted(round_["receipts"]) == named
    assert secure["models"][-1]["id"] == round_["model_out"] != round_["model_in"]


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def each_way_of_aggregating_gives_its_model(tmp_path: Path) -> None:
    """Five members, a round each: the kept models are what the formulas make of their rows."""
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    files, rounds = [], []
    with consortium(tmp_path, lambda _name, _event: None, (*NAMES, "East", "Centre")) as made:
        for number, way in enumerate(WAYS):
            of = NO_WAY | way
            if number:
                made.sign_campaign(
                    1, id=f"way-{number}", aggregation=of, minimum_members=5, cohort=2
                )
                made.set_state("running")
            else:
                begin(made, 1, aggregation=of, minimum_members=5)
            assert made.coordinator is not None
            made.coordinator.await_event(
                lambda event: event["event"] == "campaign_state", f"the end of {way['method']}"
            )
            rounds += made.rounds()
            files += made.models()
        script = ("-m", "tests.federation.flower.aggregated")
        apart = json.loads(made.in_flower(*script, tmp_path, WAYS[0]["mu"], *files))
    assert [(one["state"], len(one["receipts"])) for one in rounds] == [("closed", 5)] * len(WAYS)
    assert max(apart) < 1e-9


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def rounds_are_done_anew_from_the_model_before_the_row(tmp_path: Path) -> None:
    """A member joins later; a row of its is withdrawn, and what came of it is done anew."""
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    with consortium(tmp_path, lambda _name, _event: None) as made:
        *_, late = made.members
        begin(made, 30, grace=1, minimum_members=2, unlearning="rollback_replay")
        late.start(made.told)
        assert made.coordinator is not None
        assert late.program is not None
        made.coordinator.await_event(lambda event: event["event"] == "round_closed", "a round")
        made.admit(late)
        late.program.await_event(lambda event: event["event"] == "trained", "its round")
        trained = made.rounds()[-1]["number"]
        made.coordinator.await_event(
            lambda event: event["event"] == "round_closed" and event["number"] >= trained, "it"
        )
        late.customers[WITHDRAWN].withdraw()
        # The broker begins no round with a tainted model.
        made.operate("federation", "task", "search")
        made.coordinator.await_event(lambda event: event["event"] == "run_failed", "its refusal")
        made.set_state("stopped")
        made.operate("federation", "task", "search")
        old, before = made.signed, made.told_campaign()
        [task] = before["tasks"]
        made.sign_campaign(1, id="anew", cohort=2, minimum_members=3, unlearning="rollback_replay")
        assert old is not None
        made.go_on_from(task["base"], old)
        late.program.forget()
        made.set_state("running")
        rows = late.program.await_event(lambda event: event["event"] == "trained", "it anew")[
            "rows"
        ]
        made.coordinator.await_event(
            lambda event: event["event"] == "campaign_state" and event["state"] == "finished",
            "the end of the campaign",
        )
        after = made.told_campaign()
        last = after["models"][-1]
        made.operate("federation", "task", "close", task["id"], "--model", last["id"])
        made.campaign = before["id"]
        [closed] = made.told_campaign()["tasks"]
    assert task["state"] == "open"
    assert task["tainted"]
    # The base is of a round in which the member that joined later had no receipt.
    [base] = [one for one in before["rounds"] if one["model_out"] == task["base"]]
    assert late.id not in base["receipts"]
    [round_] = after["rounds"]
    assert (round_["model_in"], len(round_["receipts"])) == (task["base"], 3)
    # Who withdrew is out and another with it, as the guard of the first campaign has it.
    assert rows == CUSTOMERS - 2
    assert (closed["state"], closed["model"], closed["taint"]) == ("done", last["id"], None)


PRIVACY: dict[str, Any] = {
    "epsilon": "8",
    "delta": "0.00001",
    "noise_multiplier": "2",
    "clip_norm": "1",
    "sampling_rate": "0.5",
    "steps_per_round": 3,
}
NO_WAY = {"secure": False, **dict.fromkeys(("server_clip", "mu", "trim", "byzantine"))}
SECURE = NO_WAY | {"method": "fedavg", "secure": True}
WAYS: tuple[dict[str, Any], ...] = (
    {"method": "fedprox", "mu": "0.5"},
    {"method": "trimmed_mean", "trim": "0.2"},
    {"method": "krum", "byzantine": 1},
)


if SOAK:  # most of it are cold starts of Flower's programs
    test_each_is_killed_at_each_step = each_is_killed_at_each_step_and_a_row_that_left_stays_out
    test_rounds_are_done_anew = rounds_are_done_anew_from_the_model_before_the_row
    test_each_way_of_aggregating = each_way_of_aggregating_gives_its_model
    test_each_kind_of_campaign = a_private_pilot_a_consortium_and_a_secure_campaign


def begin(
    made: Consortium,
    rounds: int,
    *,
    grace: int = 60,
    last_waits: bool = False,
    **changes: Any,  # noqa: ANN401 (of a campaign)
) -> None:
    """Everything is started, as the guide says; with `grace` 1 the last member is not.

    With `last_waits` the last one's rows come from a pipe that nobody fills: it is there, and
    answers no round, from the first one on.
    """
    made.draw(0, CUSTOMERS)
    made.sign_consents(CUSTOMERS, lambda: None)
    made.sign_campaign(rounds, **{"cohort": 2, "minimum_members": 3, **changes})
    made.settle(grace=grace)
    if last_waits:
        last_rows(made).unlink()
        os.mkfifo(last_rows(made))
    made.set_state("running")
    made.start(made.members[: None if grace > 1 else -1])


def last_rows(made: Consortium) -> Path:
    """Where the last member's rows lie."""
    return made.directory / f"rows-{len(made.members) - 1}.csv"


def let_go(pipe: Path) -> None:
    """Who waits for what comes through a pipe reads its end, and can be stopped."""
    with suppress(OSError):  # nobody waits
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


def out_and_over(coordinator: Program, others: list[str]) -> dict[str, Any]:
    """How the open round ended, once only others are admitted too and the next one is open."""
    found: dict[str, dict[str, Any]] = {}

    def all_three(event: dict[str, Any]) -> bool:
        if event["event"] == "members" and event["admitted"] == others:
            found["out"] = event
        if event["event"] in {"round_closed", "round_failed"}:
            found.setdefault("over", event)
        if event["event"] == "round_opened":
            found["next"] = event
        return found.keys() == {"out", "over", "next"}

    coordinator.await_event(all_three, "that it is out, the round's end, and the next")
    return found["over"]


def check_theft(
    stolen: dict[str, Any], refusals: list[dict[str, Any]], forced: dict[str, Any]
) -> None:
    """A run with a parameter of its own: refused by each, said to each, and nothing came of it."""
    assert stolen == {"status": "failed"}
    assert [one["code"] for one in refusals] == ["parameters_differ"] * 2
    assert all("see steps" in one["hint"] and "did not sign" in one["hint"] for one in refusals)
    assert (forced["receipts"], forced["model_out"]) == ([], None)
    assert forced["left_out"] == dict.fromkeys(forced["taking_part"], "refused_parameters_differ")


def refusal_of(member: Member, number: int) -> dict[str, Any]:
    """What a member's own program says of a round that it refused."""
    assert member.program is not None
    return member.program.await_event(
        lambda event: event["event"] == "refused" and event["number"] == number, "its refusal"
    )


LOGGED = (
    *("federation.admitted", "federation.revoked", "federation.join_refused"),
    *("training.round_opened", "training.round_closed", "training.round_failed"),
)


def entries(made: Consortium) -> list[str]:
    """What the log says of members and of rounds being opened and over, in its order."""
    with acting_for_all():

        def all_are_in() -> bool:
            with made.ctx.db.reading() as tx:
                return tx.execute(select(audit.PENDING.c.id)).first() is None

        until(all_are_in, "the log's last entry")
        with made.ctx.db.reading() as tx:
            rows = tx.execute(select(audit.ENTRY.c.type).order_by(audit.ENTRY.c.log_index))
            return [one.type for one in rows if one.type in LOGGED]


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
