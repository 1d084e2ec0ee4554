"""What a coordinator that works against one member can take off its vector, and what it finds then.

Each attack is tried on the protocol as it is, and on one that lacks the part which it is there
against: an attack that finds nothing in either would show nothing.

Run by the environment of `make federation`: prints one JSON object for `test_unmasking.py`.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.app import ConfigRecord, Error, Message
from flwr.common.secure_aggregation.crypto.shamir import combine_shares

from federation.flower import masking
from federation.flower.masking import FRACTION, Shape, in_fixed_point, mask_with, own_mask
from federation.flower.models import Model, model_hash, to_record
from federation.flower.replies import fault_of
from federation.flower.secure_member import SECURE
from federation.secure_keys import Of, PublicKeys
from tests.federation.flower.masked import ALL, PEERS, SecureSite, SecureWorld
from tests.federation.flower.training import FIRST

ROWS_TOLD = 64
AGAINST = "p-3"


def flat(model: Model) -> Any:  # noqa: ANN401 (an array)
    return np.concatenate([model[name].ravel() for name in sorted(model)])


def update(world: SecureWorld, name: str) -> Any:  # noqa: ANN401
    site = world.sites[name]
    if not isinstance(site, SecureSite):
        raise TypeError(name)
    return flat(site.given[-1].model)


class Curious:
    """A coordinator that keeps one member's vector, and all that others tell about its masks."""

    def __init__(self, *, late: bool) -> None:
        self.late = late
        self.world = SecureWorld()
        self.of = Of(self.world.signed.campaign_hash, "pilot", 1)
        self.vector: Any = None
        self.public: dict[str, PublicKeys] = {}
        self.world.changed[AGAINST] = self._kept
        self.world.run()

    def _kept(self, reply: Message) -> Message:
        if "arrays" not in reply.content:
            return reply
        self.vector = reply.content["arrays"]["masked"].numpy()
        # To the others it says that nothing came: they give what opens the masks shared with it.
        return Message(Error(3, "it came too late"), reply_to=reply) if self.late else reply

    @property
    def shape(self) -> Shape:
        return Shape(self.of, model_hash(FIRST), len(self.vector))

    def secret(self) -> bytes:
        """What the others' shares give, of the seed or of the mask key."""
        shares = []
        for _, step, _, reply in self.world.seen:
            if step == "unmask":
                told = reply.content[SECURE]
                shares.append(told["shares"][list(told["of"]).index(AGAINST)])
        secret: bytes = combine_shares(shares[:3])
        return secret

    def without_shared(self) -> Any:  # noqa: ANN401
        """The vector without the masks that it shares with others."""
        vector, private = self.vector, self.secret()
        for name, step, _, reply in self.world.seen:
            if step == "keys":
                told = reply.content[SECURE]["token"]
                self.public[name] = PublicKeys.read(told, self.of, name, PEERS[name])
        for name in ALL:
            if name != AGAINST:
                key = self.public[name].mask
                vector = vector - mask_with(private, AGAINST, name, key, self.shape)
        return vector

    def without_own(self) -> Any:  # noqa: ANN401
        """The vector without its own mask."""
        return self.vector - own_mask(self.secret(), self.shape)

    def read(self, vector: Any) -> bool:  # noqa: ANN401
        """Whether that is the member's update: no number of it is hidden."""
        plain = in_fixed_point(update(self.world, AGAINST), ROWS_TOLD, len(ALL))
        return bool((vector[: len(plain)] == plain).all())


def late() -> bool:
    """The vector of a member whose masks the others opened, since they were told it is dead."""
    coordinator = Curious(late=True)
    return coordinator.read(coordinator.without_shared())


def in_the_sum() -> bool:
    """The vector of a member whose own mask the others opened."""
    coordinator = Curious(late=False)
    return coordinator.read(coordinator.without_own())


def two_stories() -> bool:
    """Two halves of six are told two stories of who is in the sum: both masks would be opened."""
    world = SecureWorld(6)
    names = sorted(world.sites)

    def told(name: str, message: Message) -> None:
        half = names[:3] if name in names[:3] else names[3:]
        message.content[SECURE] = ConfigRecord({"step": "unmask", "alive": half})

    world.altered["unmask"] = told
    world.failed()
    given: dict[str, list[str]] = {"seed": [], "key": []}
    for name, step, _, reply in world.seen:
        if step == "unmask" and SECURE in reply.content:
            own = (name in names[:3]) == (AGAINST in names[:3])
            given["seed" if own else "key"].append(name)
    return all(len(one) >= world.signed.campaign.minimum_members for one in given.values())


def unlike_models() -> bool:
    """All but one are sent a model that no training moves: the sum without it is the one's."""
    world, sent = SecureWorld(), {}
    still = {"weights": np.array([2.0, -1.0, 0.5]) * 1e6, "bias": np.zeros(1)}

    def told(name: str, message: Message) -> None:
        sent[name] = flat(FIRST)
        if name != AGAINST:
            sent[name] = flat(still)
            message.content["arrays"] = to_record(still)

    def lax(reply: Message, due: Any) -> str:  # noqa: ANN401
        fault = fault_of(reply, due)
        return "" if fault == "receipt_mismatch" else fault

    world.altered["train"] = told
    with patch("federation.flower.rounds.fault_of", lax), np.errstate(over="ignore"):
        model, rounds = world.run()
    if rounds.told[-1].left_out:
        raise AssertionError(rounds.told[-1].left_out)
    rest = sum(sent[name] for name in ALL if name != AGAINST)
    found = len(ALL) * flat(model) - rest
    return bool(np.abs(found - update(world, AGAINST)).max() < 10 / FRACTION)


def _no_own_mask(seed: bytes, shape: Shape) -> Any:  # noqa: ANN401
    return np.zeros(shape.size, np.uint64)


def _no_shared_mask(private: bytes, me: str, other: str, public: bytes, shape: Shape) -> Any:  # noqa: ANN401
    return np.zeros(shape.size, np.uint64)


def _unbound(private: bytes, me: str, other: str, public: bytes, shape: Shape) -> Any:  # noqa: ANN401
    return mask_with(private, me, other, public, Shape(shape.of, "", shape.size))


def _least(campaign: Any, members: int) -> int:  # noqa: ANN401
    return int(campaign.minimum_members)


ATTACKS: Mapping[str, tuple[Callable[[], bool], str, Callable[..., Any]]] = {
    "late": (late, "own_mask", _no_own_mask),
    "in the sum": (in_the_sum, "mask_with", _no_shared_mask),
    "two stories": (two_stories, "threshold_of", _least),
    "unlike models": (unlike_models, "mask_with", _unbound),
}


def main() -> dict[str, dict[str, bool]]:
    found: dict[str, dict[str, bool]] = {}
    for name, (attack, part, missing) in ATTACKS.items():
        assert hasattr(masking, part)
        found[name] = {"opens": attack()}
        with (
            patch(f"federation.flower.secure.{part}", missing),
            patch(f"federation.flower.secure_member.{part}", missing),
        ):
            found[name][f"opens without {part}"] = attack()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()))
