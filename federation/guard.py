"""The difference guard, step 7 of `federation.gate`, and what a member keeps for it."""

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from federation import reading
from federation.board import SignedCampaign
from federation.consents import Consent
from federation.errors import Malformed
from federation.opening import Round
from federation.privacy import Spent
from federation.rollout import STAGES

Draw = Callable[[int, int], Sequence[int]]
"""`draw(n, k)`: k different numbers below n, at random."""


_KEPT: Final = frozenset(
    {"campaign", "member", "stage", "number", "opened_at", "trained", "out", "spent"}
)
_LATEST: Final = 2**53 - 1
_MOST_CUSTOMERS: Final = 2**24


@dataclass(frozen=True)
class Before:
    """What a member keeps of the rounds of a campaign, durably and before it trains.

    `stage`, `number` and `opened_at` are of the last round that trained, `trained` its customers,
    `out` those who are out of the campaign for good, `spent` what its rounds with `privacy` have
    spent. A member that has lost it leaves the campaign:
    `first` again would show the difference that the guard hides, and spend the budget twice.
    """

    campaign: str
    member: str
    stage: str = ""
    number: int = 0
    opened_at: int = -1
    trained: frozenset[str] | None = None
    out: frozenset[str] = frozenset()
    spent: Spent = field(default_factory=Spent)

    def to_json(self) -> dict[str, Any]:
        """It as a JSON object, for keeping: it names customers, so it stays with the member."""
        return {
            "campaign": self.campaign,
            "member": self.member,
            "stage": self.stage,
            "number": self.number,
            "opened_at": self.opened_at,
            "trained": None if self.trained is None else sorted(self.trained),
            "out": sorted(self.out),
            "spent": self.spent.to_json(),
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` gave. Raises `Malformed`, `TooLarge`, `PrivacyInvalid`."""
        source = reading.members(value, "what is kept of the round before", _KEPT)
        return cls(
            campaign=reading.digest(source, "campaign"),
            member=reading.name(source, "member"),
            stage=reading.choice(source, "stage", ("", *STAGES)),
            number=reading.whole(source, "number", 0, _LATEST),
            opened_at=reading.whole(source, "opened_at", -1, _LATEST),
            trained=None if source["trained"] is None else _customers(source, "trained"),
            out=_customers(source, "out"),
            spent=Spent.from_json(source["spent"]),
        )

    @classmethod
    def first(cls, signed: SignedCampaign, member: str) -> Self:
        """What a member begins a campaign with that follows no other."""
        return cls(signed.campaign_hash, member)

    def into(self, signed: SignedCampaign) -> Self:
        """The same for a campaign that does rounds of this one anew, after a withdrawal.

        A replay is a campaign of its own, with a salt of its own: under the old one its rounds
        would be repeated ones. What is spent is spent of it too.
        """
        return replace(self, campaign=signed.campaign_hash, stage="", number=0)

    def fault(self, opened: Round) -> str:
        """Why a round cannot follow, "" where it can."""
        if (self.campaign, self.member) != (opened.campaign_hash, opened.member):
            return "before_of_another"
        ordered = ("", *STAGES)
        last, this = (ordered.index(one.stage) for one in (self, opened))
        if (this, opened.number) <= (last, self.number) or opened.opened_at <= self.opened_at:
            return "round_repeated"
        return ""


@dataclass(frozen=True)
class Guarded:
    """Who is left, by places and by name; who is out for good; and why the others are."""

    places: Sequence[int]
    trained: frozenset[str]
    out: frozenset[str]
    left_out: Counter[str]


def guarded(
    found: Sequence[Consent],
    places: Sequence[int],
    subjects: frozenset[str],
    before: Before,
    cohort: int,
    draw: Draw,
) -> Guarded:
    """Those of a round whom the guard lets in: `places` in `found`, whose customers are `subjects`.

    Whoever leaves, drawn or not, is out for good: the one who came back would be known by it.
    """
    if before.trained is None:
        return Guarded(places, subjects, before.out, Counter())
    gone, others = before.trained - subjects, subjects - before.trained
    left_out = Counter(difference_guard=len(others & before.out))
    joining = others - before.out
    if len(joining) < cohort:
        left_out["waits_for_others"] = len(joining)
        joining = frozenset()
    shut = others - joining
    staying = places
    if others:
        staying = [place for place in places if found[place].subject not in others]
    if gone:
        numbers = sorted(draw(len(staying), min(cohort - 1, len(staying))))
        drawn = frozenset([found[staying[number]].subject for number in numbers])
        left_out["difference_guard"] += len(drawn)
        shut, gone = shut | drawn, gone | drawn
        staying = _without(staying, numbers)
    if joining:
        staying = [place for place in places if found[place].subject not in shut]
    return Guarded(staying, subjects - shut, before.out | gone, left_out)


def _without(places: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """The places but those at these numbers, which ascend: by slices, since few are left out."""
    left: list[int] = []
    start = 0
    for number in numbers:
        left += places[start:number]
        start = number + 1
    return left + list(places[start:])


def _customers(source: Any, member: str) -> frozenset[str]:  # noqa: ANN401 (JSON)
    names = reading.items(source, member, _MOST_CUSTOMERS)
    if not all(isinstance(one, str) for one in names):
        raise Malformed(f"{member} is a list of customers")
    return frozenset(names)


def system_draw(below: int, count: int) -> list[int]:
    """Draw by the system's source of chance."""
    return secrets.SystemRandom().sample(range(below), count)
