"""Whole rounds with Flower's strategies and ClientApps in one process, and what goes wrong in them.

Run by the environment of `make federation`: prints one JSON object for `test_training.py`.
"""

import hashlib
import io
import json
import sys
import tempfile
import tracemalloc
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from credentials.jws import Signer
from credentials.keys import SoftwareKey
from federation.board import (
    Board,
    PassedStage,
    SignedCampaign,
    read_signed_campaign,
    sign_campaign,
    signed_campaign,
)
from federation.campaign import Campaign, bundle_hash
from federation.consents import ConsentCache, ConsentIssuer
from federation.errors import FederationError
from federation.flower.bundle import Bundle
from federation.flower.distances import AT_ONCE, distances
from federation.flower.in_process import InProcess, Node, node_of
from federation.flower.member import Task, Trained, answer, check_running
from federation.flower.models import Checkpoint, Checkpoints, Model, model_hash, to_record
from federation.flower.replies import Due, fault_of
from federation.flower.round_values import (
    HandedOn,
    LastRound,
    Opening,
    RoundFailed,
    RoundNotClosed,
)
from federation.flower.rounds import Rounds
from federation.flower.run_settings import Settings
from federation.flower.strategy import ARRAYS, shortened
from federation.guard import Before
from federation.opening import Round
from federation.presence import CampaignSalt, RoundKey, leaf_of, read_leaves
from federation.remarks import Remarks
from tests.federation.world import (
    BOARD,
    BOARD_KEYS,
    ISSUER,
    NOW,
    SALT,
    VCT,
    Broker,
    aggregation,
)

APPLICATION = Path(__file__).parent / "application"
BUNDLE = Bundle.build(APPLICATION)
ROWS = 24
FIRST: Model = {"weights": np.zeros(3), "bias": np.zeros(1)}
KEYS = {name: SoftwareKey.generate() for name in (f"p-{number}" for number in range(6))}
BROKER = Broker()
CONSENTS: dict[tuple[str, int], str] = {}


class Ended(Exception):
    """Whatever ends a process."""


@dataclass
class Clock:
    now: int = NOW


def number_of(member: str, row: int) -> int:
    return int(member[2:]) * 100 + row


def consent(member: str, row: int) -> str:
    number = number_of(member, row)
    if (member, row) not in CONSENTS:
        CONSENTS[member, row] = BROKER.consent(number, recipients=[member])
    return CONSENTS[member, row]


@dataclass
class Site:
    """A member with rows of one hidden rule, shifted a little."""

    member: str
    salt: CampaignSalt
    clock: Clock
    board: Board = BOARD
    notes: list[Mapping[str, int]] = field(default_factory=list)
    trained_on: list[int] = field(default_factory=list)
    late: int = 0
    held: bytes = BUNDLE.content
    kept: Before | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        self.cache = ConsentCache(ConsentIssuer((BROKER.root,), ISSUER, VCT))
        self.signer: Signer = KEYS[self.member]
        draw = np.random.default_rng(int(self.member[2:]))
        self.inputs = draw.normal(size=(ROWS, 3))
        self.labels = (self.inputs @ np.array([2.0, -1.0, 0.5]) > 0).astype(float)

    def now(self) -> int:
        return self.clock.now

    def bundle(self) -> bytes:
        return self.held

    def passed(self, signed: SignedCampaign) -> PassedStage | None:
        return None

    def consents(self) -> Sequence[str]:
        return [consent(self.member, row) for row in range(ROWS)]

    def lists(self, opened_at: int, addresses: Sequence[str]) -> Mapping[str, str]:
        return {one: BROKER.status_token(now=opened_at - self.late, uri=one) for one in addresses}

    def before(self, signed: SignedCampaign) -> Before:
        return self.kept or Before.first(signed, self.member)

    def keep(self, before: Before) -> None:
        self.kept = before

    def note(self, left_out: Mapping[str, int]) -> None:
        self.notes.append(dict(left_out))

    def round_key(self, opened: Round) -> RoundKey:
        return self.salt.key(opened.stage, opened.number, opened.member)

    def train(self, task: Task, rows: Sequence[int]) -> Trained:
        self.trained_on.append(len(rows))
        begun = task.model
        mu = float(task.campaign.aggregation.mu or 0)
        weights, bias = begun["weights"].copy(), begun["bias"].copy()
        inputs, labels = self.inputs[list(rows)], self.labels[list(rows)]
        for _ in range(20):
            error = 1 / (1 + np.exp(-(inputs @ weights + bias))) - labels
            weights -= 0.5 * (inputs.T @ error / len(rows) + mu * (weights - begun["weights"]))
            bias -= 0.5 * (error.mean() + mu * (bias - begun["bias"]))
        right = ((inputs @ weights + bias > 0) == (labels > 0)).mean()
        model = {"weights": weights * self.scale, "bias": bias * self.scale}
        return Trained(model, {"accuracy": float(right)})


