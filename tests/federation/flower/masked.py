"""Rounds with secure aggregation in one process: what the coordinator sees, and who may be missing.

Run by the environment of `make federation`: prints one JSON object for `test_masked.py`.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from credentials.keys import SoftwareKey
from federation.board import SignedCampaign
from federation.errors import FederationError
from federation.flower.in_process import InProcess, Node, node_of
from federation.flower.masking import (
    FRACTION,
    Shape,
    in_fixed_point,
    mask_with,
    mean_of,
    new_private,
    public_of,
    sealed,
    shared,
    unsealed,
)
from federation.flower.member import Task, Trained, answer
from federation.flower.models import Model
from federation.flower.round_values import RoundFailed
from federation.flower.rounds import Rounds
from federation.flower.secure_member import SECURE
from federation.presence import CampaignSalt
from federation.secure_keys import Of, PublicKeys
from tests.federation.flower.private import SETTINGS, PrivateSite
from tests.federation.flower.training import BROKER, FIRST, KEYS, Site, World

STEPS = ("keys", "shares", "train", "unmask")
PEERS = {name: key.public_jwk() for name, key in KEYS.items()}
OF = Of("c" * 43, "pilot", 1)


@dataclass
class SecureSite(Site):
    """A member that knows the others' keys, and remembers what it trained."""

    given: list[Trained] = field(default_factory=list)
    more: Mapping[str, float] = field(default_factory=dict)

    def peers(self, signed: SignedCampaign) -> Mapping[str, Mapping[str, Any]]:
        return PEERS

    def lists(self, opened_at: int, addresses: Sequence[str]) -> Mapping[str, str]:
        """As they are when they are asked for: the steps before may have taken long."""
        return {one: BROKER.status_token(now=self.now(), uri=one) for one in addresses}

    def train(self, task: Task, rows: Sequence[int]) -> Trained:
        trained = super().train(task, rows)
        self.given.append(Trained(trained.model, {**trained.metrics, **self.more}))
        return self.given[-1]


class SecureWorld(World):
    """A world of which some members end at a step; what goes to and fro is kept."""

    def __init__(self, members: int = 5, **changes: object) -> None:
        self.dead: dict[str, str] = {}
        self.altered: dict[str, Callable[[str, Message], None]] = {}
        self.seen: list[tuple[str, str, Message, Message]] = []
        self.made: dict[str, Node] = {}
        self.given: dict[str, Trained] = {}
        super().__init__(
            members, 1, {"minimum_members": 3, **changes}, method="fedavg", secure=True
        )

    def site(self, name: str, salt: CampaignSalt) -> Site:
        return SecureSite(name, salt, self.clock)

    def node(self, name: str) -> Node:
        application = ClientApp()

        @application.train()
        def train(message: Message, context: Context) -> Message:
            return answer(message, self.sites[name], context)

        inner = self.made[name] = node_of(application, int(name[2:]) + 1, {})

        def node(message: Message) -> Message:
            step = str(message.content[SECURE]["step"])
            if name in self.dead and STEPS.index(self.dead[name]) <= STEPS.index(step):
                return Message(Error(3, "it has ended"), reply_to=message)
            if step in self.altered:
                self.altered[step](name, message)
            reply = self.changed.get(name, lambda same: same)(inner(message))
            self.seen.append((name, step, message, reply))
            return reply

        return node

    def off(self, names: Sequence[str]) -> float:
        """How far the new model is from the mean of these members' updates, and they are in it."""
        model, rounds = self.run()
        if sorted(rounds.told[-1].checkpoint.members) != sorted(names):
            raise AssertionError(rounds.told[-1])
        models = [self._model(name) for name in names]
        return max(
            float(np.abs(model[part] - np.mean([one[part] for one in models], axis=0)).max())
            for part in model
        )

    def _model(self, name: str) -> Model:
        site = self.sites[name]
        if not isinstance(site, SecureSite):
            raise TypeError(name)
        return site.given[-1].model

    def failed(self) -> tuple[str, dict[str, str]]:
        """Why no model came of the round."""
        try:
            self.run()
        except RoundFailed as error:
            return self.desk.said[-1], dict(error.left_out)
        return "closed", {}


ALL = tuple(KEYS)[:5]
NEAR = 1 / FRACTION


