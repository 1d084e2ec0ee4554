"""Row-level DP-SGD as it is really done: sampling, clipping, noise, and whole rounds with it.

Run by the environment of `make federation`: prints one JSON object for `test_private.py`.
"""

import json
import math
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord

from federation.board import PassedStage, SignedCampaign
from federation.campaign import Campaign, parameters_hash
from federation.errors import FederationError
from federation.flower.dp_sgd import PARTS, clipped, noisy_gradient, private_training
from federation.flower.member import Task
from federation.flower.models import Model
from federation.flower.noise import discrete_gaussian, sampled
from federation.flower.round_values import RoundFailed
from federation.presence import CampaignSalt
from federation.privacy import RowPrivacy, Spent, epsilon_after, rounds_left, step_of
from tests.federation.flower.training import FIRST, Site, World

SETTINGS = {
    "epsilon": "7",
    "delta": "0.00001",
    "noise_multiplier": "1",
    "clip_norm": "1",
    "sampling_rate": "0.3",
    "steps_per_round": 2,
}
PRIVACY = RowPrivacy.from_json(SETTINGS)
COVERED = rounds_left(PRIVACY, Spent())


def seeded(seed: int) -> Callable[[int], bytes]:
    draw: Callable[[int], bytes] = np.random.default_rng(seed).bytes
    return draw


def noise() -> dict[str, Any]:
    """Small noise comes as often as the formula says (chi-square), large noise has its moments."""
    sigma, count = 2.0, 200_000
    drawn = discrete_gaussian(count, sigma, seeded(1))
    at = np.arange(-7, 8)
    share = np.exp(-(at**2) / (2 * sigma**2))
    share /= np.exp(-(np.arange(-60, 61) ** 2) / (2 * sigma**2)).sum()
    seen = np.array([(drawn == k).sum() for k in at])
    large = discrete_gaussian(count, 1.1 * PARTS, seeded(2)) / (1.1 * PARTS)
    twice = [discrete_gaussian(4, 1e6) for _ in range(2)]
    return {
        # 15 kinds: 44.3 is passed once in 10,000 times.
        "chi_square_fits": bool(((seen - count * share) ** 2 / (count * share)).sum() < 44.3),
        "mean_fits": bool(abs(large.mean()) < 4 / math.sqrt(count)),
        "variance_fits": bool(abs(large.var() - 1) < 4 * math.sqrt(2 / count)),
        "tail_fits": bool(abs((np.abs(large) > 2).mean() - math.erfc(math.sqrt(2))) < 0.002),
        "no_two_alike": bool((twice[0] != twice[1]).any()),
        "none": len(discrete_gaussian(0, 5.0)),
    }


def sampling() -> dict[str, Any]:
    """Each row by itself: how many enter differs from step to step as a binomial does."""
    rows, rate, steps = range(1_000, 2_000), Fraction("0.05"), 2_000
    draw = seeded(3)
    steps_of = [sampled(rows, rate, draw) for _ in range(steps)]
    sizes = np.array([len(one) for one in steps_of])
    often = np.bincount(np.concatenate(steps_of), minlength=2_000)[1_000:]
    both = sum(1_000 in one and 1_001 in one for one in steps_of)
    return {
        "mean_fits": bool(abs(sizes.mean() - 50) < 4 * math.sqrt(47.5 / steps)),
        "variance_fits": bool(abs(sizes.var() / 47.5 - 1) < 4 * math.sqrt(2 / steps)),
        "each_row_alike": bool(abs(often - 100).max() < 5 * math.sqrt(95)),
        "rows_are_independent": both < 20,
        "all_at_one": sampled(rows, Fraction(1), draw) == list(rows),
        "none_at_the_least": sampled(rows, Fraction(1, 10**12), draw),
    }


