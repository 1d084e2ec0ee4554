"""The consent gate: which rows of a member may train in a round. On the member's machine.

`opening.open_round` makes the round out of a signed campaign and what the coordinator sent;
`opening.pin_lists` checks the status lists that the member downloaded as it opened; `gate` then
judges every row:

1. The round: it opens now, within the campaign's time, the stage before it is passed; this member
   is of the stage, enough members take part, the code and the parameters are the signed ones.
   (`open_round`) It comes after the last one that trained.
2. The lists: whole, authentic, issued no earlier than the round was opened, fresh. One that is
   missing, forged or stale means that no row trains. (`pin_lists`)
3. Each row's consent is known (its signature was verified: `ConsentCache.learn`).
4. It is for this member, allows training, for the campaign's purpose by its algorithm in its
   version, on all of its attributes, in all of its territories, and sets no number of uses.
5. It is valid now, and its bit in the pinned list is clear.
6. One row for each customer: a second one counts for nothing, or a customer would weigh more than
   the privacy accounting says. Where the stage is of one business line, that row is of it. In this
   order: a customer's row is the same in each stage, so that none of them shows by another one.
7. The difference guard, in campaigns without `privacy`: where somebody of the last round is gone,
   `cohort - 1` further customers go too, drawn once, and none of them comes back. Who is new waits
   until `cohort` are, and they come at once. Who compares two models then sees a group of `cohort`
   change, and not the one. Whose row leaves the stage's business line is gone like who withdraws,
   and those of other lines are new as the stage of all begins. With `privacy` there is no guard:
   the accounting is of one row, and the guard would change `cohort` for one.
8. What is left must be the campaign's least number of rows, and the cohort; else none trains.
9. With `privacy`, the budget covers this round after all that the member has spent in this campaign
   and in those that it does anew; else none trains. A round is spent when the gate lets it train.

What is left out is counted by reason and named nowhere. A refused round is a value.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from credentials.status import StatusList
from federation.consents import (
    NOBODY,
    TRAIN,
    Consent,
    ConsentCache,
    Scope,
    index_of,
    lists_of,
    place_of,
)
from federation.guard import Before, Draw, guarded, system_draw
from federation.opening import PinnedLists, Round
from federation.privacy import after_round

_NOT_ZERO: Final = re.compile(rb"[^\0]")


@dataclass(frozen=True)
class Gated:
    """Which rows train, by their places in what was given, and whose consents they rest on.

    `left_out` counts by reason, exactly, and stays with the member; `refused` is why no row trains
    at all, "" where rows do; `before` is what the next round needs of this one.
    """

    rows: tuple[int, ...]
    consents: tuple[str, ...]
    left_out: Mapping[str, int]
    refused: str
    before: Before


def gate(
    opened: Round,
    rows: Sequence[bytes],
    cache: ConsentCache,
    pinned: PinnedLists,
    *,
    before: Before,
    now: int,
    lines: Sequence[str] | None = None,
    draw: Draw | None = None,
) -> Gated:
    """Judge every row: steps 3 to 9 of the module.

    `rows` holds for each row the key of its consent (`ConsentCache.key_of`); `before` is what the
    gate gave in the round before (`Before.first` in the first); `now` Unix seconds; `lines` holds
    for each row its business line ("" for none), which only a stage of one line asks for; `draw` is
    the source of chance, the system's if None. Nothing is raised for a row: rows that may not train
    are counted.
    """
    fault = before.fault(opened) or ("" if pinned.opened == opened else "lists_of_another_round")
    fault = fault or _lines_fault(opened, rows, lines)
    privacy = opened.campaign.privacy
    spent = before.spent if privacy is None else after_round(privacy, before.spent)
    if spent is None:
        fault = fault or "privacy_budget_spent"
    if fault or spent is None:
        return Gated((), (), {fault: len(rows)}, fault, before)
    found = [cache.consents.get(key, NOBODY) for key in rows]
    statuses = [pinned.lists.get(uri) for uri in cache.lists]
    stale = {number for number, pinned in enumerate(statuses) if _stale(pinned, now)}
    if stale and stale & lists_of(found, now):
        return Gated((), (), {"lists_unavailable": len(rows)}, "lists_stale", before)
    misfits = [_misfit(scope, opened) for scope in cache.scopes]
    places, trained, left_out = _judged(found, misfits, _ended(statuses, cache), now)
    if opened.business_line is not None and lines is not None:
        others = [place for place in places if lines[place] != opened.business_line]
        left_out["other_business_line"] = len(others)
        trained = trained.difference([found[place].subject for place in others])
        places = sorted(set(places).difference(others))
    campaign, out = opened.campaign, before.out
    if campaign.privacy is None:
        left = guarded(found, places, trained, before, campaign.cohort, draw or system_draw)
        places, trained, out = left.places, left.trained, left.out
        left_out |= left.left_out
    if len(places) < max(campaign.minimum_rows, campaign.cohort):
        left_out["too_few_rows"] = len(places)
        # Nothing was trained on these rows, so there is no model to compare a later one with.
        return Gated((), (), dict(+left_out), "too_few_rows", before)
    return Gated(
        tuple(places),
        tuple([found[place].id for place in places]),
        dict(+left_out),
        "",
        replace(
            before,
            stage=opened.stage,
            number=opened.number,
            opened_at=opened.opened_at,
            trained=trained,
            out=out,
            spent=spent,
        ),
    )


def _judged(
    found: Sequence[Consent], misfits: Sequence[str], ended: AbstractSet[int], now: int
) -> tuple[Sequence[int], frozenset[str], Counter[str]]:
    """Steps 3 to 6: of those that may train, the places and the customers; and reasons.

    100,000 rows a round: what holds for all of them is one expression, and reasons are looked for
    among the few that are left out.
    """
    fits = [not misfit for misfit in misfits] or [False]
    places = [
        place
        for place, (_, _, scope, valid_from, valid_until, status) in enumerate(found)
        if valid_from <= now < valid_until and fits[scope] and status not in ended
    ]
    left_out: Counter[str] = Counter()
    if len(places) < len(found):
        out = set(range(len(found))).difference(places)
        left_out.update(_reason(found[place], misfits, now) for place in out)
    subjects = frozenset([found[place].subject for place in places])
    if len(subjects) < len(places):
        first = {found[place].subject: place for place in reversed(places)}
        left_out["second_row"] = len(places) - len(first)
        places = sorted(first.values())
    return places, subjects, left_out


def _lines_fault(opened: Round, rows: Sequence[bytes], lines: Sequence[str] | None) -> str:
    """Why what is said of business lines fits no stage of one, "" where it does."""
    if opened.business_line is None:
        return ""
    if lines is None:
        return "business_lines_missing"
    return "" if len(lines) == len(rows) else "business_lines_differ"


def _reason(consent: Consent, misfits: Sequence[str], now: int) -> str:
    """Why a row may not train, the first reason of the module's order."""
    if consent is NOBODY:
        return "consent_unknown"
    if misfits[consent.scope]:
        return misfits[consent.scope]
    if now < consent.valid_from:
        return "consent_not_yet_valid"
    return "consent_expired" if now >= consent.valid_until else "consent_ended"