@dataclass
class Desk:
    """A broker that remembers what it was told, and ends a process where it is asked to."""

    clock: Clock
    members: tuple[str, ...]
    said: list[str] = field(default_factory=list)
    leaves: dict[tuple[int, str], bytes] = field(default_factory=dict)
    taken: dict[tuple[int, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    remarks: list[Remarks] = field(default_factory=list)
    state: tuple[str, int, str] | None = None
    closed: Counter[str] = field(default_factory=Counter)
    end_at: str = ""
    refuse: str = ""
    never_close: int = 0

    def _say(self, what: str) -> None:
        self._end(what)
        self.said.append(what)

    def _end(self, what: str) -> None:
        if self.end_at == what:
            self.end_at = ""
            raise Ended

    def last(self) -> LastRound | None:
        if self.state is None:
            return None
        return LastRound(*self.state, self.closed[self.state[0]])

    def open(self, stage: str, number: int, model_in: str) -> Opening:
        self.clock.now += 60
        self._say(f"open {number}")
        self.state = (stage, number, "open")
        return Opening(self.clock.now, self.members)

    def receipts(self, stage: str, number: int, given: Mapping[str, HandedOn]) -> dict[str, str]:
        for member, one in given.items():
            if member == self.refuse:
                continue
            self._end(f"receipt {number} {member}")
            self.leaves[number, member] = one.leaves
            self.taken[number, member].add(one.token)
            self._end(f"received {number} {member}")
        return {one: "member_revoked" for one in given if one == self.refuse}

    def close(self, checkpoint: Checkpoint) -> None:
        if checkpoint.number == self.never_close:
            self._say(f"refuse {checkpoint.number}")
            raise RoundNotClosed("state_conflict")
        self._say(f"close {checkpoint.number}")
        self.remarks.append(Remarks(checkpoint.left_out, checkpoint.notices))
        self.closed[checkpoint.stage] += 1
        self.state = (checkpoint.stage, checkpoint.number, "closed")
        self._end(f"after {checkpoint.number}")

    def fail(self, stage: str, number: int, code: str, remarks: Remarks) -> None:
        self._say(f"fail {number} {code}")
        self.remarks.append(remarks)
        self.state = (stage, number, "failed")


class World:
    """A signed campaign, its members in this process, a desk and a directory."""

    def __init__(
        self,
        members: int = 3,
        rounds: int = 3,
        changes: Mapping[str, object] | None = None,
        **method: Any,  # noqa: ANN401
    ) -> None:
        names = tuple(KEYS)[:members]
        document = aggregation(**method) | {
            "members": list(names),
            "bundle_hash": bundle_hash(BUNDLE.content),
            "privacy": None,
            "rounds": rounds,
            "minimum_members": 5 if {"byzantine", "trim"} & method.keys() else 3,
            "rollout": [
                {"stage": "pilot", "members": list(names), "gates": [], "approvals": 1},
                {"stage": "consortium", "members": list(names), "gates": [], "approvals": 1},
            ],
        }
        document |= changes or {}
        campaign = Campaign.from_json(document)
        signatures = [sign_campaign(key, campaign) for key in BOARD_KEYS[:2]]
        self.document = json.dumps(signed_campaign(campaign, signatures)).encode()
        self.signed = read_signed_campaign(self.document, BOARD)
        self.clock = Clock()
        self.desk = Desk(self.clock, names)
        salt = CampaignSalt(self.signed, SALT)
        self.sites = {name: self.site(name, salt) for name in names}
        self.directory = Path(tempfile.mkdtemp(dir=sys.argv[1]))
        self.changed: dict[str, Callable[[Message], Message]] = {}
        self.settings: dict[str, Settings] = {}

    def site(self, name: str, salt: CampaignSalt) -> Site:
        return Site(name, salt, self.clock)

    def node(self, name: str) -> Node:
        application = ClientApp()

        @application.train()
        def train(message: Message, context: Context) -> Message:
            reply = answer(message, self.sites[name], context)
            return self.changed.get(name, lambda same: same)(reply)

        return node_of(application, int(name[2:]) + 1, {}, self.settings.get(name))

    def rounds(self, stage: str = "pilot") -> Rounds:
        return Rounds(
            self.signed,
            self.document,
            stage,
            self.desk,
            Checkpoints(self.directory, self.signed.campaign_hash),
            {name: int(name[2:]) + 1 for name in self.sites},
            {name: KEYS[name].public_jwk() for name in self.sites},
        )

    def run(self, stage: str = "pilot") -> tuple[Model, Rounds]:
        rounds = self.rounds(stage)
        nodes = {int(name[2:]) + 1: self.node(name) for name in self.sites}
        return rounds.go_on(InProcess(nodes), FIRST), rounds


def withdrawn_and_resumed() -> dict[str, Any]:
    world = World(method="fedavg", rounds=4)
    world.desk.end_at = "open 3"
    with suppress(Ended):
        world.run()
    half = world.rounds().checkpoints.last()
    gone = number_of("p-0", 7)
    BROKER.statuses.set(gone, 1)
    model, rounds = world.run()
    BROKER.statuses.set(gone, 0)
    key = {number: world.sites["p-0"].salt.key("pilot", number, "p-0") for number in (2, 3)}
    there = {
        number: leaf_of(key[number], f"c-{gone:020}")
        in read_leaves(world.desk.leaves[number, "p-0"])
        for number in key
    }
    last = rounds.checkpoints.last()
    file = world.directory / world.signed.campaign_hash / "pilot-000004.safetensors"
    return {
        "said": world.desk.said,
        "kept_half": half and half.number,
        "rows": world.sites["p-0"].trained_on,
        "notes": world.sites["p-0"].notes[2:],
        "in_the_leaves": there,
        "resumed_from": half is not None and half.model_out == rounds.told[0].checkpoint.model_in,
        "model_is_the_file": last is not None
        and last.model_out == model_hash(model)
        and bundle_hash(file.read_bytes()) == last.model_out,
        "learnt": float(rounds.told[-1].checkpoint.metrics["accuracy"]) > 0.9,
    }


def ended_before_closing() -> dict[str, Any]:
    """One process ends when its model is kept and not told; another in the middle of a round."""
    closing, opening = World(method="fedavg", rounds=2), World(method="fedavg", rounds=3)
    closing.desk.end_at = "close 1"
    opening.changed["p-1"] = _ends_once()
    for world in (closing, opening):
        try:
            world.run()
        except Ended:
            world.run()
    return {"closing": closing.desk.said, "opening": opening.desk.said}


def ended_at_each_step() -> dict[str, Any]:
    """A coordinator that ends at each step of a round, another time a member that does.

    The next one ends the campaign: as many models as were asked for, a spare round in the place of
    the one that was lost, and for each that gave one, one receipt of each member.
    """
    steps = ["open 2", "close 2", "after 2"]
    steps += [f"{verb} 2 p-{number}" for verb in ("receipt", "received") for number in range(3)]
    found = {}
    for step in [*steps, "member"]:
        world = World(3, 3, {"spare_rounds": 1}, method="fedavg")
        world.desk.end_at = step
        if step == "member":
            world.changed["p-1"] = _ends_once()
        with suppress(Ended):
            world.run()
        world.run()
        closed = [int(one.split()[1]) for one in world.desk.said if one.startswith("close")]
        ours = {key: len(told) for key, told in world.desk.taken.items() if key[0] in closed}
        found[step] = [
            world.desk.said[-1],
            len(closed),
            sorted(ours) == [(number, name) for number in closed for name in world.sites],
            set(ours.values()) == {1},
        ]
    return found


def hostile() -> dict[str, Any]:
    """A coordinator that says of each round that it failed, to have more updates of a member.

    It goes on beyond what was signed, begins anew with other models, and asks for the other stage.
    """
    world = World(3, 2, {"spare_rounds": 2}, method="fedavg")
    nodes = InProcess({int(name[2:]) + 1: world.node(name) for name in world.sites})
    answers: list[str] = []
    for number in (*range(1, 8), *range(1, 5)):
        rounds = world.rounds()
        with suppress(RoundFailed):
            world.desk.refuse = "p-1"  # too few are left
            rounds._round(nodes, number, {**FIRST, "bias": np.full(1, float(number))}, 1)  # noqa: SLF001
        answers.append(world.desk.remarks[-1].left_out.get("p-0", "trained"))
    return {"trained": [len(one.trained_on) for one in world.sites.values()], "answers": answers}


def _ends_once() -> Callable[[Message], Message]:
    left = [Ended()]

    def change(reply: Message) -> Message:
        if left:
            raise left.pop()
        return reply

    return change


def left_out() -> dict[str, Any]:
    """Each way in which one of four members' replies counts for nothing."""
    found = {}
    for name, change in CHEATS.items():
        world = World(4, 1, method="fedavg")
        world.changed["p-3"] = change
        _, rounds = world.run()
        found[name] = rounds.told[0].left_out
    world = World(4, 1, method="fedavg")
    world.desk.refuse = "p-3"
    found["refused by the broker"] = world.run()[1].told[0].left_out
    for name, change_site in FAULTS.items():
        world = World(4, 1, method="fedavg")
        change_site(world.sites["p-3"])
        found[name] = world.run()[1].told[0].left_out
    return found


def _with(name: str, record: Callable[[Message], Any]) -> Callable[[Message], Message]:
    def change(reply: Message) -> Message:
        reply.content[name] = record(reply)
        return reply

    return change


def _arrays(**changed: Any) -> Callable[[Message], Message]:  # noqa: ANN401
    def record(reply: Message) -> ArrayRecord:
        model = {name: array.numpy() for name, array in reply.content["arrays"].items()}
        return to_record(model | changed)

    return _with("arrays", record)


def _forged(reply: Message) -> ConfigRecord:
    shown = reply.content["receipt"]
    head, body, signature = str(shown["token"]).split(".")
    return ConfigRecord({"token": f"{head}.{body}.{signature[::-1]}", "leaves": shown["leaves"]})


def _fewer_leaves(reply: Message) -> ConfigRecord:
    shown = reply.content["receipt"]
    return ConfigRecord({"token": shown["token"], "leaves": shown["leaves"][:-32]})


def _metrics(**told: float) -> Callable[[Message], Message]:
    return _with("metrics", lambda _: MetricRecord({"num-examples": 64, **told}))


def _header(text: str) -> Callable[[Message], Message]:
    """A tensor whose header says this, in NumPy's form of a file."""

    def record(reply: Message) -> ArrayRecord:
        data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin-1")
        bias = Array(dtype="float64", shape=(1,), stype="numpy.ndarray", data=data)
        return ArrayRecord({"bias": bias, "weights": reply.content["arrays"]["weights"]})

    return _with("arrays", record)


def _archive() -> ArrayRecord:
    written = io.BytesIO()
    np.savez(written, bias=np.ones(1))
    data = written.getvalue()
    return ArrayRecord({"bias": Array(dtype="a", shape=(1,), stype="numpy.ndarray", data=data)})


def _shape(shape: str) -> Callable[[Message], Message]:
    return _header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape},)}}\n")


