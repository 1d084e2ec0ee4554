"""The consent gate: which rows of a member may train in a round. On the member's machine.

`open_round` makes the round out of a signed campaign and what the coordinator sent; `pin_lists`
checks the status lists that the member downloaded as it opened; `gate` then judges every row:

1. The round: this member is of the stage, enough members take part, the code and the parameters
   are the signed ones. (`open_round`)
2. The lists: whole, authentic, issued no earlier than the round was opened, fresh. One that is
   missing, forged or stale means that no row trains. (`pin_lists`)
3. Each row's consent is known (its signature was verified: `ConsentCache.learn`).
4. It is for this member, allows training, for the campaign's purpose by its algorithm in its
   version, on all of its attributes.
5. It is valid now, and its bit in the pinned list is clear.
6. One row for each customer: a second one counts for nothing, or a customer would weigh more than
   the privacy accounting says.
7. The difference guard: from the first round on in which the rows are not the same as in the
   first, `cohort - 1` further rows are left out, drawn anew each round. Who compares two models
   then sees a group of `cohort` customers change, and not the one who withdrew.
8. What is left must be the campaign's least number of rows, and the cohort; else none trains.

What is left out is counted by reason and named nowhere. A refused round is a value.
"""

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from credentials.errors import CredentialError
from credentials.status import StatusList, verify_status_token
from federation import reading
from federation.board import SignedCampaign
from federation.campaign import Campaign
from federation.consents import (
    TRAIN,
    Consent,
    ConsentCache,
    ConsentIssuer,
    Scope,
    index_of,
    place_of,
)
from federation.errors import CampaignInvalid, ListsUnavailable
from federation.receipt import UsedList

Draw = Callable[[int, int], Sequence[int]]
"""`draw(n, k)`: k different numbers below n, at random."""

MOST_LISTS: Final = 256
_NOT_ZERO: Final = re.compile(rb"[^\0]")


@dataclass(frozen=True)
class Round:
    """A round of a campaign for one member. Made by `open_round` alone.

    `opened_at` is Unix seconds, as the coordinator announced it.
    """

    campaign: Campaign
    campaign_hash: str
    stage: str
    number: int
    member: str
    opened_at: int


@dataclass(frozen=True)
class PinnedLists:
    """The status lists of a round by address. Made by `pin_lists` alone."""

    lists: Mapping[str, StatusList]
    used: tuple[UsedList, ...]
    opened_at: int


@dataclass(frozen=True)
class Before:
    """What a member keeps of the earlier rounds of a campaign, for the difference guard."""

    subjects: frozenset[str] | None = None
    changed: bool = False


@dataclass(frozen=True)
class Gated:
    """Which rows train, by their places in what was given, and whose consents they rest on.

    `left_out` counts by reason; `refused` is why no row trains at all, "" where rows do;
    `before` is what the next round needs of this one.
    """

    rows: tuple[int, ...]
    consents: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    before: Before = Before()


def open_round(
    signed: SignedCampaign,
    *,
    stage: str,
    number: int,
    member: str,
    taking_part: Sequence[str],
    bundle: bytes,
    parameters: object,
    opened_at: int,
) -> Round:
    """Check what a coordinator announces against the signed campaign: step 1 of the module.

    Raises `CampaignInvalid`, `BundleDiffers`, `ParametersDiffer`.
    """
    campaign = signed.campaign
    stages = {one.stage: one for one in campaign.rollout}
    if stage not in stages:
        raise CampaignInvalid("the campaign has no such stage")
    members = set(stages[stage].members)
    if member not in members:
        raise CampaignInvalid(f"this member takes no part in stage {stage}")
    if not set(taking_part) <= members:
        raise CampaignInvalid(f"a stranger to stage {stage} takes part in the round")
    if member not in taking_part or len(set(taking_part)) < campaign.minimum_members:
        raise CampaignInvalid(f"a round takes {campaign.minimum_members} members, this one too")
    if not 1 <= number <= campaign.rounds:
        raise CampaignInvalid(f"the campaign has rounds 1 to {campaign.rounds}")
    campaign.check_bundle(bundle)
    campaign.check_parameters(parameters)
    return Round(campaign, signed.campaign_hash, stage, number, member, opened_at)


