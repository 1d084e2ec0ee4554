"""Unlearning: which models learnt from a row whose consent was withdrawn, and what comes of it.

A withdrawal, and an erasure, note the consent (`note_end`). From the time on when others see that,
a sweep, or whoever is about to promote a model, looks for it in the leaves of every round: the
broker has these and the campaigns' salts, so it asks nobody. What is found is marked down the
lineage, and a task opens for each campaign concerned, or the open one is extended. A consent is
looked for until no round is open that may have used it.

The log tells of a task and of models, and of no customer: entries of two partners that tell of one
withdrawal each would show that they have a customer in common (decision 0080).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.domain.ids import new_id
from broker.domain.unlearning import USED, Marks, base_of, ends_of, marks
from broker.store import (
    campaigns,
    consents,
    model_versions,
    people,
    registry,
    training_rounds,
    unlearning,
)
from broker.store.campaigns import CampaignRow
from broker.store.consents import ConsentRow
from broker.store.model_versions import VersionRow
from broker.store.unlearning import SearchRow, TaintRow, UnlearningRow
from broker.usecases import audit
from broker.usecases.campaign import salt_of, signed_of
from broker.usecases.context import Context, at_one_moment
from broker.usecases.model_lineage import as_library
from broker.usecases.training_evidence import leaves_of, purpose_of
from federation.errors import FederationError
from federation.presence import is_among, leaf_of
from federation.rollout import STAGES
from federation.unlearning import Lineage

TASK = "ut"
AT_ONCE = 1_000
CLOCKS_APART = 60
TOLD = 100
"""So many withdrawals are looked for at once; so many seconds are broker processes apart at most;
so many models does an entry of the log name."""


def note_end(ctx: Context, tx: Connection, row: ConsentRow, shown_from: int | None) -> None:
    """Have models looked for that used the row of a consent that ends, from `shown_from` on."""
    due_at = ctx.now() if shown_from is None else shown_from
    unlearning.look_for(tx, SearchRow(row.id, row.tenant_id, due_at))


def search_due(ctx: Context) -> int:
    """Look for what ended by now, for each tenant by itself; how many were looked for to the end.

    Raises the last error of a tenant that failed, after all were tried.
    """
    with ctx.db.reading() as tx:
        tenants = unlearning.tenants_due(tx, ctx.now())
    done, failed = 0, None
    for tenant_id in tenants:
        try:
            done += search(ctx, tenant_id)
        except Exception as error:  # noqa: BLE001 (all others' models have to be looked through)
            failed = error
    if failed is not None:
        raise failed
    return done


def search(ctx: Context, tenant_id: str) -> int:
    """Look in all rounds for what ended by now, and mark what is found.

    1. Of each consent all ids that it had: those of the same customer at the partner, to the same
       purpose, that have ended.
    2. The leaves of every receipt are looked through, whoever gave it, without a transaction.
    3. In one transaction, which holds the campaigns: versions are marked, tasks opened or extended.

    How many consents were looked for to the end. Raises `StateConflict` where a lineage or a
    campaign does not hold.
    """
    ctx = at_one_moment(ctx)
    done, behind = 0, None
    while True:
        with ctx.db.reading() as tx:
            pending = unlearning.due(tx, tenant_id, ctx.now(), AT_ONCE, behind)
            wanted = _wanted(tx, tenant_id, pending)
            held = campaigns.of_tenant(tx, tenant_id)
        if not pending:
            return done
        try:
            looked = _Looked()
            for campaign in held:
                _look(ctx, campaign, wanted, looked)
            with ctx.db.transaction() as tx:
                over = _mark(ctx, tx, held, pending, looked)
        except FederationError as error:
            raise StateConflict(f"models cannot be looked through: {error}") from None
        if over is not None:
            done, behind = done + over, pending[-1]


def waiting(ctx: Context, tenant_id: str) -> int:
    """How many withdrawals were not looked for to the end; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return unlearning.waiting(tx, tenant_id)


@dataclass(frozen=True)
class _Wanted:
    """A consent that ended: the ids that it had, and from when on rounds are to be looked at.

    Each id with the withdrawal that ended it (`domain.unlearning.ends_of`).
    """

    ids: Mapping[str, tuple[str, int]]
    over_since: int
    contact: str