CHEATS: dict[str, Callable[[Message], Message]] = {
    "another model than in the receipt": _arrays(bias=np.ones(1)),
    "no numbers": _arrays(bias=np.array([np.nan])),
    "another shape": _arrays(bias=np.ones(2)),
    "another tensor": _arrays(more=np.ones(2)),
    "a forged receipt": _with("receipt", _forged),
    "leaves left away": _with("receipt", _fewer_leaves),
    "the weight of more rows": _with(
        "metrics", lambda _: MetricRecord({"accuracy": 1.0, "num-examples": 128})
    ),
    "an infinite metric": _with(
        "metrics", lambda _: MetricRecord({"accuracy": float("inf"), "num-examples": 64})
    ),
    "the weight of its very rows": _metrics(**{"num-examples": ROWS}),
    "a metric of its own": _with(
        "metrics", lambda _: MetricRecord({"mine": 1.0, "num-examples": 64})
    ),
    "a record of another kind": _with("arrays", lambda _: MetricRecord({"weights": 1.0})),
    "a receipt of another kind": _with("receipt", lambda _: ConfigRecord({"token": 1})),
    "a header cut short": _header("{'descr': ("),
    "a header too deep": _header("-" * 9000),
    "a header of nothing": _header("{'descr': (), 'fortran_order': False, 'shape': (1,)}\n"),
    "more numbers than there is room": _shape(str(10**13)),
    "more numbers than can be counted": _shape(str(10**21)),
    "an archive": _with("arrays", lambda _: _archive()),
    "a metric beyond all": _metrics(accuracy=1e300),
    "a metric with a space": _metrics(**{"of mine": 1.0}),
    "a hundred metrics": _metrics(**{f"m{number}": 1.0 for number in range(100)}),
    "no receipt": lambda reply: (reply.content.pop("receipt"), reply)[1],
}