def _misfit(scope: Scope, opened: Round) -> str:
    """Step 4: the reason against a scope, "" where it allows what the campaign does."""
    campaign = opened.campaign
    if scope.limited:
        return "uses_limited"
    if opened.member not in scope.recipients:
        return "consent_of_another"
    if TRAIN not in scope.actions:
        return "training_not_allowed"
    if scope.purpose != campaign.purpose:
        return "purpose_differs"
    if not scope.attributes.issuperset(campaign.attributes):
        return "attributes_not_allowed"
    if not scope.territories.issuperset(campaign.territories):
        return "territory_not_allowed"
    return ""


def _stale(pinned: StatusList | None, now: int) -> bool:
    return pinned is None or (pinned.fresh_until is not None and pinned.fresh_until <= now)


def _ended(statuses: Sequence[StatusList | None], cache: ConsentCache) -> AbstractSet[int]:
    """The places in all lists whose status is not 0, and those of consents beyond their list."""
    ended: set[int] = set()
    for number, pinned in enumerate(statuses):
        if pinned is None:
            continue
        data, each, first = pinned.data, 8 // pinned.bits, place_of(number, 0)
        entries = _entries(pinned.bits)
        for at in [match.start() for match in _NOT_ZERO.finditer(data)]:
            for entry in entries[data[at]]:
                ended.add(first + at * each + entry)
    sizes = {number: pinned.size for number, pinned in enumerate(statuses) if pinned is not None}
    least = min(sizes.values(), default=0)
    for consent in cache.consents.values() if cache.highest_index >= least else ():
        number, index = index_of(consent.status)
        # Of a list that no row needs, nothing is asked.
        if index >= sizes.get(number, index + 1):
            ended.add(consent.status)
    return ended


@lru_cache
def _entries(bits: int) -> Sequence[Sequence[int]]:
    """For each byte of a list, which of its entries are not 0 (from the lowest bits on)."""
    mask = (1 << bits) - 1
    return [
        [entry for entry in range(8 // bits) if byte >> entry * bits & mask] for byte in range(256)
    ]