def hidden() -> dict[str, Any]:
    """All that the coordinator is sent: no update is in it, no metric; and the mean is right."""
    world = SecureWorld()
    off = world.off(ALL)
    masked: dict[str, Any] = {}
    metrics: set[str] = set()
    for name, step, _, reply in world.seen:
        for record in reply.content.values():
            if isinstance(record, ArrayRecord):
                assert (step, list(record)) == ("train", ["masked"])
                masked[name] = record["masked"].numpy()
        if step == "train":
            metrics |= set(reply.content["metrics"])
    plain = {}
    for name in ALL:
        model = world._model(name)  # noqa: SLF001 (its own module)
        plain[name] = in_fixed_point(np.concatenate([model["bias"], model["weights"]]), 64, 5)
    last = world.rounds().checkpoints.last()
    accuracies = [site.given[-1].metrics["accuracy"] for site in world.sites.values()]  # type: ignore[attr-defined]
    return {
        "near": off <= NEAR,
        "numbers_that_are_in_clear": int(sum((masked[n][:4] == plain[n]).sum() for n in ALL)),
        # Each masked number lies anywhere in 2^64: plain ones are near 0 or near 2^64.
        "far_from_plain": bool(
            np.median(
                [
                    np.minimum(masked[n][:4] - plain[n], plain[n] - masked[n][:4]).astype(float)
                    for n in ALL
                ]
            )
            > 2.0**56
        ),
        "metrics_in_clear": sorted(metrics),
        "accuracy": last is not None
        and abs(float(last.metrics["accuracy"]) - float(np.mean(accuracies))) < 2 * NEAR,
        "steps": [step for name, step, *_ in world.seen if name == "p-0"],
    }


def missing() -> dict[str, Any]:
    """Of five members, of whom it takes three, some end at each of the steps."""
    found: dict[str, Any] = {}
    for step in STEPS:
        two, three = SecureWorld(), SecureWorld()
        two.dead = dict.fromkeys(("p-1", "p-3"), step)
        three.dead = dict.fromkeys(("p-0", "p-1", "p-3"), step)
        left = ALL if step == "unmask" else ("p-0", "p-2", "p-4")
        said, why = three.failed()
        found[step] = [two.off(left) <= NEAR, said, why == dict.fromkeys(three.dead, ENDED)]
    long = SecureWorld()
    long.altered["unmask"] = lambda _, __: setattr(long.clock, "now", long.clock.now + 700)
    found["a long training"] = long.off(ALL) <= NEAR
    apart = SecureWorld()
    apart.dead = {"p-1": "shares", "p-3": "train"}
    found["one at each"] = apart.off(("p-0", "p-2", "p-4")) <= NEAR
    few = SecureWorld(4, minimum_members=4)
    few.dead = {"p-3": "train"}
    found["the campaign's least"] = few.failed()[0]
    return found


ENDED = "flower_error_3"


def _set(name: str, value: Callable[[Any], Any]) -> Callable[[str, Message], None]:
    def change(member: str, message: Message) -> None:
        told = message.content[SECURE]
        message.content[SECURE] = ConfigRecord({**told, name: value(told[name])})

    return change


def _another_key(tokens: list[str]) -> list[str]:
    """Keys of the coordinator's own in the place of a member's."""
    private = new_private()
    own = PublicKeys(public_of(private), public_of(new_private()))
    return [tokens[0], own.signed(OF, "p-1", SoftwareKey.generate()), *tokens[2:]]


def dishonest_coordinator() -> dict[str, Any]:
    """What members answer to a coordinator that wants to see one update."""
    found: dict[str, Any] = {}
    tricks: dict[str, tuple[str, Callable[[str, Message], None]]] = {
        "keys of its own": ("shares", _set("tokens", _another_key)),
        "keys left away": ("shares", _set("tokens", lambda tokens: tokens[:-1])),
        "one key twice": ("shares", _set("members", lambda names: [names[0], *names[:-1]])),
        "a share changed": ("train", _set("sealed", lambda data: [bytes(180), *data[1:]])),
        "too few with shares": ("train", _few_shares),
        "a sum of two": ("unmask", _set("alive", lambda names: names[:2])),
        "a sum with a stranger": ("unmask", _set("alive", lambda names: [*names, "p-9"])),
        "a sum without oneself": ("unmask", _without),
    }
    for name, (step, change) in tricks.items():
        world = SecureWorld()
        world.altered[step] = change
        said, _ = world.failed()
        answers = {
            str(reply.content["refused"]["code"]) if "refused" in reply.content else "answered"
            for _, at, _, reply in world.seen
            if at == step
        }
        found[name] = [said, sorted(answers)]
    return found