def clipping() -> dict[str, Any]:
    """No row is above the norm, whatever it holds, and one below it stays what it is."""
    draw = np.random.default_rng(4)
    wild = draw.normal(size=(2_000, 40)) * 10.0 ** draw.uniform(-320, 308, size=(2_000, 1))
    wild[0], wild[1], wild[2, 0], wild[3, 0] = 0.0, 1.7e308, np.nan, -np.inf
    whole = clipped(wild, 1.5)
    below = draw.normal(size=(50, 40)) / 100
    kept = clipped(below, 1.5) * 1.5 / PARTS
    huge = clipped(np.array([[3e300, 4e300]]), 1.0) / PARTS
    return {
        "never_above": bool((whole * whole).sum(axis=1).max() <= PARTS**2),
        "not_finite_is_nothing": int(np.abs(whole[2:4]).max()),
        "direction": np.round(huge, 6).tolist(),
        "kept": bool(np.abs(kept - below).max() < 1e-6),
    }


def one_row_more() -> dict[str, Any]:
    """What a row can do to a step: with the same noise, and over many steps of the real one."""
    model = {"weights": np.zeros(1)}
    whole = RowPrivacy("9", "0.00001", "1", "1", "1", 1)

    def gradients(model: Model, rows: Sequence[int]) -> Mapping[str, Any]:
        return {"weights": np.array([[1e9] if row == 7 else [0.0] for row in rows])}

    moved = [
        noisy_gradient(whole, model, rows, gradients, 5, seeded(5))["weights"][0]
        for rows in ([1, 2], [1, 2, 7])
    ]
    draw = seeded(6)
    often = RowPrivacy("9", "0.00001", "0.8", "1", "0.3", 1)
    above = [
        np.mean(
            [
                noisy_gradient(often, model, rows, gradients, 5, draw)["weights"][0] * 1.5 > 1
                for _ in range(2_500)
            ]
        )
        for rows in ([1, 2], [1, 2, 7])
    ]

    def tail(x: float) -> float:
        return math.erfc(x / 0.8 / math.sqrt(2)) / 2

    exact = [tail(1), 0.7 * tail(1) + 0.3 * tail(0)]
    # So large that the bound says something: it is below the chance if the row were always drawn.
    delta = 0.1
    bound = math.exp(Spent().after(step_of(often)).epsilon(delta)) * above[0] + delta
    return {
        "most": round(abs(moved[1] - moved[0]) * 5, 6),
        "chances_fit": bool(
            all(
                abs(seen - p) < 4 * math.sqrt(p * (1 - p) / 2_500)
                for seen, p in zip(above, exact, strict=True)
            )
        ),
        "sampling_hides": bool(above[1] < bound < tail(0)),
    }


class PrivateSite(Site):
    """A member that gives gradients by row, of the logistic loss."""

    def gradients(self, task: Task, model: Model, rows: Sequence[int]) -> Mapping[str, Any]:
        inputs, labels = self.inputs[list(rows)], self.labels[list(rows)]
        error = 1 / (1 + np.exp(-(inputs @ model["weights"] + model["bias"]))) - labels
        return {"weights": error[:, None] * inputs, "bias": error[:, None]}

    def evaluate(self, task: Task, model: Model) -> Mapping[str, float]:
        return {"norm": float(np.linalg.norm(model["weights"]))}

    def train(self, task: Task, rows: Sequence[int]) -> Any:  # noqa: ANN401
        raise AssertionError("the application trains nothing itself under privacy")

    def passed(self, signed: SignedCampaign) -> PassedStage | None:
        return PassedStage(signed.campaign_hash, "pilot", "model")


class Misshapen(PrivateSite):
    def gradients(self, task: Task, model: Model, rows: Sequence[int]) -> Mapping[str, Any]:
        return {"weights": np.zeros(3), "bias": np.zeros(1)}


class PrivateWorld(World):
    kind: type[Site] = PrivateSite

    def __init__(self, rounds: int = 2, **changes: object) -> None:
        super().__init__(3, rounds, {"privacy": SETTINGS} | changes, method="fedavg")

    def site(self, name: str, salt: CampaignSalt) -> Site:
        return self.kind(name, salt, self.clock)


