"""`make demo-federation`: three members train together, each a process, and a customer withdraws.

A broker, customers who sign with wallets, a board, three members and a coordinator by the commands
that people use, TLS between them; in mid-run one customer withdraws, and the evidence says in
which rounds the consent was used. The broker taints the models that have learnt from the row and
opens a task; the rounds after it leave the row out, how far the last model lies from one that has
never seen it is measured, and the task is closed with both. Then what each model is worth.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from dev.federation.consortium import NAMES, Consortium, Member, NoFlowerError, consortium
from dev.federation.plot import svg
from dev.federation.programs import PATIENCE
from dev.running import BrokerNotRunningError
from federation.unlearning import Residual, residual

WITHDRAWN = 7
SHOWN = {"round_opened", "round_closed", "round_failed", "run_started", "run_ended", "run_failed"}


class Demonstration:
    """One run, told as it goes."""

    def __init__(self, given: argparse.Namespace, directory: Path, out: Path) -> None:
        self.given, self.directory, self.out = given, directory, out
        self.console = Console(stderr=True, highlight=False, quiet=given.json)
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        """A line with how long it took until now."""
        self.console.print(f"{time.monotonic() - self.began:7.1f} s  {text}")

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
            made.sign_campaign(given.rounds)
            made.settle()
            made.set_state("running")
            coordinator = made.start_coordinator()
            for member in made.members:
                made.start_member(member)
                made.admit(member)
            self.say("coordinator and members run; members are admitted 成员已接纳")
            first = made.members[0]
            half = given.rounds // 2
            coordinator.await_event(
                lambda one: one["event"] == "round_closed" and one["number"] >= half, "half of it"
            )
            made.withdraw(first, WITHDRAWN)
            self.say("a customer of the first member has withdrawn 一位客户撤回同意")
            coordinator.await_event(lambda one: one["event"] == "campaign_state", "the end")
            return self.seen(made, first)

    def seen(self, made: Consortium, first: Member) -> dict[str, Any]:
        """What came of it."""
        self.say("the campaign is over; models are judged 评估模型")
        rounds, models = made.rounds(), made.models()
        closed = [one for one in rounds if one["state"] == "closed"]
        if not closed:
            raise RuntimeError("the campaign ended, and no round of it was closed")
        judged = json.loads(
            made.in_flower(
                *("-m", "dev.federation.data", "judge", self.given.seed, self.directory),
                *(WITHDRAWN, *models),
            )
        )
        # A round that was open as the customer withdrew may have left the row out already.
        shown = self.evidence(made, first.consents[WITHDRAWN])
        used = sum(one == "included" for one in shown.values())
        told = [] if first.program is None else first.program.events
        # Compared with the model of as many rounds that never saw the row.
        before, after = (judged["models"][number - 1] for number in (max(1, used), len(closed)))
        left = residual(before, after, judged["replayed"][-1])
        unlearnt = self.unlearn(made, closed[-1]["model_out"], left)
        made.operate("federation", "report", made.campaign, "--out", str(self.out))
        return {
            "customers": self.given.customers,
            "rounds": [
                {"number": one["number"], "state": one["state"], "receipts": len(one["receipts"])}
                for one in rounds
            ],
            "auc": {name: judged[name] for name in ("central", "federated", "alone")},
            "withdrawn_after_round": used,
            "rows_of_the_first_member": [one["rows"] for one in told if one["event"] == "trained"],
            "evidence": shown,
            "unlearning": unlearnt,
            "residual": {"before": left.before, "after": left.after, "erased": left.erased},
            "seconds": round(time.monotonic() - self.began, 1),
        }

    def unlearn(self, made: Consortium, last: str, left: Residual) -> list[dict[str, Any]]:
        """Close the task that the withdrawal opened at the broker, with the last model.

        Its policy is to exclude: the rounds after the withdrawal have carried it out.
        """
        made.operate("federation", "task", "search")
        asked = ("list", "--campaign", made.campaign, "--state", "open", "--json")
        for task in json.loads(made.operate("federation", "task", *asked))["tasks"]:
            self.say(f"{task['id']} is open, {len(task['tainted'])} models are tainted 遗忘任务")
            residuals = [f"--residual-before={left.before:.9f}"]
            residuals.append(f"--residual-after={left.after:.9f}")
            try:
                made.operate("federation", "task", "close", task["id"], "--model", last, *residuals)
            except RuntimeError as error:
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
        return {str(one["number"]): one["shows"] for one in json.loads(finished.stdout)["shown"]}


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
        plot = svg(auc["federated"], auc["central"], auc["alone"], seen["withdrawn_after_round"])
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make demo-federation",
        description="Three members train together on consented rows. 联邦训练演示。",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--out", type=Path, help="keep result.json, auc.svg and report.html in this folder"
    )
    parser.add_argument("--customers", type=int, default=250, help="of each member (250)")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the rows")
    parser.epilog = f"Each step is waited for at most {PATIENCE:.0f} s."
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
