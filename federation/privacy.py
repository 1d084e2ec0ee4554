"""What row-level DP-SGD spends: Renyi accounting of the subsampled Gaussian, and a budget.

One step clips each row's gradient to norm C, draws each row into the step with probability q, adds
noise of standard deviation sigma * C to the sum. It is the Gaussian mechanism on a Poisson sample,
for tables that differ by one row added or left out. Its Renyi divergence of whole order a >= 2 is
(Mironov, Talwar, Zhang, "Renyi differential privacy of the sampled Gaussian mechanism", 2019,
section 3.3)

    R(a) = 1 / (a - 1) * ln( sum_{k=0..a} C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 sigma^2)) )

and a / (2 sigma^2) for q = 1. With 1 for each exp(...) the sum would be 1, so what is added up here
is what the terms have above that, exp(...) - 1 from k = 2 on: however little a step spends,
rounding does not make it free. Divergences add up over steps. For every order, the sum R gives
(Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy", 2020, proposition 12)

    epsilon = R + ln((a - 1) / a) - (ln(delta) + ln(a)) / (a - 1)

of which the least over the orders holds. It is an upper bound: the truth is lower. It protects one
row, so a customer only where a customer is one row, which the gate sees to.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Self

from federation import reading
from federation.errors import CampaignInvalid, CombinationImpossible, Malformed, PrivacyInvalid

ORDERS: Final = (*range(2, 65), 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 768, 1024)
MOST_STEPS: Final = 10**12
MOST_KINDS: Final = 1_000
_MICRO: Final = 10**6
_ROUNDING: Final = 1e-11
"""More than rounding does to a logarithm of thousands; added, so that the bound stays above."""
_LEAST_NOISE: Final = 0.01
_MOST_NOISE: Final = 1e6
_PRIVACY: Final = frozenset(
    {"epsilon", "delta", "noise_multiplier", "clip_norm", "sampling_rate", "steps_per_round"}
)


@dataclass(frozen=True)
class Step:
    """One step of DP-SGD: `sampling_rate` q and `noise_multiplier` sigma.

    Raises `PrivacyInvalid` unless 0 < q <= 1 and sigma lies between 0.01 and 1,000,000.
    """

    sampling_rate: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not 0 < self.sampling_rate <= 1:
            raise PrivacyInvalid("sampling_rate is above 0 and at most 1")
        if not _LEAST_NOISE <= self.noise_multiplier <= _MOST_NOISE:
            raise PrivacyInvalid(f"noise_multiplier is from {_LEAST_NOISE} to {_MOST_NOISE:g}")


@lru_cache(maxsize=1024)
def renyi(step: Step, order: int) -> float:
    """R(order) of one step, for a whole order of at least 2. Raises `PrivacyInvalid`."""
    if order < 2:  # noqa: PLR2004  (the formula's)
        raise PrivacyInvalid("the order of a Renyi divergence is a whole number from 2")
    q, sigma = step.sampling_rate, step.noise_multiplier
    if q == 1:
        return order / (2 * sigma**2)
    logs = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-q)
        + k * math.log(q)
        + _log_expm1((k * k - k) / (2 * sigma**2))
        for k in range(2, order + 1)
    ]
    largest = max(logs)
    above = largest + math.log(math.fsum(math.exp(one - largest) for one in logs))
    above += _ROUNDING * max(1.0, above)
    return (max(above, 0.0) + math.log1p(math.exp(-abs(above)))) / (order - 1)


def _log_expm1(x: float) -> float:
    """ln(exp(x) - 1) for x > 0."""
    return x + math.log(-math.expm1(-x))


@dataclass(frozen=True)
class Spent:
    """The steps taken so far, how many of each kind. A value: `after` gives the next."""

    steps: Mapping[Step, int] = field(default_factory=dict)

    def after(self, step: Step, times: int = 1) -> Self:
        """What is spent after `times` more of these steps. Raises `PrivacyInvalid`."""
        taken = self.steps.get(step, 0) + times
        if times < 0 or taken > MOST_STEPS:
            raise PrivacyInvalid(f"steps are counted from 0 to {MOST_STEPS}")
        return type(self)({**self.steps, step: taken})

    def to_json(self) -> list[Any]:
        """What is spent as a list of [sampling rate, noise multiplier, steps], for keeping."""
        return [[one.sampling_rate, one.noise_multiplier, n] for one, n in self.steps.items()]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` gave. Raises `Malformed`, `PrivacyInvalid`."""
        if not isinstance(value, list) or len(value) > MOST_KINDS:
            raise Malformed(f"what is spent is a list of at most {MOST_KINDS} kinds of steps")
        spent = cls()
        for one in value:
            if not isinstance(one, list) or [type(part) for part in one] != [float, float, int]:
                raise Malformed("a kind of step is [sampling rate, noise multiplier, steps]")
            spent = spent.after(Step(one[0], one[1]), one[2])
        return spent

    def epsilon(self, delta: float) -> float:
        """The epsilon spent, for this delta; 0 before the first step. Raises `PrivacyInvalid`."""
        if not 0 < delta < 1:
            raise PrivacyInvalid("delta is above 0 and below 1")
        if not any(self.steps.values()):
            return 0.0
        return max(0.0, min(self._epsilon(order, delta) for order in ORDERS))

    def _epsilon(self, order: int, delta: float) -> float:
        total = math.fsum(count * renyi(step, order) for step, count in self.steps.items())
        return total + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)


