"""`make demo-federation`: three members train together, each a process, and a customer withdraws.

A broker, customers who sign with wallets, a board, three members and a coordinator by the commands
that people use, TLS between them; members join by the operator's offer. Two members train a pilot;
the board promotes its model by the gate on the AUC and two approvals, and all three go on with it.
In mid-run one customer withdraws on the own page, signed by the wallet, and the evidence says in
which rounds the consent was used. The broker taints the models that have learnt from the row and
opens a task; the rounds after it leave the row out, how far the last model lies from one that has
never seen it is measured, and the task is closed with both. The last model is promoted by the same
gate. Then what each model is worth.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from dev.federation.consortium import NAMES, Consortium, NoFlowerError, consortium
from dev.federation.members import Member, RefusedError
from dev.federation.plot import svg
from dev.federation.programs import PATIENCE
from dev.running import BrokerNotRunningError

WITHDRAWN = 7
PILOT, APPROVALS = 2, 2
"""Members of the pilot, the first ones, and how many of the board approve each stage's model."""
GATE: Final = {"metric": "auc", "relation": "at_least", "bound": "0.75"}
"""Of the model that a round begins with, on the rows of its members; the first model has 0.5."""
FEW, BOUND_OF_FEW = 100, "0.6"
"""So few customers of a member are too few for every seed to come to the gate's usual bound."""
LEAST_CUSTOMERS, LEAST_ROUNDS = 10, 2
"""Half of them are left once one has withdrawn; the first round's model never passes the gate."""
SHOWN = {"round_opened", "round_closed", "round_failed", "run_started", "run_ended", "run_failed"}


