"""Looking for the rows of consents that ended in the leaves of rounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from broker.domain.unlearning import ends_of
from broker.store import consents, people, training_rounds
from broker.store.campaigns import CampaignRow
from broker.store.consents import ConsentRow
from broker.store.unlearning import SearchRow
from broker.usecases.campaign import salt_of, signed_of
from broker.usecases.context import Context
from broker.usecases.training_evidence import leaves_of, purpose_of
from federation.presence import is_among, leaf_of

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

    Of each the withdrawals that ended it, and from when on lists show them.
    """

    used: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    rounds: set[str] = field(default_factory=set)
    contacts: dict[str, str] = field(default_factory=dict)


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


def look(ctx: Context, campaign: CampaignRow, wanted: Mapping[str, Wanted], looked: Looked) -> None:
    """Look through the leaves of a campaign's closed rounds, and note in `looked` what is found."""
    with ctx.db.reading() as tx:
        rounds = training_rounds.of_campaign(tx, campaign.id)
        closed = {one.model_out: one for one in rounds if one.state == "closed"}
        told = training_rounds.who_told(tx, campaign.id)
        salt = salt_of(ctx, tx, campaign, signed_of(campaign)) if closed else None
    looked.contacts.update((consent, each.contact) for consent, each in wanted.items())
    for model, one in closed.items():
        looked.rounds.add(one.id)
        asked = {
            consent: each.ids
            for consent, each in wanted.items()
            if each.over_since <= (one.over_at or 0)
        }
        for member in told.get(one.id, ()) if asked else ():
            with ctx.db.reading() as tx:
                receipt = training_rounds.receipt(tx, one.id, member)
            if receipt is None or salt is None or model is None:
                continue
            leaves, key = leaves_of(ctx, receipt), salt.key(one.stage, one.number, member)
            for consent, ids in asked.items():
                ends = [ids[each] for each in ids if is_among(leaves, leaf_of(key, each))]
                if ends:
                    used = looked.used.setdefault(model, {}).setdefault(consent, {})
                    used.update(ends)
