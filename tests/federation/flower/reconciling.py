"""A coordinator's turns against a broker and a SuperLink that this process plays.

Run by the environment of `make federation` for `test_reconciling.py`: prints one JSON object. What
is played keeps its state over the life of several coordinators, as the real ones do; a coordinator
ends where it is told to, at each call of a turn.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

from federation.flower import serving, up
from federation.flower.broker import BrokerRefused
from federation.flower.bundle import Bundle, make_entity_key, read_entity_key
from federation.flower.control import UNKNOWN, ControlRefused, Kept, Node, Run
from federation.flower.desk import BrokerDesk
from federation.flower.events import Events, append
from federation.flower.in_process import InProcess
from federation.flower.models import Checkpoint, CheckpointBroken, Checkpoints, model_hash
from federation.flower.places import Places, write_private
from federation.flower.round_values import Opening
from federation.flower.rounds import Rounds
from federation.flower.serving import events_file, members_file
from federation.flower.settings import CoordinatorHome
from federation.remarks import Remarks
from tests.federation.flower.training import BUNDLE, FIRST, World

CAMPAIGN = "fc-1"


class Ended(Exception):
    """Whatever ends a process."""


@dataclass
class Link:
    """A SuperLink, as far as a coordinator sees it, and a broker beside it."""

    world: World
    state: str = "running"
    last: tuple[int, str] = (0, "")
    accepted: int = 0
    closed: int | None = None
    admitted_members: set[str] = field(default_factory=lambda: {"p-0", "p-1", "p-2"})
    registered: dict[int, bytes] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    invited: set[str] = field(default_factory=set)
    offline: set[str] = field(default_factory=set)
    taking_part: list[int] = field(default_factory=list)
    started: dict[int, str] = field(default_factory=dict)
    silent: str = ""
    calls: int = 0
    end_at: int = -1
    places: Places | None = None
    paused_for: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    refuses: int = 0

    def _called(self) -> None:
        self.calls += 1
        if self.calls == self.end_at:
            raise Ended
        if self.silent == "link":
            raise ControlRefused("the SuperLink did not answer")

    # What a coordinator asks of the broker

    def get(self, path: str) -> dict[str, Any]:
        self.calls += 1
        if self.calls == self.end_at:
            raise Ended
        if self.silent == "broker":
            raise BrokerRefused(0, "no_answer")
        if path.startswith(up.CAMPAIGNS):
            asked = path.removeprefix(up.CAMPAIGNS)
            return {"campaigns": [self.told()] if self.state == asked else []}
        assert path == f"/v1/federation/campaigns/{CAMPAIGN}"
        return self.told()

    def told(self) -> dict[str, Any]:
        number, state = self.last
        self.accepted = number if state == "closed" else self.accepted
        last = {"stage": "pilot", "number": number, "state": state} if number else None
        signed = self.world
        keys = [key.public_jwk() for key in up_keys()]
        return {
            "id": CAMPAIGN,
            "state": self.state,
            "reason": self.paused_for[-1] if self.paused_for else None,
            "stage": "pilot",
            "document": json.loads(signed.document),
            "board": {"keys": keys, "threshold": 2},
            "last_round": last,
            "passed": None,
            # A broker of before spare rounds has no such thing.
            **({} if self.closed is None else {"progress": {"closed": self.closed}}),
            "last_accepted": {"number": self.accepted} if self.accepted else None,
            "members": [
                {
                    "member": name,
                    "node_public_key": f"key of {name}",
                    "receipt_key": {},
                    "state": self.state_of(name),
                }
                for name in sorted(self.world.sites)
                if name not in self.strangers
            ],
        }

    def state_of(self, name: str) -> str:
        if name in self.invited:
            return "invited"
        return "admitted" if name in self.admitted_members else "revoked"

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert path == f"/v1/federation/campaigns/{CAMPAIGN}/pause"
        if self.silent == "older":
            raise BrokerRefused(404, "not_found")
        if self.refuses:
            raise BrokerRefused(self.refuses, "rate_limited")
        self.paused_for.append(body["reason"])
        self.state = "paused"
        return self.told()

    # and of the SuperLink

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def nodes(self) -> list[Node]:
        self._called()
        return [
            Node(number, "offline" if key.decode()[7:] in self.offline else "online", key)
            for number, key in self.registered.items()
        ]

    def register(self, public_key: bytes) -> int:
        number = len(self.registered) + 1
        self.registered[number] = public_key
        self._called()
        return number

    def admit(self, nodes: Iterable[int]) -> None:
        self.taking_part = sorted(nodes)
        assert self.places is not None
        write_private(self.places.admitted, json.dumps(self.taking_part).encode())
        self._called()

    def runs(self) -> list[Run]:
        self._called()
        self.meanwhile()
        return [Run(number, status, "") for number, status in self.started.items()][::-1][:20]

    def run(self, run: int) -> Run:
        self._called()
        return Run(run, self.started.get(run, UNKNOWN), "")

    def put(self, bundle: Bundle) -> Kept:
        assert bundle.signatures
        self._called()
        return Kept("@churn", bundle.hash)

    def start(self, kept: Kept, config: Mapping[str, str]) -> int:
        assert config == {"campaign": CAMPAIGN}
        number = len(self.started) + 100
        self.started[number] = "running"
        self._called()
        return number

    def stop(self, run: int) -> None:
        self.started[run] = "stopped"
        self._called()

    def running(self) -> list[int]:
        return [number for number, status in self.started.items() if status == "running"]


def up_keys() -> Any:  # noqa: ANN401 (keys)
    from tests.federation.world import BOARD_KEYS  # noqa: PLC0415

    return BOARD_KEYS


# However slow the machine: a pause is over when `at_once` says so.
CLOCK = SimpleNamespace(now=1_000.0)
vars(up).update(time=SimpleNamespace(monotonic=lambda: CLOCK.now))


class Coordinators:
    """Coordinators one after the other, over one directory, SuperLink and broker."""

    def __init__(self, *, signed: bool = True, **changes: object) -> None:
        self.link = Link(World(3, 3, {"minimum_members": 2, **changes}, method="fedavg"))
        directory = Path(tempfile.mkdtemp(dir=sys.argv[1]))
        (directory / "bundles").mkdir()
        (directory / "c.toml").write_text(
            'broker = "https://b.example"\ncoordinator = "co-1"\nclient_key = "k"\n'
            'bundles = "bundles"\nself_signed = "localhost"\n'
        )
        self.home = CoordinatorHome.read(directory / "c.toml")
        self.link.places = Places.open(self.home.link)
        private, _ = make_entity_key()
        bundle = BUNDLE.signed_by(read_entity_key(private), "board", 1) if signed else BUNDLE
        bundle.write(directory / "bundles" / "application.fab")
        self.output = StringIO()
        self.begin()

    def begin(self) -> None:
        events = Events(as_json=True, output=self.output)
        self.now = up.Reconciler(self.home, self.link, events, lambda: self.link)  # type: ignore[arg-type,return-value]

    def turns(self, count: int = 1) -> None:
        for _ in range(count):
            self.now.turn()

    def at_once(self) -> None:
        """Let the pause after a run be over."""
        for tried in self.now.tried.values():
            tried.not_before = 0.0

    def said(self, *names: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [one for one in found if not names or one["event"] in names]

    def names(self) -> list[str]:
        return [one["event"] for one in self.said()]


def usual() -> dict[str, Any]:
    """A campaign from its first turn to the end of its stage, with a run that failed in it."""
    made = Coordinators()
    link = made.link
    link.offline = {"p-1", "p-2"}
    made.turns(2)
    waiting = made.said("waiting_for_members")
    # Two are enough, and the third is waited for.
    link.offline = {"p-2"}
    made.turns(2)
    early = link.running()
    link.offline = set()
    made.turns(3)
    first = link.running()
    members = json.loads(members_file(made.home.campaign(CAMPAIGN)).read_bytes())
    append(events_file(made.home.campaign(CAMPAIGN)), "round_opened", stage="pilot", number=1)
    link.started[first[0]], link.last = "failed", (1, "failed")
    made.turns(2)
    pausing = link.running()
    made.at_once()
    made.turns()
    second = link.running()
    link.started[second[0]], link.last = "completed", (3, "closed")
    made.turns(3)
    return {
        "waiting": [(one["online"], one["missing"]) for one in waiting],
        "runs": [early, len(first), pausing, len(second), link.running()],
        "members": sorted(members),
        "taking_part": link.taking_part,
        "events": made.names(),
    }


def spare() -> dict[str, Any]:
    """A stage of three rounds and two spare ones goes on until three gave a model, or none is left.

    What comes of the last number is failed, and closed; another time the fourth one is enough.
    """
    found: dict[str, Any] = {}
    for name, ends in (
        ("in time", [(2, 1, "failed"), (3, 2, "closed"), (4, 3, "closed")]),
        ("at last", [(3, 1, "failed"), (4, 2, "closed"), (5, 3, "closed")]),
        ("used up", [(3, 1, "failed"), (4, 2, "closed"), (5, 2, "failed")]),
        ("for nothing", [(4, 0, "failed"), (5, 0, "failed")]),
    ):
        made = Coordinators(spare_rounds=2)
        link, went_on = made.link, []
        link.closed = 0
        made.turns(2)
        for number, closed, state in ends:
            went_on.append(len(link.running()))
            for run in link.running():
                link.started[run] = "failed"
            link.last, link.closed = (number, state), closed
            made.turns()
            made.at_once()
            made.turns()
        [over] = made.said("stage_over")
        hint = "promote" if over["hint"] == up.PROMOTE else "nothing"
        found[name] = [went_on, link.running(), over["closed"], over["rounds"], hint]
    return found


def others_waited_for() -> dict[str, Any]:
    """Enough are online; the others, who have yet to be admitted, are waited for a while."""
    made = Coordinators()
    link, found = made.link, {}
    for name in ("strangers", "invited", "offline"):
        getattr(link, name).add("p-2")
        made.turns(2)
        found[name] = len(link.running())
        getattr(link, name).clear()
    # Fewer than it takes meanwhile: then it is waited for anew.
    CLOCK.now += made.home.grace
    link.offline = {"p-1", "p-2"}
    made.turns()
    link.offline = {"p-2"}
    made.turns()
    found["anew"] = len(link.running())
    CLOCK.now += made.home.grace
    made.turns()
    found["not for ever"] = len(link.running())
    # Now enough, now too few: not for ever either.
    made, turns = Coordinators(), 0
    while not made.link.running() and turns < 99:
        CLOCK.now += made.home.grace / 2
        turns += 1
        made.link.offline = {"p-1", "p-2"} if turns % 2 else {"p-2"}
        made.turns()
    found["comes and goes"] = len(made.link.running())
    made = Coordinators()
    made.link.admitted_members.discard("p-2")
    made.turns(2)
    return found | {"revoked": len(made.link.running())}


def ended_at_each_call() -> dict[str, Any]:
    """A coordinator that ends at its first call, the second one, and so on: one run, no more."""
    found = []
    for end_at in range(1, 12):
        made = Coordinators()
        made.link.end_at = end_at
        with suppress(Ended):
            made.turns(3)
        made.link.end_at = -1
        made.begin()
        made.turns(3)
        found.append(len(made.link.running()))
    return {"running": found}


def membership() -> dict[str, Any]:
    """A member is revoked, another time nobody answers, and the campaign is paused and stopped."""
    made = Coordinators()
    link = made.link
    made.turns(2)
    link.admitted_members.discard("p-1")
    made.turns()
    without = list(link.taking_part)
    for silent in ("broker", "link"):
        link.silent = silent
        made.turns(3)
    link.silent = ""
    link.state = "paused"
    made.turns(2)
    paused = len(link.running()), list(link.taking_part)
    link.state = "stopped"
    made.turns(2)
    return {
        "without": without,
        "paused": paused,
        "stopped": list(link.started.values()),
        "events": made.names(),
    }


def in_vain() -> dict[str, Any]:
    """Runs that give no accepted round, over the life of several coordinators; then one that does.

    Started again by somebody, it is tried as often once more; with an older broker for ever.
    """
    made = Coordinators()
    link = made.link

    def fail(count: int) -> None:
        for _ in range(count):
            [run] = link.running()
            link.started[run], link.last = "failed", (1, "failed")
            made.turns()
            made.at_once()
            made.turns()

    made.turns(2)
    fail(made.home.attempts - 2)
    # Another process goes on counting, and one accepted round begins anew.
    made.begin()
    fail(1)
    [run] = link.running()
    link.started[run], link.last = "failed", (2, "closed")
    made.turns(2)
    made.at_once()
    made.turns()
    first = list(link.paused_for)
    fail(made.home.attempts)
    paused, runs = list(link.paused_for), len(link.started)
    made.turns(3)
    link.state = "running"
    made.turns(2)
    again = len(link.running())
    link.silent = "older"
    fail(made.home.attempts + 1)
    return {
        "first": first,
        "paused": paused,
        "then": len(link.started) - runs,
        "again": again,
        "older": [len(link.paused_for), len(link.running())],
        "said": [
            [one["event"], one.get("reason")]
            for one in made.said("campaign_paused", "campaign_state")
        ],
    }


def busy() -> dict[str, Any]:
    """More runs than a page lists are newer than the campaign's own; it is known, and stopped."""
    made = Coordinators()
    link = made.link
    made.turns(2)
    [own] = link.running()
    link.started |= dict.fromkeys(range(200, 230), "completed")
    made.turns(3)
    kept = link.running() == [own]
    made.begin()
    link.state = "stopped"
    made.turns(2)
    stopped = link.started[own]
    # One of which the SuperLink knows nothing any more is over, and waits like another.
    link.state = "running"
    link.started.pop(own)
    made.begin()
    made.turns()
    waits = link.running()
    made.at_once()
    made.turns()
    return {"kept": kept, "stopped": stopped, "then": [len(waits), len(link.running())]}