class Demonstration:
    """One run, told as it goes."""

    def __init__(self, given: argparse.Namespace, directory: Path, out: Path) -> None:
        self.given, self.directory, self.out = given, directory, out
        self.console = Console(stderr=True, highlight=False, quiet=given.json)
        self.gate = gate_for(given.customers)
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        """A line with how long it took until now."""
        self.console.print(f"{time.monotonic() - self.began:7.1f} s  {text}", soft_wrap=True)

    def heard(self, name: str, event: dict[str, Any]) -> None:
        """What a program tells."""
        if event["event"] in SHOWN or event["event"] in {"trained", "refused"}:
            facts = {key: one for key, one in event.items() if key not in {"at", "event", "hint"}}
            told = " ".join(f"{key}={one}" for key, one in facts.items() if key != "campaign")
            self.console.print(f"           {name}: {event['event']} {told}", soft_wrap=True)

    def run(self) -> dict[str, Any]:
        """The whole way; what was seen."""
        given = self.given
        with consortium(self.directory, self.heard) as made:
            self.say("a broker, and three partners 经纪方与三家成员")
            made.draw(given.seed, given.customers)
            with Progress(console=self.console, disable=given.json) as progress:
                total = given.customers * len(NAMES)
                bar = progress.add_task("customers sign 客户签署同意", total=total)
                made.sign_consents(given.customers, lambda: progress.advance(bar))
            self.say(f"{total} customers signed with their wallets")
            made.sign_campaign(given.rounds, rollout=_rollout(made, self.gate))
            made.settle()
            made.set_state("running")
            coordinator = made.start()
            self.say("coordinator and members run; each joined by its credential 成员已加入")
            coordinator.await_event(lambda one: one["event"] == "stage_over", "the pilot")
            gates = self.pilot_passed(made)
            first, half = made.members[0], max(1, given.rounds // 2)
            coordinator.await_event(
                lambda one: (
                    (one["event"], one.get("stage")) == ("round_opened", "consortium")
                    and one["number"] >= half
                ),
                "half of it",
            )
            first.customers[WITHDRAWN].withdraw()
            self.say("a customer of the first member has withdrawn, by wallet 一位客户撤回同意")
            coordinator.await_event(lambda one: one["event"] == "campaign_state", "the end")
            return self.seen(made, first, gates)

    def pilot_passed(self, made: Consortium) -> list[dict[str, Any]]:
        """The first round's model is too bad for the gate, and the last one's passes."""
        given = made.rounds_that_closed()
        if not given:
            raise RuntimeError("the pilot ended, and no round of it was closed")
        named = [one["model_out"] for one in given]
        tried = [self.promoted(made, model) for model in dict.fromkeys((named[0], named[-1]))]
        if not tried[-1]["passed"]:
            why = tried[-1]["said"]
            raise RuntimeError(
                f"these rows teach too little, so the pilot's model does not pass its gate: {why} "
                "(more --customers or --rounds, or another --seed)"
            )
        return tried

    def promoted(self, made: Consortium, model: str) -> dict[str, Any]:
        """Have the board approve a model and the operator promote it; what was said of it."""
        [told] = [one for one in made.told_campaign()["models"] if one["id"] == model]
        try:
            made.promote(told["stage"], model)
            said = ""
        except RefusedError as error:
            said = error.said
        passed = "passes 通过" if not said else f"does not pass 未通过: {said}"
        of = f"{told['stage']} round {told['number']}, began with AUC {told['metrics']['auc']}"
        self.say(
            f"{of}, at least {self.gate['bound']} and {APPROVALS} approvals asked for: {passed}"
        )
        return {
            **{name: told[name] for name in ("stage", "number", "metrics")},
            "model": model,
            "gates": [self.gate],
            "approvals": APPROVALS,
            "passed": not said,
            "said": said,
        }

    def seen(
        self, made: Consortium, first: Member, gates: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """What came of it."""
        self.say("the campaign is over; models are judged 评估模型")
        rounds, models = made.rounds(), made.models()
        closed = made.rounds_that_closed()
        if not closed:
            raise RuntimeError("the campaign ended, and no round of it was closed")
        places = {member.id: place for place, member in enumerate(made.members)}
        took_part = [sorted(places[member] for member in one["receipts"]) for one in closed]
        reference = self.directory / "reference.safetensors"
        judged = json.loads(
            made.in_flower(
                *("-m", "dev.federation.data", "judge", self.given.seed, self.directory),
                *(WITHDRAWN, json.dumps(took_part), reference, *models),
            )
        )
        # A round that was open as the customer withdrew may have left the row out already.
        shown = self.evidence(made, first.customers[WITHDRAWN].consent)
        used = sum(one == "included" for one in shown.values())
        told = [] if first.program is None else first.program.events
        # Compared with the model of as many rounds that never saw the row.
        compared = (models[max(1, used) - 1], models[-1], reference)
        names = ("--before", "--after", "--reference")
        files = [f"{name}={file}" for name, file in zip(names, compared, strict=True)]
        left = json.loads(made.operate("federation", "task", "measure", *files, "--json"))
        unlearnt = self.unlearn(made, closed[-1]["model_out"], files)
        gates = [*gates, self.promoted(made, closed[-1]["model_out"])]
        made.operate("federation", "report", made.campaign, "--out", str(self.out))
        return {
            "customers": self.given.customers,
            "rounds": [
                {
                    **{name: one[name] for name in ("stage", "number", "state")},
                    "receipts": len(one["receipts"]),
                }
                for one in rounds
            ],
            "auc": {name: judged[name] for name in ("central", "federated", "alone")},
            "gates": gates,
            "promoted_after_round": sum(one["stage"] == "pilot" for one in closed),
            "withdrawn_after_round": used,
            "rows_of_the_first_member": [one["rows"] for one in told if one["event"] == "trained"],
            "evidence": shown,
            "unlearning": unlearnt,
            "residual": {
                "before": float(left["before"]),
                "after": float(left["after"]),
                "erased": left["erased"],
            },
            "seconds": round(time.monotonic() - self.began, 1),
        }

    def unlearn(self, made: Consortium, last: str, files: Sequence[str]) -> list[dict[str, Any]]:
        """Close the task that the withdrawal opened at the broker, with the last model.

        What is left of the row is measured from the weights in these files.

        Its policy is to exclude: the rounds after the withdrawal have carried it out.
        """
        made.operate("federation", "task", "search")
        asked = ("list", "--campaign", made.campaign, "--state", "open", "--json")
        for task in json.loads(made.operate("federation", "task", *asked))["tasks"]:
            self.say(f"{task['id']} is open, {len(task['tainted'])} models are tainted 遗忘任务")
            try:
                made.operate("federation", "task", "close", task["id"], "--model", last, *files)
            except RefusedError as error:
                # No round came after the withdrawal: the broker says so, and it stays open.
                self.say(str(error))
        found: list[dict[str, Any]] = made.told_campaign()["tasks"]
        return found

    def evidence(self, made: Consortium, consent: str) -> dict[str, str]:
        """In which rounds the withdrawn consent was used, as anybody verifies it."""
        file = self.directory / "evidence.json"
        trust = self.directory / "trust.json"
        asked = ("evidence", "--consent", consent, "--out", str(file))
        verified = ("verify", str(file), "--trust", str(trust), "--json")
        made.broker.run("federation", *asked)
        finished = made.broker.run("federation", *verified)
        if finished.returncode:
            raise RuntimeError(f"the evidence does not verify: {finished.stderr.strip()}")
        return {
            f"{one['stage']} {one['number']}": one["shows"]
            for one in json.loads(finished.stdout)["shown"]
        }


def gate_for(customers: int) -> Mapping[str, str]:
    """The gate of both stages, for so many customers of each member."""
    return GATE if customers >= FEW else {**GATE, "bound": BOUND_OF_FEW}


def _rollout(made: Consortium, gate: Mapping[str, str]) -> list[dict[str, Any]]:
    """A pilot of some members, then all: each stage behind the gate."""
    passed = {"gates": [gate], "approvals": APPROVALS}
    named = [one.id for one in made.members]
    stages = {"pilot": named[:PILOT], "consortium": named}
    return [{"stage": one, "members": sorted(of), **passed} for one, of in stages.items()]


def main(arguments: Sequence[str]) -> int:
    """Run it; 1 where a program did not come so far."""
    given = _parser().parse_args(arguments)
    with ExitStack() as stack:
        place = given.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fed-")))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consortium-")))
        shown = Demonstration(given, work, place)
        try:
            seen = shown.run()
        except (
            BrokerNotRunningError,
            NoFlowerError,
            RuntimeError,
            TimeoutError,
            subprocess.CalledProcessError,
        ) as error:
            print(f"demo-federation: {error}", file=sys.stderr)
            return 1
        auc = seen["auc"]
        plot = svg(
            *(auc[name] for name in ("federated", "central", "alone")),
            withdrawn_after=seen["withdrawn_after_round"],
            promoted_after=seen["promoted_after_round"],
        )
        place.mkdir(parents=True, exist_ok=True)
        (place / "auc.svg").write_text(plot)
        (place / "result.json").write_text(json.dumps(seen, indent=2))
        if given.json:
            print(json.dumps(seen))
        else:
            _print(seen, given.out)
    return 0