def pin_lists(
    tokens: Mapping[str, str],
    *,
    needed: Sequence[str],
    issuer: ConsentIssuer,
    opened_at: int,
    now: int,
) -> PinnedLists:
    """Check the status lists of a round: step 2 of the module.

    `tokens` are the status list tokens by address, as downloaded; `needed` the addresses that the
    cache's consents name (`ConsentCache.lists`); `issuer` whose consents these are, which alone
    says what became of them (or whoever is certified for the address of a list); times are Unix
    seconds. Raises `ListsUnavailable`.
    """
    if len(needed) > MOST_LISTS:
        raise ListsUnavailable(f"a round pins at most {MOST_LISTS} status lists")
    lists: dict[str, StatusList] = {}
    used: list[UsedList] = []
    for uri in sorted(set(needed)):
        token = tokens.get(uri)
        if token is None:
            raise ListsUnavailable(f"the status list {uri} was not downloaded for this round")
        try:
            pinned = verify_status_token(
                token, uri=uri, anchors=issuer.anchors, issuer=issuer.issuer, now=now
            )
        except CredentialError as error:
            raise ListsUnavailable(f"the status list {uri}: {error}") from None
        if pinned.issued_at is None or pinned.issued_at < opened_at:
            raise ListsUnavailable(
                f"the status list {uri} was issued before the round opened: download it anew"
            )
        lists[uri] = pinned
        digest = reading.encoded(hashlib.sha256(token.encode("ascii")).digest())
        used.append(UsedList(uri, digest, pinned.issued_at))
    return PinnedLists(lists, tuple(used), opened_at)


def gate(
    opened: Round,
    rows: Sequence[bytes],
    cache: ConsentCache,
    pinned: PinnedLists,
    *,
    before: Before,
    now: int,
    draw: Draw | None = None,
) -> Gated:
    """Judge every row: steps 3 to 8 of the module.

    `rows` holds for each row the key of its consent (`ConsentCache.key_of`); `before` is what the
    gate gave in the round before (`Before()` in the first); `now` Unix seconds; `draw` the source
    of chance, the system's if None. Nothing is raised for a row: rows that may not train are
    counted.
    """
    if pinned.opened_at != opened.opened_at:
        return Gated((), (), {"lists_of_another_round": len(rows)}, "lists_stale", before)
    statuses = [pinned.lists.get(uri) for uri in cache.lists]
    if any(_stale(one, now) for one in statuses):
        return Gated((), (), {"lists_unavailable": len(rows)}, "lists_stale", before)
    misfits = [_misfit(scope, opened) for scope in cache.scopes]
    ended = _ended([one for one in statuses if one is not None], cache)
    found, places, subjects, left_out = _judged(rows, cache.consents, misfits, ended, now)
    changed = before.changed or (before.subjects is not None and subjects != before.subjects)
    campaign = opened.campaign
    if changed:
        left = _guarded(places, campaign.cohort - 1, draw or _system_draw)
        left_out["difference_guard"] = len(places) - len(left)
        places = left
    if len(places) < max(campaign.minimum_rows, campaign.cohort):
        left_out["too_few_rows"] = len(places)
        # Nothing was trained on these rows, so there is no model to compare a later one with.
        return Gated((), (), dict(+left_out), "too_few_rows", Before(before.subjects, changed))
    return Gated(
        tuple(places),
        tuple([found[place].id for place in places]),
        dict(+left_out),
        "",
        Before(subjects if before.subjects is None else before.subjects, changed),
    )


_NOBODY: Final = Consent("", "", 0, 0, 0, 0)
"""Stands for a consent that is not known: it never holds."""