@dataclass(frozen=True)
class RowPrivacy:
    """Row-level DP-SGD (Abadi et al., 2016) inside each member, and the budget it may spend.

    All but the steps are decimals in text. `noise_multiplier` is the noise's standard deviation
    over `clip_norm`, the largest norm of one row's gradient; `sampling_rate` the probability with
    which each row enters a step, drawn for each row alone (Poisson): the accounting of
    this module holds for that and for no fixed batches.
    """

    epsilon: str
    delta: str
    noise_multiplier: str
    clip_norm: str
    sampling_rate: str
    steps_per_round: int

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "noise_multiplier": self.noise_multiplier,
            "clip_norm": self.clip_norm,
            "sampling_rate": self.sampling_rate,
            "steps_per_round": self.steps_per_round,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read them strictly, and check that they pay for a round.

        Raises `Malformed`, `CampaignInvalid`, `CombinationImpossible`.
        """
        source = reading.members(value, "privacy", _PRIVACY)
        texts = {name: reading.decimal(source, name) for name in _PRIVACY - {"steps_per_round"}}
        numbers = {name: Fraction(text) for name, text in texts.items()}
        if not all(numbers.values()):
            raise CampaignInvalid("epsilon, delta, noise, clipping and sampling are above 0")
        if numbers["delta"] >= 1 or numbers["sampling_rate"] > 1:
            raise CampaignInvalid("delta is below 1, sampling_rate at most 1")
        steps = reading.whole(source, "steps_per_round", 1, 1_000_000)
        read = cls(**texts, steps_per_round=steps)
        try:
            rounds = rounds_left(read, Spent())
        except PrivacyInvalid as error:
            raise CampaignInvalid(f"privacy: {error}") from None
        if rounds < 1:
            raise CombinationImpossible(
                "the privacy budget does not cover one round: more epsilon or noise, fewer steps"
            )
        return read


@dataclass(frozen=True)
class Budget:
    """The most that may be spent. Raises `PrivacyInvalid` unless epsilon > 0 and 0 < delta < 1."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf or not 0 < self.delta < 1:
            raise PrivacyInvalid("a budget has an epsilon above 0 and a delta from 0 to 1")

    @classmethod
    def of(cls, privacy: RowPrivacy) -> Self:
        """The budget of a campaign."""
        return cls(float(Fraction(privacy.epsilon)), float(Fraction(privacy.delta)))

    def allows(self, spent: Spent, step: Step, times: int) -> bool:
        """Whether `times` more steps stay within it. Asked before a round, it stops in time."""
        return spent.after(step, times).epsilon(self.delta) <= self.epsilon

    def steps_left(self, spent: Spent, step: Step) -> int:
        """How many more of these steps it allows, at most `MOST_STEPS`."""
        allowed, refused = 0, MOST_STEPS - spent.steps.get(step, 0) + 1
        while refused - allowed > 1:
            middle = (allowed + refused) // 2
            if self.allows(spent, step, middle):
                allowed = middle
            else:
                refused = middle
        return allowed


def step_of(privacy: RowPrivacy) -> Step:
    """The step that a campaign's rounds take."""
    return Step(float(Fraction(privacy.sampling_rate)), float(Fraction(privacy.noise_multiplier)))


def rounds_left(privacy: RowPrivacy, spent: Spent) -> int:
    """How many whole rounds a member may still take part in."""
    return Budget.of(privacy).steps_left(spent, step_of(privacy)) // privacy.steps_per_round


def after_round(privacy: RowPrivacy, spent: Spent) -> Spent | None:
    """What is spent after one more round; None where the budget does not cover it."""
    step, times = step_of(privacy), privacy.steps_per_round
    if not Budget.of(privacy).allows(spent, step, times):
        return None
    return spent.after(step, times)


def epsilon_after(privacy: RowPrivacy, rounds: int) -> Decimal:
    """The epsilon of so many rounds, of all stages together, rounded up at the sixth digit.

    What a round spends, it spends when it is opened: one that failed later counts as well.
    """
    spent = Spent().after(step_of(privacy), rounds * privacy.steps_per_round)
    return Decimal(math.ceil(spent.epsilon(float(Fraction(privacy.delta))) * _MICRO)) / _MICRO