def _print(seen: dict[str, Any], out: Path | None) -> None:
    auc, rows = seen["auc"], seen["rows_of_the_first_member"]
    alone = ", ".join(f"{one:.3f}" for one in auc["alone"])
    print(f"AUC  together {auc['federated'][-1]:.3f}  all rows in one place {auc['central']:.3f}")
    print(f"     each member alone {alone}")
    for gate in seen["gates"]:
        passed = "passed" if gate["passed"] else f"refused: {gate['said']}"
        of = f"{gate['stage']} round {gate['number']}, began with AUC {gate['metrics']['auc']}"
        print(f"{of}: {passed}")
    print(f"rows of the first member by round: {rows}")
    print(f"the withdrawn consent by round: {seen['evidence']}")
    for task in seen["unlearning"]:
        print(
            f"unlearning task {task['id']}: {task['policy']}, {len(task['tainted'])} models "
            f"tainted; {task['state']}"
            + (f" with {task['model']}, which {task['taint']}" if task["model"] else "")
        )
    left = seen["residual"]
    print(
        "distance to a model that never saw the row: "
        f"{left['before']:.4f} at the withdrawal, {left['after']:.4f} at the end: "
        + ("nothing is left of it" if left["erased"] else "excluding it leaves some of it")
    )
    print(f"in {seen['seconds']} s" + (f", kept in {out}" if out else ""))


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{least} or more: fewer do not come to its end")
        return int(text)

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make demo-federation",
        description="Three members train together on consented rows. 联邦训练演示。",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--out", type=Path, help="keep result.json, auc.svg and report.html in this folder"
    )
    customers, rounds = _at_least(LEAST_CUSTOMERS), _at_least(LEAST_ROUNDS)
    parser.add_argument("--customers", type=customers, default=250, help="of each member (250)")
    parser.add_argument("--rounds", type=rounds, default=3, help="of each of the two stages (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the rows")
    parser.epilog = f"Each step is waited for at most {PATIENCE:.0f} s."
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