FAULTS: dict[str, Callable[[Site], None]] = {
    "another bundle": lambda site: setattr(site, "held", BUNDLE.content + b"\0"),
    "a board that did not sign": lambda site: setattr(
        site, "board", Board.of([key.public_jwk() for key in BOARD_KEYS[1:]], 2)
    ),
    "lists of before the round": lambda site: setattr(site, "late", 1),
    "a key that is not registered": lambda site: setattr(site, "signer", SoftwareKey.generate()),
}


def failed() -> dict[str, Any]:
    """A round of which too few are left, and the next run, which uses the next number."""
    world = World(3, 2, method="fedavg")
    world.sites["p-2"].late = 1
    why: Mapping[str, str] = {}
    try:
        world.run()
    except RoundFailed as error:
        why = error.left_out
    world.sites["p-2"].late = 0
    world.run()
    remarked = [one.left_out for one in world.desk.remarks]
    return {"why": why, "said": world.desk.said, "remarked": remarked}


def not_closed() -> dict[str, Any]:
    """A model that the broker refuses, at closing or by the next process: its round is given up.

    Then a round that was given up at the broker when its model was kept; and an update whose sum
    with the others' is infinite.
    """
    refused, restarted, given_up = (World(3, 2, method="fedavg") for _ in range(3))
    refused.desk.never_close = restarted.desk.never_close = 1
    with suppress(RoundNotClosed):
        refused.run()
    kept = refused.rounds().checkpoints.last()
    _, rounds = refused.run()
    restarted.desk.end_at = "refuse 1"
    given_up.desk.end_at = "close 1"
    for world in (restarted, given_up):
        with suppress(Ended):
            world.run()
    given_up.desk.fail("pilot", 1, "stopped", Remarks())
    began = [world.run()[1].told[0].checkpoint.model_in for world in (restarted, given_up)]
    vast = World(5, 1, method="trimmed_mean", trim="0.2")
    trained = Trained({"weights": np.full(3, 1e308), "bias": np.ones(1)}, {"accuracy": 0.5})
    for site in vast.sites.values():
        setattr(site, "train", lambda task, rows: trained)  # noqa: B010 (of one member alone)
    why: Mapping[str, str] = {}
    try:
        vast.run()
    except RoundFailed as error:
        why = error.left_out
    return {
        "said": [world.desk.said for world in (refused, restarted, given_up, vast)],
        "kept": kept,
        "began_with_the_first": [
            one == model_hash(FIRST) for one in (rounds.told[0].checkpoint.model_in, *began)
        ],
        "why": why,
    }