def closed_in_between() -> dict[str, Any]:
    """A run that closes a round and ends once the campaigns were listed has got on."""
    made = Coordinators()
    link = made.link
    made.turns(2)
    [run] = link.running()

    def ends() -> None:
        link.started[run], link.last = "failed", (1, "closed")

    link.meanwhile = ends
    made.turns()
    return {"in_vain": made.now.tried[CAMPAIGN].in_vain}


def not_paused() -> dict[str, Any]:
    """A broker that refuses to pause: it is said, the others go on, and nothing is started."""
    made = Coordinators()
    link = made.link
    made.turns(2)
    link.refuses = 429
    made.now.tried[CAMPAIGN].in_vain = made.home.attempts
    [run] = link.running()
    link.started[run] = "failed"
    made.at_once()
    made.turns(3)
    found = {"running": len(link.running()), "said": made.names()[-2:]}
    link.refuses = 0
    made.turns()
    return found | {"paused": link.paused_for}


def spent() -> dict[str, Any]:
    """A run whose campaign affords no further round ends as it should, with the last model."""
    made = Coordinators()
    found: list[object] = []
    for told in ("privacy_budget_spent", "state_conflict"):
        grid, context = InProcess({}), SimpleNamespace(run_config={"campaign": CAMPAIGN})
        with (
            patch.dict(os.environ, {serving.NAMED: str(made.home.file)}),
            patch.object(serving, "client_of", lambda _: made.link),
            patch.object(Rounds, "go_on", side_effect=BrokerRefused(409, told)),
        ):
            try:
                found.append(serving.run_stage(grid, context, FIRST) is FIRST)
            except BrokerRefused as error:
                found.append(error.told)
    file = events_file(made.home.campaign(CAMPAIGN))
    events = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    return {"ended": found, "events": events}


