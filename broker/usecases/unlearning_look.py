"""Looking for the rows of consents that ended in the leaves of rounds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from sqlalchemy import Connection

from broker.domain.unlearning import ends_of
from broker.store import consents, people, training_rounds
from broker.store.campaigns import CampaignRow
from broker.store.consents import ConsentRow
from broker.store.training_rounds import RoundRow
from broker.store.unlearning import SearchRow
from broker.usecases.campaign import salt_of, signed_of
from broker.usecases.context import Context
from broker.usecases.training_evidence import leaves_of, purpose_of
from federation.presence import CampaignSalt, is_among, leaf_of

CLOCKS_APART = 60
"""So many seconds are broker processes apart at most."""


@dataclass(frozen=True)
class Wanted:
    """A consent that ended: the ids that it had, and from when on rounds are to be looked at.

    Each id with the withdrawal that ended it (`domain.unlearning.ends_of`).
    """

    ids: Mapping[str, tuple[str, int]]
    over_since: int
    contact: str


@dataclass
class Looked:
    """By model version the ended consents whose rows its round used; the rounds that were seen.

    Of each the withdrawals that ended it, and from when on lists show them. `until` is None where
    every round was looked at, else those were that were over before that time.
    """

    used: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    rounds: set[str] = field(default_factory=set)
    contacts: dict[str, str] = field(default_factory=dict)
    until: int | None = None


def wanted_of(tx: Connection, tenant_id: str, pending: list[SearchRow]) -> dict[str, Wanted]:
    """What is to be looked for of consents that ended, by their ids."""
    ended = [consents.consent(tx, tenant_id, one.consent_id) for one in pending]
    every: dict[str, list[ConsentRow]] = {}
    for row in people.consents(tx, sorted({row.contact_id for row in ended})):
        if row.valid_from is not None and row.state != "granted":
            every.setdefault(row.contact_id, []).append(row)
    due = {one.consent_id: one for one in pending}
    found: dict[str, Wanted] = {}
    for row in ended:
        same = [one for one in every.get(row.contact_id, ()) if _same_purpose(row, one)]
        own = {one.id: one for one in (row, *same)}
        ids = ends_of(
            {one.id: one.ended_at for one in own.values()},
            {one.id: _shown_from(one) for one in own.values() if one.state == "withdrawn"},
            {one: due[one].due_at for one in own if one in due},
        )
        looked_at = due[row.id].looked_at or 0
        found[row.id] = Wanted(ids, looked_at - CLOCKS_APART, row.contact_id)
    return found


def _shown_from(row: ConsentRow) -> int:
    return (row.ended_at or 0) if row.shown_from is None else row.shown_from


def _same_purpose(row: ConsentRow, other: ConsentRow) -> bool:
    purposes = {purpose_of(row), purpose_of(other)}
    # Terms that an erasure has emptied do not say for what.
    return len(purposes) == 1 or None in purposes


def look(
    ctx: Context,
    held: Iterable[CampaignRow],
    wanted: Mapping[str, Wanted],
    looked: Looked,
    *,
    late: Callable[[], bool] = lambda: False,
) -> None:
    """Look through the leaves of campaigns' closed rounds, and note in `looked` what is found.

    The rounds that were over first come first. When it is `late` it stops behind a round: a later
    walk goes on from `looked.until`.
    """
    looked.contacts.update((consent, each.contact) for consent, each in wanted.items())
    places = sorted(
        (place for campaign in held for place in _places(ctx, campaign)),
        key=lambda place: place.over_at,
    )
    looked.rounds.update(place.row.id for place in places)
    needed = [one for one in places if any(one.is_of(each) for each in wanted.values())]
    for place, following in zip_longest(needed, needed[1:]):
        _look_at(ctx, place, wanted, looked)
        # Not between two of one second: what is kept is a time.
        if following is not None and following.over_at > place.over_at and late():
            looked.until = following.over_at
            looked.rounds -= {one.row.id for one in needed if one.over_at >= looked.until}
            return


@dataclass(frozen=True)
class _Place:
    """A closed round to be looked at, the members whose receipts are there, and the salt."""

    row: RoundRow
    over_at: int
    members: tuple[str, ...]
    salt: CampaignSalt

    def is_of(self, wanted: Wanted) -> bool:
        """Whether a consent's row is to be looked for here."""
        return wanted.over_since <= self.over_at


def _places(ctx: Context, campaign: CampaignRow) -> list[_Place]:
    with ctx.db.reading() as tx:
        closed = [
            one for one in training_rounds.of_campaign(tx, campaign.id) if one.state == "closed"
        ]
        if not closed:
            return []
        told = training_rounds.who_told(tx, campaign.id)
        salt = salt_of(ctx, tx, campaign, signed_of(campaign))
    return [_Place(one, one.over_at or 0, tuple(told.get(one.id, ())), salt) for one in closed]


def _look_at(ctx: Context, place: _Place, wanted: Mapping[str, Wanted], looked: Looked) -> None:
    row = place.row
    asked = {consent: each.ids for consent, each in wanted.items() if place.is_of(each)}
    if row.model_out is None:
        return
    for member in place.members:
        # Each in a transaction of its own: a walk may be long.
        with ctx.db.reading() as tx:
            receipt = training_rounds.receipt(tx, row.id, member)
        if receipt is None:
            continue
        leaves, key = leaves_of(ctx, receipt), place.salt.key(row.stage, row.number, member)
        for consent, ids in asked.items():
            ends = [ids[each] for each in ids if is_among(leaves, leaf_of(key, each))]
            if ends:
                used = looked.used.setdefault(row.model_out, {}).setdefault(consent, {})
                used.update(ends)