def _judged(
    rows: Sequence[bytes],
    consents: Mapping[bytes, Consent],
    misfits: Sequence[str],
    ended: AbstractSet[int],
    now: int,
) -> tuple[Sequence[Consent], list[int], frozenset[str], Counter[str]]:
    """Steps 3 to 6: each row's consent; of those that may train places and subjects; reasons.

    100,000 rows a round: what holds for all of them is one expression, and reasons are looked for
    among the few that are left out.
    """
    found = [consents.get(key, _NOBODY) for key in rows]
    fits = [not misfit for misfit in misfits] or [False]
    places = [
        place
        for place, (_, _, scope, valid_from, valid_until, status) in enumerate(found)
        if valid_from <= now < valid_until and fits[scope] and status not in ended
    ]
    left_out: Counter[str] = Counter()
    if len(places) < len(rows):
        out = set(range(len(rows))).difference(places)
        left_out.update(_reason(found[place], misfits, now) for place in out)
    subjects = frozenset([found[place].subject for place in places])
    if len(subjects) < len(places):
        first = {found[place].subject: place for place in reversed(places)}
        left_out["second_row"] = len(places) - len(first)
        places = sorted(first.values())
    return found, places, subjects, left_out


def _reason(consent: Consent, misfits: Sequence[str], now: int) -> str:
    """Why a row may not train, the first reason of the module's order."""
    if consent is _NOBODY:
        return "consent_unknown"
    if misfits[consent.scope]:
        return misfits[consent.scope]
    if now < consent.valid_from:
        return "consent_not_yet_valid"
    return "consent_expired" if now >= consent.valid_until else "consent_ended"


def _misfit(scope: Scope, opened: Round) -> str:
    """Step 4: the reason against a scope, "" where it allows what the campaign does."""
    campaign = opened.campaign
    if opened.member not in scope.recipients:
        return "consent_of_another"
    if TRAIN not in scope.actions:
        return "training_not_allowed"
    if scope.purpose != campaign.purpose:
        return "purpose_differs"
    if not scope.attributes.issuperset(campaign.attributes):
        return "attributes_not_allowed"
    return ""


def _stale(pinned: StatusList | None, now: int) -> bool:
    return pinned is None or (pinned.fresh_until is not None and pinned.fresh_until <= now)


def _ended(statuses: Sequence[StatusList], cache: ConsentCache) -> AbstractSet[int]:
    """The places in all lists whose status is not 0, and those of consents beyond their list."""
    ended: set[int] = set()
    for number, pinned in enumerate(statuses):
        data, each, first = pinned.data, 8 // pinned.bits, place_of(number, 0)
        entries = _entries(pinned.bits)
        for at in [match.start() for match in _NOT_ZERO.finditer(data)]:
            for entry in entries[data[at]]:
                ended.add(first + at * each + entry)
    sizes = [pinned.size for pinned in statuses]
    for consent in cache.consents.values() if cache.highest_index >= min(sizes, default=0) else ():
        number, index = index_of(consent.status)
        if index >= sizes[number]:
            ended.add(consent.status)
    return ended


@lru_cache
def _entries(bits: int) -> Sequence[Sequence[int]]:
    """For each byte of a list, which of its entries are not 0 (from the lowest bits on)."""
    mask = (1 << bits) - 1
    return [
        [entry for entry in range(8 // bits) if byte >> entry * bits & mask] for byte in range(256)
    ]


def _guarded(places: list[int], further: int, draw: Draw) -> list[int]:
    """Step 7: without `further` rows, drawn anew."""
    left: list[int] = []
    start = 0
    for out in sorted(draw(len(places), min(further, len(places)))):
        left += places[start:out]
        start = out + 1
    return left + places[start:]


def _system_draw(below: int, count: int) -> list[int]:
    return secrets.SystemRandom().sample(range(below), count)
