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
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.domain.ids import new_id
from broker.domain.training_errors import SearchNotOver
from broker.domain.unlearning import USED, Marks, base_of, marks
from broker.store import (
    campaigns,
    model_versions,
    registry,
    training_rounds,
    unlearning,
)
from broker.store.campaigns import CampaignRow
from broker.store.consents import ConsentRow
from broker.store.model_versions import VersionRow
from broker.store.unlearning import SearchRow, TaintRow, UnlearningRow
from broker.usecases import audit
from broker.usecases.campaign import signed_of
from broker.usecases.context import Context, at_one_moment
from broker.usecases.model_lineage import as_library
from broker.usecases.unlearning_look import CLOCKS_APART, Looked, look, wanted_of
from federation.errors import FederationError
from federation.rollout import STAGES
from federation.unlearning import Lineage

TASK = "ut"
AT_ONCE = 1_000
TOLD = 100
"""So many withdrawals are looked for at once; so many models does an entry of the log name."""
SECONDS = 20
"""So long may a search take that somebody waits for, before a model is used."""


def note_end(ctx: Context, tx: Connection, row: ConsentRow, shown_from: int | None) -> None:
    """Have models looked for that used the row of a consent that ends, from `shown_from` on."""
    due_at = ctx.now() if shown_from is None else shown_from
    unlearning.look_for(tx, SearchRow(row.id, row.tenant_id, due_at))


def tenants_due(ctx: Context) -> list[str]:
    """The tenants that have something to look for (`search`)."""
    with ctx.db.reading() as tx:
        return unlearning.tenants_due(tx, ctx.now())


def search(ctx: Context, tenant_id: str, *, within: int | None = None) -> int:
    """Look in all rounds for what ended by now, and mark what is found.

    1. Of each consent all ids that it had: those of the same customer at the partner, to the same
       purpose, that have ended.
    2. The leaves of every receipt are looked through, whoever gave it, without a transaction.
    3. In one transaction, which holds the campaigns: versions are marked, tasks opened or extended.

    How many consents were looked for to the end. Raises `StateConflict` where a lineage or a
    campaign does not hold, and `SearchNotOver` where it takes longer than `within` seconds: what
    was looked at by then is marked, and the next search goes on from there.
    """
    clock, until = ctx.now, None if within is None else ctx.now() + within
    ctx = at_one_moment(ctx)

    def late() -> bool:
        return until is not None and clock() >= until

    done, behind = 0, None
    while True:
        with ctx.db.reading() as tx:
            pending = unlearning.due(tx, tenant_id, ctx.now(), AT_ONCE, behind)
            wanted = wanted_of(tx, tenant_id, pending)
            held = campaigns.of_tenant(tx, tenant_id)
        if not pending:
            return done
        try:
            looked = Looked()
            look(ctx, held, wanted, looked, late=late)
            with ctx.db.transaction() as tx:
                over = _mark(ctx, tx, held, pending, looked)
        except FederationError as error:
            raise StateConflict(f"models cannot be looked through: {error}") from None
        if over is not None:
            done, behind = done + over, pending[-1]
        if looked.until is not None or (late() and len(pending) == AT_ONCE):
            raise SearchNotOver


def waiting(ctx: Context, tenant_id: str) -> int:
    """How many withdrawals were not looked for to the end; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return unlearning.waiting(tx, tenant_id)


@dataclass(frozen=True)
class _Walk:
    """All versions of a tenant, and what a walk from those that used rows marks.

    `told` are by version the withdrawals of this walk that no task tells of yet.
    """

    versions: Mapping[str, VersionRow]
    lineage: Lineage
    told: Mapping[str, set[str]]
    marks: Marks


def _mark(
    ctx: Context,
    tx: Connection,
    seen: list[CampaignRow],
    pending: list[SearchRow],
    looked: Looked,
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
                # What a walk that stopped early has not come to is to be looked at in any case.
                skipped = looked.until is not None and one.state == "closed"
                unseen.append(0 if skipped else one.opened_at)
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
    looked_at = ctx.now()
    if looked.until is not None:
        # The next walk begins so many seconds earlier, for rounds that others close by their clock.
        looked_at = min(looked_at, looked.until + CLOCKS_APART)
    unlearning.wait(tx, sorted(left.keys() - set(over)), looked_at)
    return len(over)


def _untold(looked: Looked, left: Mapping[str, SearchRow]) -> dict[str, str]:
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