def remarks_to_an_older_broker() -> dict[str, Any]:
    """One that knows no remarks gets the rest; one that refuses the rest is heard."""
    sent: list[list[str]] = []

    def post(_path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        sent.append(sorted(body))
        if body["code"] == "refused":
            raise BrokerRefused(409, "state_conflict")
        if "left_out" in body:
            raise BrokerRefused(400, "invalid_request")
        return {}

    desk = BrokerDesk(SimpleNamespace(post=post), CAMPAIGN)  # type: ignore[arg-type]
    remarks = Remarks({"p-0": "no_answer"})
    desk.fail("pilot", 1, "few", remarks)
    desk.fail("pilot", 1, "few", Remarks())
    try:
        desk.fail("pilot", 1, "refused", remarks)
    except BrokerRefused as error:
        return {"sent": sent, "heard": error.told}
    return {"sent": sent}


def unsigned() -> dict[str, Any]:
    """Without a signed bundle nothing is started; what is missing is said once."""
    made = Coordinators(signed=False)
    made.turns(3)
    return {"runs": made.link.started, "said": len(made.said("bundle_missing"))}


def first_models() -> dict[str, Any]:
    """What a run begins with is read while nothing is kept alone; that it is gone is told."""
    made = Coordinators()
    home = replace(made.home, begins={CAMPAIGN: "A" * 43})
    checkpoints = Checkpoints(home.models, made.link.world.signed.campaign_hash)
    begun: list[dict[str, Any]] = []

    def run() -> str:
        grid, context = InProcess({}), SimpleNamespace(run_config={"campaign": CAMPAIGN})
        with (
            patch.dict(os.environ, {serving.NAMED: str(home.file)}),
            patch.object(CoordinatorHome, "read", lambda _: home),
            patch.object(serving, "client_of", lambda _: made.link),
            patch.object(Rounds, "go_on", lambda _, __, first: begun.append(first)),
        ):
            try:
                serving.run_stage(grid, context, FIRST)
            except CheckpointBroken as error:
                return error.code
        return ""

    gone = run()
    told = [
        json.loads(line) for line in events_file(home.campaign(CAMPAIGN)).read_text().splitlines()
    ]
    checkpoint = Checkpoint(
        campaign=made.link.world.signed.campaign_hash,
        stage="pilot",
        number=1,
        model_in=model_hash(FIRST),
        model_out=model_hash(FIRST),
        members=("p-0", "p-1"),
        metrics={},
        epsilon=None,
    )
    checkpoints.keep(checkpoint, FIRST)
    return {
        "gone": gone,
        "told": [(one["event"], one["code"]) for one in told],
        "then": [run(), len(begun)],
    }


def strangers_to_the_stage() -> dict[str, Any]:
    """A round waits for the node of an admitted member of its own stage, and for nobody else's."""
    made = Coordinators()
    slept: list[float] = []
    directory = made.home.campaign(CAMPAIGN)
    directory.mkdir(parents=True)
    write_private(members_file(directory), b'{"p-0": {"node": 1, "receipt_key": {}}}')
    desk = serving._Desk(made.link, CAMPAIGN, directory)  # type: ignore[arg-type] # noqa: SLF001
    clock = SimpleNamespace(monotonic=lambda: float(len(slept)), sleep=slept.append)
    opened = patch.object(BrokerDesk, "open", lambda *_: Opening(1, ("p-0",)))
    found = {}
    with patch.object(serving, "time", clock), opened:
        for name, members in (("own", {"p-0", "p-1"}), ("others", {"p-0"})):
            desk.rollout = {"pilot": frozenset(members)}
            desk.open("pilot", 1, "m")
            found[name] = bool(slept)
            slept.clear()
    return {"waits": found}


if __name__ == "__main__":
    parts = (
        *(usual, others_waited_for, ended_at_each_call, membership, unsigned),
        *(first_models, strangers_to_the_stage, in_vain, spent, remarks_to_an_older_broker),
        *(busy, closed_in_between, not_paused, spare),
    )
    sys.stdout.write(json.dumps({part.__name__: part() for part in parts}))