def without_node() -> dict[str, Any]:
    """A member who was admitted since the process began, beside enough others and too few."""
    enough, few = World(4, 1, method="fedavg"), World(3, 1, method="fedavg")
    told: list[Mapping[str, str]] = []
    for world, name in ((enough, "p-3"), (few, "p-2")):
        del world.sites[name]
        try:
            told.append(world.run()[1].told[0].left_out)
        except RoundFailed as error:
            told.append(error.left_out)
    return {"left_out": told, "said": [enough.desk.said, few.desk.said]}


@dataclass
class LinedSite(Site):
    """A member that says of which business line each row is: every third one of retail."""

    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def business_lines(self) -> Sequence[str]:
        return ["credit" if row % 3 else "retail" for row in range(ROWS)]

    def train(self, task: Task, rows: Sequence[int]) -> Trained:
        self.asked.append((task.stage, task.business_line))
        return super().train(task, rows)


class OfLine(World):
    def site(self, name: str, salt: CampaignSalt) -> Site:
        """Of four members one says nothing of lines."""
        return (Site if name == "p-3" else LinedSite)(name, salt, self.clock)


def of_one_line() -> dict[str, Any]:
    """A pilot on one business line: a member that says which rows are of it trains on these."""
    names = list(KEYS)[:4]
    stages = [
        {"stage": "pilot", "business_line": "retail"},
        {"stage": "consortium"},
    ]
    whole = [{**one, "members": names, "gates": [], "approvals": 1} for one in stages]
    world = OfLine(4, 1, {"rollout": whole}, method="fedavg")
    _, rounds = world.run()
    site = world.sites["p-0"]
    return {
        "left_out": rounds.told[0].left_out,
        "rows": site.trained_on,
        "noted": site.notes,
        "asked": site.asked if isinstance(site, LinedSite) else None,
    }