def _few_shares(member: str, message: Message) -> None:
    told = message.content[SECURE]
    message.content[SECURE] = ConfigRecord(
        {"step": "train", "from": told["from"][:1], "sealed": told["sealed"][:1]}
    )


def _without(member: str, message: Message) -> None:
    told = message.content[SECURE]
    others = [name for name in told["alive"] if name != member]
    message.content[SECURE] = ConfigRecord({"step": "unmask", "alive": others})


def again() -> dict[str, Any]:
    """Each message of a round sent once more, when the round is over; and one without any step."""
    world = SecureWorld()
    world.run()
    sent = {step: message for name, step, message, _ in world.seen if name == "p-0"}
    grid = InProcess({1: world.made["p-0"]})

    def code(content: RecordDict) -> str:
        told = Message(content, dst_node_id=1, message_type="train")
        reply = grid.send_and_receive([told])[0].content
        return str(reply["refused"]["code"]) if "refused" in reply else "answered"

    found = {step: code(sent[step].content) for step in ("unmask", "train", "shares")}
    # New keys are given, and what was made for the old ones is nothing to them.
    found["keys, shares"] = f"{code(sent['keys'].content)} {code(sent['shares'].content)}"
    found["plain"] = code(
        RecordDict({n: r for n, r in sent["train"].content.items() if n != SECURE})
    )
    return found


def dishonest_member() -> dict[str, Any]:
    """One of five does what it should not: the others' mean is right, or the member left out."""
    found: dict[str, Any] = {}
    for name, (change_reply, change_site) in {
        "wrong shares": (_wrong_shares, None),
        "another's keys": (None, lambda site: setattr(site, "signer", SoftwareKey.generate())),
        "other metrics": (None, lambda site: setattr(site, "more", {"mine": 1.0})),
        "too large": (None, lambda site: setattr(site, "scale", 1e12)),
        "too few numbers": (_shorter, None),
        "not masked": (_renamed, None),
        "no commitment": (_uncommitted, None),
        "nothing beside the vector": (_bare, None),
        "metrics that are no list": (_unlisted, None),
        "shares that are numbers": (_unsealed, None),
        "no peers": (None, lambda site: setattr(site, "__class__", Site)),
    }.items():
        world = SecureWorld()
        if change_reply is not None:
            world.changed["p-3"] = change_reply
        if change_site is not None:
            change_site(world.sites["p-3"])
        rounds: Rounds = world.run()[1]
        found[name] = dict(rounds.told[0].left_out)
    return found


def ends_the_round() -> dict[str, Any]:
    """What one member can do to all: no model comes of the round, and it is said whose doing it is.

    And members of whom too many give wrong shares: then no mask opens.
    """
    found: dict[str, Any] = {}
    cases: dict[str, tuple[Callable[[Message], Message], tuple[str, ...]]] = {
        "garbage for shares": (_garbage, ("p-3",)),
        "another commitment": (_another_commitment, ("p-3",)),
        "wrong shares of three": (_wrong_shares, ("p-1", "p-2", "p-3")),
    }
    for name, (change, members) in cases.items():
        world = SecureWorld()
        world.changed = dict.fromkeys(members, change)
        found[name] = list(world.failed())
    return found


def _garbage(reply: Message) -> Message:
    told = reply.content.get(SECURE)
    if told is not None and "sealed" in told:
        data = [bytes(len(one)) for one in told["sealed"]]
        reply.content[SECURE] = ConfigRecord({**told, "sealed": data})
    return reply


def _another_commitment(reply: Message) -> Message:
    told = reply.content.get(SECURE)
    if told is not None and "commitment" in told:
        reply.content[SECURE] = ConfigRecord({**told, "commitment": bytes(32)})
    return reply


def receipts_handed_on() -> list[str]:
    """Whose receipts the broker has where one member tells other metrics, and is left out."""
    world = SecureWorld()
    setattr(world.sites["p-3"], "more", {"mine": 1.0})  # noqa: B010 (a SecureSite's)
    world.run()
    return sorted(member for _, member in world.desk.leaves)


class Waiting(InProcess):
    """A grid that waits as long as it may for nodes that do not answer."""

    def __init__(self, world: SecureWorld) -> None:
        self.clock = world.clock
        super().__init__({int(name[2:]) + 1: world.node(name) for name in world.sites})

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        replies = super().send_and_receive(messages)
        silent = [one for one in replies if one.has_error()]
        self.clock.now += int(timeout or 0) if silent else 0
        return [one for one in replies if not one.has_error()]