@dataclass
class _Looked:
    """By model version the ended consents whose rows its round used; the rounds that were seen.

    Of each the withdrawals that ended it, and from when on lists show them.
    """

    used: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    rounds: set[str] = field(default_factory=set)
    contacts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Walk:
    """All versions of a tenant, and what a walk from those that used rows marks.

    `told` are by version the withdrawals of this walk that no task tells of yet.
    """

    versions: Mapping[str, VersionRow]
    lineage: Lineage
    told: Mapping[str, set[str]]
    marks: Marks


def _wanted(tx: Connection, tenant_id: str, pending: list[SearchRow]) -> dict[str, _Wanted]:
    ended = [consents.consent(tx, tenant_id, one.consent_id) for one in pending]
    every: dict[str, list[ConsentRow]] = {}
    for row in people.consents(tx, sorted({row.contact_id for row in ended})):
        if row.valid_from is not None and row.state != "granted":
            every.setdefault(row.contact_id, []).append(row)
    due = {one.consent_id: one for one in pending}
    found: dict[str, _Wanted] = {}
    for row in ended:
        same = [one for one in every.get(row.contact_id, ()) if _same_purpose(row, one)]
        own = {one.id: one for one in (row, *same)}
        ids = ends_of(
            {one.id: one.ended_at for one in own.values()},
            {one.id: _shown_from(one) for one in own.values() if one.state == "withdrawn"},
            {one: due[one].due_at for one in own if one in due},
        )
        looked_at = due[row.id].looked_at or 0
        found[row.id] = _Wanted(ids, looked_at - CLOCKS_APART, row.contact_id)
    return found


def _shown_from(row: ConsentRow) -> int:
    return (row.ended_at or 0) if row.shown_from is None else row.shown_from


def _same_purpose(row: ConsentRow, other: ConsentRow) -> bool:
    purposes = {purpose_of(row), purpose_of(other)}
    # Terms that an erasure has emptied do not say for what.
    return len(purposes) == 1 or None in purposes


def _look(
    ctx: Context, campaign: CampaignRow, wanted: Mapping[str, _Wanted], looked: _Looked
) -> None:
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


def _mark(
    ctx: Context,
    tx: Connection,
    seen: list[CampaignRow],
    pending: list[SearchRow],
    looked: _Looked,
) -> int | None:
    """Mark what was found; how many are looked for to the end, None where it is to be done anew.

    That is where a campaign came meanwhile: it may have begun with what is marked here.
    """
    tenant_id = pending[0].tenant_id
    unseen: list[int] = []
    opened_at: dict[str, int] = {}
    for campaign_id in sorted(one.id for one in seen):
        campaigns.find(tx, tenant_id, campaign_id, lock=True)
        for one in training_rounds.of_campaign(tx, campaign_id):
            if one.state != "failed" and one.id not in looked.rounds:
                unseen.append(one.opened_at)
            if one.model_out is not None:
                opened_at[one.model_out] = one.opened_at
    held = {one.id: one for one in campaigns.of_tenant(tx, tenant_id)}
    if held.keys() != {one.id for one in seen}:
        return None
    # Another worker may have been first.
    left = {
        one.consent_id: one for one in unlearning.remaining(tx, [one.consent_id for one in pending])
    }
    used = {
        model: {consent: ends for consent, ends in who.items() if consent in left}
        for model, who in looked.used.items()
    }
    used = {model: who for model, who in used.items() if who}
    if used:
        walk = _walk(tx, tenant_id, held, used, opened_at, _untold(looked, left))
        for campaign_id in sorted(held):
            _mark_campaign(ctx, tx, walk, held[campaign_id])
        unlearning.count(tx, sorted(set().union(*used.values())))
    over = [
        one.consent_id
        for one in left.values()
        # A round may have been opened by a process whose clock is ahead.
        if not any(opened <= one.due_at + CLOCKS_APART for opened in unseen)
    ]
    unlearning.looked(tx, over)
    unlearning.wait(tx, sorted(left.keys() - set(over)), ctx.now())
    return len(over)