HOSTILE: dict[str, dict[str, Any]] = {
    "fedavg": {"method": "fedavg"},
    "fedprox": {"method": "fedprox", "mu": "0.01"},
    "fedavg_clipped": {"method": "fedavg", "server_clip": "1"},
    "fedprox_clipped": {"method": "fedprox", "mu": "0.01", "server_clip": "1"},
    "krum": {"method": "krum", "byzantine": 1},
    "trimmed_mean": {"method": "trimmed_mean", "trim": "0.2"},
}


def accuracy(model: Model) -> float:
    """How many of 4,000 rows that nobody has a model is right about."""
    inputs = np.random.default_rng(99).normal(size=(4_000, 3))
    labels = inputs @ np.array([2.0, -1.0, 0.5]) > 0
    return float(((inputs @ model["weights"] + model["bias"] > 0) == labels).mean())


def poisoned() -> dict[str, Any]:
    """What three rounds give without and with a member whose update points away, 50 times as far.

    All but keys is seeded: the figures are the same in each run.
    """
    found: dict[str, Any] = {}
    noticed: dict[str, Any] = {}
    for name, method in HOSTILE.items():
        honest, hostile = World(5, 3, **method), World(5, 3, **method)
        hostile.sites["p-4"].scale = -50
        found[name] = [round(accuracy(world.run()[0]), 3) for world in (honest, hostile)]
        noticed[name] = [[one.notices for one in world.desk.remarks] for world in (honest, hostile)]
    near, _ = World(3, 1, method="fedprox", mu="0.5").run()
    free, _ = World(3, 1, method="fedavg").run()
    found["mu_holds_back"] = bool(
        np.linalg.norm(near["weights"]) < 0.5 * np.linalg.norm(free["weights"])
    )
    return found | {"noticed": noticed}


def shortening() -> dict[str, Any]:
    """Updates of every size, each against the model that it began with: how long what is left is.

    By kind of numbers: whether none is longer than asked (but for rounding), whether those that
    are no longer stay as they are, and whether the direction is kept.
    """
    found: dict[str, Any] = {}
    draw = np.random.default_rng(5)
    for kind, sizes in (("float32", (0, 1e-30, 0.1, 3, 1e30)), ("float64", (0, 1e-300, 3, 1e307))):
        told = {"within": True, "left_alone": True, "one_direction": True}
        for size in sizes:
            begun = {"a": draw.normal(size=(2, 3)).astype(kind), "b": np.ones((), kind)}
            update = {name: draw.normal(size=one.shape) for name, one in begun.items()}
            trained = {
                name: (one + size * update[name]).astype(kind) for name, one in begun.items()
            }
            near = shortened(trained, begun, 0.5)
            far = {name: one / 1e10 - begun[name] / 1e10 for name, one in trained.items()}
            moved = {name: near[name].astype(float) - begun[name] for name in begun}
            left, whole = _flat(moved), _flat(far)
            told["within"] &= bool(np.linalg.norm(left) <= 0.5 * (1 + 1e-6))
            told["within"] &= all(near[name].dtype == kind for name in near)
            if np.abs(whole).max() * 1e10 < 0.1:
                told["left_alone"] &= model_hash(near) == model_hash(trained)
            elif np.abs(whole).max() < 1e100:
                cosine = left @ whole / np.linalg.norm(left) / np.linalg.norm(whole)
                told["one_direction"] &= bool(cosine > 1 - 1e-6)
        found[kind] = told
    # From one end of the numbers to the other: the difference itself would be infinite.
    end = {"a": np.full(2, 1.7e308)}
    near = shortened({"a": -end["a"]}, end, 1.0)
    found["ends"] = bool(np.isfinite(near["a"]).all())
    return found