def rounds() -> dict[str, Any]:
    """Pilot and consortium until nobody may go on, and the epsilon told of each."""
    world = PrivateWorld(rounds=COVERED)
    model, pilot = world.run()
    told = [one.checkpoint.epsilon for one in pilot.told]
    why: Mapping[str, str] = {}
    try:
        world.run("consortium")
    except RoundFailed as error:
        why = error.left_out
    spent = world.sites["p-0"].kept
    return {
        "epsilon": told == [str(epsilon_after(PRIVACY, n)) for n in range(1, COVERED + 1)],
        "within": float(told[-1] or 8) <= 7 < float(epsilon_after(PRIVACY, COVERED + 1)),
        "why": why,
        "spent": spent and spent.spent.to_json() == [[0.3, 1.0, 2 * COVERED]],
        "metrics": sorted(pilot.told[0].checkpoint.metrics),
        "moved": bool(np.linalg.norm(model["weights"]) > 0),
    }


def after_a_pilot() -> dict[str, Any]:
    """A pilot's failed round and its other one count in the consortium's epsilon; resumed too."""
    world = PrivateWorld(rounds=2, privacy=SETTINGS | {"epsilon": "20"})
    world.sites["p-1"].late = 1
    try:
        world.run()
    except RoundFailed:
        world.sites["p-1"].late = 0
    world.run()
    world.desk.end_at = "open 2"
    try:
        world.run("consortium")
    except Exception as error:  # noqa: BLE001 (whatever ends a process)
        ended = type(error).__name__
    else:
        ended = ""
    _, rounds = world.run("consortium")
    return {
        "said": world.desk.said,
        "ended": ended,
        "epsilon": rounds.told[-1].checkpoint.epsilon == str(epsilon_after(PRIVACY, 4)),
    }


def refused() -> dict[str, Any]:
    """What each member's application or campaign lacks, and that nothing is spent of it."""
    plain, misshapen = PrivateWorld(), PrivateWorld()
    plain.sites["p-2"].__class__ = Site
    misshapen.sites["p-2"].__class__ = Misshapen
    parameters = {"learning_rate": "0", "local_epochs": 2}
    rateless = PrivateWorld(parameters=parameters, parameters_hash=parameters_hash(parameters))
    heavy = PrivateWorld()
    heavy.changed["p-2"] = _heavier
    found = {}
    worlds = {"plain": plain, "misshapen": misshapen, "rateless": rateless, "heavy": heavy}
    for name, world in worlds.items():
        try:
            world.run()
        except RoundFailed as error:
            found[name] = error.left_out["p-2"]
    found["kept"] = str(plain.sites["p-2"].kept)
    return found


def _heavier(reply: Message) -> Message:
    reply.content["metrics"] = MetricRecord({"norm": 1.0, "num-examples": 64})
    return reply


def prox() -> dict[str, Any]:
    """The proximal term is added behind the noise; a campaign without privacy is not trained so."""
    long = SETTINGS | {"steps_per_round": 40, "epsilon": "100"}
    world = World(3, 1, {"privacy": long}, method="fedprox", mu="20")
    free = PrivateWorld(privacy=long)
    ends = {}
    for name, campaign in {"held": world.signed.campaign, "free": free.signed.campaign}.items():
        far = private_training(campaign, FIRST, [1], _ones, seeded(7))
        ends[name] = float(np.abs(far["weights"]).max())
    return {"held_back": ends["held"] < ends["free"], "none": _code(World(3, 1, method="fedavg"))}


def _ones(model: Model, rows: Sequence[int]) -> Mapping[str, Any]:
    return {"weights": np.ones((len(rows), 3)), "bias": np.ones((len(rows), 1))}


def _code(world: World) -> str:
    campaign: Campaign = world.signed.campaign
    try:
        private_training(campaign, FIRST, [1], _ones, secrets.token_bytes)
    except FederationError as error:
        return error.code
    return "done"


PARTS_SHOWN = (
    noise,
    sampling,
    clipping,
    one_row_more,
    rounds,
    after_a_pilot,
    refused,
    prox,
)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({part.__name__: part() for part in PARTS_SHOWN}))