def silent() -> list[Any]:
    """One member never gives keys, another no shares, and the coordinator would wait for hours."""
    world = SecureWorld()
    world.dead = {"p-1": "keys", "p-3": "shares"}
    rounds = replace(world.rounds(), patience=65_535)
    try:
        rounds.go_on(Waiting(world), FIRST)
    except RoundFailed as error:
        return [world.desk.said[-1], dict(error.left_out)]
    return [world.desk.said[-1], dict(rounds.told[0].left_out)]


def _wrong_shares(reply: Message) -> Message:
    told = reply.content.get(SECURE)
    if told is not None and "shares" in told:
        wrong = [one[:4] + bytes(len(one) - 4) for one in told["shares"]]
        reply.content[SECURE] = ConfigRecord({**told, "shares": wrong})
    return reply


def _shorter(reply: Message) -> Message:
    if "arrays" in reply.content:
        vector = reply.content["arrays"]["masked"].numpy()[:-1]
        reply.content["arrays"] = ArrayRecord({"masked": Array(vector)})
    return reply


def _renamed(reply: Message) -> Message:
    if "arrays" in reply.content:
        reply.content["arrays"] = ArrayRecord({"weights": reply.content["arrays"]["masked"]})
    return reply


def _uncommitted(reply: Message) -> Message:
    if "arrays" in reply.content:
        reply.content[SECURE] = ConfigRecord({"metrics": ["accuracy"]})
    return reply


def _bare(reply: Message) -> Message:
    if "arrays" in reply.content:
        reply.content.pop(SECURE)
    return reply


def _unlisted(reply: Message) -> Message:
    if "arrays" in reply.content:
        reply.content[SECURE] = ConfigRecord({**reply.content[SECURE], "metrics": 1})
    return reply


def _unsealed(reply: Message) -> Message:
    told = reply.content.get(SECURE)
    if told is not None and "sealed" in told:
        reply.content[SECURE] = ConfigRecord({**told, "sealed": [1] * len(told["sealed"])})
    return reply


class PrivateSecureSite(PrivateSite):
    def peers(self, signed: SignedCampaign) -> Mapping[str, Mapping[str, Any]]:
        return PEERS


class PrivateSecureWorld(SecureWorld):
    def site(self, name: str, salt: CampaignSalt) -> Site:
        return PrivateSecureSite(name, salt, self.clock)


def with_privacy() -> dict[str, Any]:
    """Both at once: what is summed is noisy already, and the sum is all that goes out."""
    model, rounds = PrivateSecureWorld(3, privacy=SETTINGS).run()
    last = rounds.told[-1].checkpoint
    return {"moved": bool(model["weights"].any()), "accounted": float(last.epsilon or 0) > 0}


def parts() -> dict[str, Any]:
    """Weights, fixed point and seals by themselves."""
    draw = np.random.default_rng(8)
    vectors, weights = draw.normal(size=(3, 50)) * 1_000, [64, 128, 4_096]
    total = sum(in_fixed_point(v, w, 3) for v, w in zip(vectors, weights, strict=True))
    mean = np.average(vectors, axis=0, weights=weights)
    private = [new_private() for _ in range(2)]
    public = [public_of(one) for one in private]
    shape = Shape(OF, "m" * 43, 9)
    both = mask_with(private[0], "p-0", "p-1", public[1], shape) + mask_with(
        private[1], "p-1", "p-0", public[0], shape
    )
    key = shared(private[0], public[1], b"a")
    return {
        "weighted": bool(np.abs(mean_of(total, sum(weights)) - mean).max() <= NEAR),
        "cancels": not both.any(),
        "opens": unsealed(shared(private[1], public[0], b"a"), sealed(key, b"told")) == b"told",
        "bound": _code(lambda: unsealed(shared(private[1], public[0], b"b"), sealed(key, b"told"))),
        "small order": _code(lambda: shared(private[0], bytes(32), b"a")),
        "no room": _code(lambda: in_fixed_point(np.array([2.0**38]), 1, 1)),
        "infinite": _code(lambda: in_fixed_point(np.array([np.inf]), 1, 1)),
    }


def _code(call: Callable[[], object]) -> str:
    try:
        call()
    except FederationError as error:
        return error.code
    return "done"


SHOWN = (
    hidden,
    missing,
    dishonest_coordinator,
    again,
    dishonest_member,
    ends_the_round,
    receipts_handed_on,
    silent,
    with_privacy,
    parts,
)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({part.__name__: part() for part in SHOWN}))