def _untold(looked: _Looked, left: Mapping[str, SearchRow]) -> dict[str, str]:
    """By withdrawal that no task tells of yet its customer at the partner, who is counted once."""
    told = {looked.contacts[one.consent_id] for one in left.values() if one.counted}
    every = {one: looked.contacts[one] for one in left}
    return {one: contact for one, contact in every.items() if contact not in told}


def _walk(
    tx: Connection,
    tenant_id: str,
    held: Mapping[str, CampaignRow],
    used: Mapping[str, Mapping[str, Mapping[str, int]]],
    opened_at: Mapping[str, int],
    untold: Mapping[str, str],
) -> _Walk:
    versions = {one.id: one for one in model_versions.of_tenant(tx, tenant_id)}
    lineage = Lineage(
        as_library(one, held[one.campaign_id].hash)
        for one in versions.values()
        if one.campaign_id in held
    )
    policies = {one.hash: signed_of(one).campaign.unlearning for one in held.values()}
    last = {
        model: max(at for ends in who.values() for at in ends.values())
        for model, who in used.items()
    }
    told = {
        model: {untold[one] for ends in who.values() for one in ends if one in untold}
        for model, who in used.items()
    }
    return _Walk(
        versions, lineage, told, marks(lineage, last, opened_at=opened_at, policies=policies)
    )


def _mark_campaign(ctx: Context, tx: Connection, walk: _Walk, campaign: CampaignRow) -> None:
    """Mark a campaign's versions, and open its task, or extend the one that is open."""
    own = [one for one in walk.versions.values() if one.campaign_id == campaign.id]
    reached = [one for one in own if one.id in walk.marks.taints]
    if not reached:
        return
    now, newly = ctx.now(), []
    for row in reached:
        taint = USED if row.taint == USED else walk.marks.taints[row.id]
        state = row.state
        if row.id in walk.marks.tainted and state not in {"tainted", "retired"}:
            newly.append(row)
            state = "tainted"
        if (taint, state) != (row.taint, row.state):
            model_versions.change(
                tx, row.tenant_id, row.id, taint=taint, state=state, changed_at=now
            )
    more = {
        contact
        for model, who in walk.told.items()
        if campaign.hash in walk.marks.reaches[model]
        for contact in who
    }
    before = unlearning.open_of(tx, campaign.id)
    if newly or (before is not None and more):
        _open(ctx, tx, walk, campaign, before=before, newly=newly, withdrawals=len(more))


def _open(
    ctx: Context,
    tx: Connection,
    walk: _Walk,
    campaign: CampaignRow,
    *,
    before: UnlearningRow | None,
    newly: list[VersionRow],
    withdrawals: int,
) -> None:
    policy = signed_of(campaign).campaign.unlearning
    own = [one for one in walk.versions.values() if one.campaign_id == campaign.id]
    used = {one.id for one in walk.versions.values() if one.taint == USED} | walk.told.keys()
    newest = max(own, key=lambda one: (STAGES.index(one.stage), one.number))
    since = max(walk.marks.since.get(one.id, 0) for one in own)
    base = base_of(walk.lineage, newest.id, used, policy)
    if before is None:
        task = UnlearningRow(
            id=new_id(TASK),
            tenant_id=campaign.tenant_id,
            campaign_id=campaign.id,
            policy=policy,
            state="open",
            withdrawals=withdrawals,
            since=since,
            base=base,
            opened_at=ctx.now(),
        )
        unlearning.add(tx, task)
    else:
        task = before
        unlearning.change(
            tx,
            task.id,
            since=max(task.since, since),
            withdrawals=task.withdrawals + withdrawals,
            base=base,
        )
    unlearning.taint(tx, _taints(task, newly, used))
    body = {
        "task": task.id,
        "campaign": campaign.id,
        "policy": policy,
        "base": base,
        "tainted": len(newly),
        "models": [{"model": one.id, "from": one.state} for one in newly[-TOLD:]],
    }
    kind = "unlearning.opened" if before is None else "unlearning.extended"
    audit.record(ctx, tx, tenant_id=campaign.tenant_id, type=kind, body=body)


def _taints(task: UnlearningRow, rows: Iterable[VersionRow], used: Iterable[str]) -> list[TaintRow]:
    known = set(used)
    return [TaintRow(task.id, one.id, one.tenant_id, one.state, one.id in known) for one in rows]