def _flat(model: Model) -> Any:  # noqa: ANN401
    return np.concatenate([np.ravel(model[name]).astype(float) for name in sorted(model)])


def refusals(directory: Path) -> dict[str, str]:
    def code(call: Callable[[], object]) -> str:
        try:
            call()
        except FederationError as error:
            return error.code
        return "done"

    here = directory / "running"
    with zipfile.ZipFile(io.BytesIO(BUNDLE.content)) as files:
        files.extractall(here)
    found = {"running": code(lambda: check_running(BUNDLE.content, here))}
    (here / "counting" / "app.py").write_text("pass")
    found["changed"] = code(lambda: check_running(BUNDLE.content, here))
    world = World(3, 1, method="fedavg")
    world.run()
    kept = world.rounds().checkpoints
    last = kept.last()
    for file in world.directory.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"\1")
    found["checkpoint"] = code(lambda: last and kept.model(last))
    found["announcement"] = _unannounced()
    found["named"] = _named()
    found["memory"] = _distances_by_parts()
    digest = hashlib.sha256(BUNDLE.content).hexdigest()
    found["bundle"] = "same" if Bundle.build(APPLICATION).hash == digest else "differs"
    return found


def _unannounced() -> str:
    """What a member says to a message that announces nothing."""
    world = World(3, 1, method="fedavg")
    grid = InProcess({1: world.node("p-0")})
    model = to_record(FIRST)
    told = [
        {},
        {"config": ConfigRecord({})},
        {"config": ConfigRecord({"server-round": "1"}), "arrays": model},
        {"config": model, "arrays": model},
    ]
    replies = grid.send_and_receive(
        [Message(RecordDict(one), dst_node_id=1, message_type="train") for one in told]
    )
    return " ".join({str(reply.content["refused"]["code"]) for reply in replies})


def _named() -> str:
    """What a refusal says of another member, without masks and with them."""
    campaign = World(3, 1, method="fedavg").signed.campaign
    found = []
    for size, code in ((None, "wrong_shares"), (None, "wrong_shares of p-1"), (4, "wrong_shares")):
        refused = RecordDict({"refused": ConfigRecord({"code": code, "of": "p-1"})})
        reply = Message(refused, dst_node_id=1, message_type="train")
        due = Due(campaign, SimpleNamespace(), {}, FIRST, size)  # type: ignore[arg-type]
        found.append(fault_of(reply, due))
    return ", ".join(found)


def _distances_by_parts() -> str:
    """Distances of a large tensor: right, and in no more memory than a part of it takes."""
    count = 3 * AT_ONCE + 1
    given = {f"p-{one}": np.full((count, 1), one, np.float32) for one in range(3)}
    replies = {
        member: Message(RecordDict({ARRAYS: to_record({"a": one})}), 1, "train")
        for member, one in given.items()
    }
    tracemalloc.start()
    told = distances(replies, {"a": given["p-0"]})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if not np.allclose(list(told.values()), [np.sqrt(count), 0, np.sqrt(count)]):
        return str(told)
    # Beside what it takes to read each reply's own tensor.
    read = sum(one.nbytes for one in given.values())
    return "bounded" if peak < 2 * read + 8 * 8 * AT_ONCE else f"{peak}"


def main(directory: Path) -> dict[str, Any]:
    return {
        "withdrawn_and_resumed": withdrawn_and_resumed(),
        "ended": ended_before_closing(),
        "ended_at_each_step": ended_at_each_step(),
        "left_out": left_out(),
        "failed": failed(),
        "hostile": hostile(),
        "not_closed": not_closed(),
        "without_node": without_node(),
        "of_one_line": of_one_line(),
        "poisoned": poisoned(),
        "shortening": shortening(),
        "refusals": refusals(directory),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
