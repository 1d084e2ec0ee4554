"""Decide about one access, against the live consent, and record it.

1. Read the token, the registered facts and every consent of the contact: one statement.
2. The token is a partner's and valid; the subject of the question is that partner.
3. Judge by the policies that were in force then, with no transaction open.
4. A permit whose use is counted or charged for needs an `Idempotency-Key`; a retry gets the first
   answer.
5. One short write: count the use, hold what the permit rests on, read it again, compare, record,
   charge.
6. Whatever changed meanwhile: from 1, three times in all; then deny `state_changed`.

What it promises: no permit for a question that was sent after the acknowledgement of a withdrawal
was received; no answer without its durable entry in the log, except a repeated first answer, whose
entry is there already. A denial is a value.
"""

from dataclasses import replace

from sqlalchemy import Connection

from broker.domain.access import Facts
from broker.domain.addresses import tenant_url
from broker.domain.conditions import (
    AGENT_SUSPENDED,
    FEE_CURRENCY,
    LOG_UNAVAILABLE,
    OBLIGATION_UNSUPPORTED,
    STATE_CHANGED,
    SUBJECT_NOT_CALLER,
    Reason,
)
from broker.domain.decision import MASK, OBLIGATION, Decision, owed_names
from broker.domain.errors import Forbidden, IdempotencyInProgress, Unauthorized
from broker.domain.fee import Tariff
from broker.domain.masking import masking_for
from broker.domain.policy import Verdict
from broker.domain.tracing import span
from broker.store import access_tokens, agents, contacts, decisions, fees, idempotency
from broker.store.decisions import Asker, Snapshot
from broker.store.idempotency import KeyTaken
from broker.usecases.context import Context
from broker.usecases.decision_write import Asking, Charge, Write
from broker.usecases.loaded_policies import Policies
from broker.usecases.policy_set import in_force

__all__ = ["Asking", "decide"]

ATTEMPTS = 3


async def decide(ctx: Context, asking: Asking) -> Decision:
    """Permit or deny, durably recorded.

    Raises `Unauthorized`, `Forbidden` (a token that is no partner's), `IdempotencyKeyRequired`,
    `IdempotencyConflict` and `IdempotencyInProgress`; everything else is a denial with its reasons.
    """
    with span("decision") as step:
        decision = await _decide(ctx, asking)
        step.outcome("permit" if decision.permit else "deny")
        return decision


async def _decide(ctx: Context, asking: Asking) -> Decision:
    charge = Charge.of(ctx, asking)
    asker = _asker(ctx, asking)
    for attempts_left in reversed(range(ATTEMPTS)):
        # The tariff after the tenant's row: by its version a change since is noticed.
        snapshot, first, tariff, stopped = await ctx.db.read(
            lambda tx: (
                decisions.read(tx, asker, asking.question),
                None if charge is None else idempotency.find(tx, charge.key, ctx.now()),
                None if asking.value is None else fees.tariff(tx, asking.tenant_id),
                _agent_is_suspended(tx, asking),
            )
        )
        if snapshot is None or snapshot.expires_at <= ctx.now():
            raise await _refusal(ctx, asking)
        policies = await _in_force(ctx, asking.tenant_id, snapshot.policies)
        answered = None if charge is None or first is None else charge.answered(ctx, first)
        verdict = _judge(ctx, policies, asking, snapshot, answered, tariff)
        if stopped and snapshot.partner_id == asking.partner_id:
            verdict = _denied(verdict, AGENT_SUSPENDED)
        if verdict.permit and answered is not None:
            return answered
        write = Write(ctx, policies, asking, asker, snapshot, verdict, charge, tariff)
        write.check_key()
        try:
            decision = await ctx.db.write(write.run)
        except KeyTaken:
            continue  # the same call at the same time: its answer is found now
        if decision is not None:
            return decision
        if attempts_left == 0:
            changed = replace(verdict, permit=False, reasons=(STATE_CHANGED,))
            return await ctx.db.write(replace(write, verdict=changed).deny)
    raise IdempotencyInProgress("the same call is under way: repeat it in a moment")


async def _in_force(ctx: Context, tenant_id: str, digest: str) -> Policies:
    """The policies of this digest, from memory or else from the tenant's row."""
    found = ctx.policies.get(digest)
    if found is not None:
        return found
    return await ctx.db.read(lambda tx: in_force(ctx, tx, tenant_id, digest))


def _judge(
    ctx: Context,
    policies: Policies,
    asking: Asking,
    snapshot: Snapshot,
    answered: Decision | None,
    tariff: Tariff | None,
) -> Verdict:
    if snapshot.partner_id != asking.partner_id:
        # Nothing else is said: it would be about somebody else.
        return Verdict(permit=False, reasons=(SUBJECT_NOT_CALLER,), consent=None)
    now = ctx.now()
    facts = snapshot.facts if answered is None else _paid(snapshot.facts, answered)
    verdict = policies.judge(asking.question, facts, now)
    reasons = [*verdict.reasons, *asking.refusals]
    if tariff is not None and asking.value is not None and answered is None:
        # What was charged stays, whatever the tariff has become since.
        reasons += [FEE_CURRENCY] if asking.value.currency != tariff.currency else []
    if asking.supported is not None and verdict.permit:
        owed = owed_names(policies.permit_obligations, asking.question.action)
        if masking_for(facts.attribute.maskings, asking.question.role) is not None:
            owed.append(MASK)
        if not asking.supported.issuperset(OBLIGATION + name for name in owed):
            reasons.append(OBLIGATION_UNSUPPORTED)
    if not ctx.log.permits(now):
        reasons.append(LOG_UNAVAILABLE)
    if len(reasons) == len(verdict.reasons):
        return verdict
    return replace(verdict, permit=False, reasons=tuple(reasons))


def _agent_is_suspended(tx: Connection, asking: Asking) -> bool:
    """Whether the question is for a registered agent of the partner that is suspended."""
    agent = asking.question.agent
    return agent is not None and agents.suspended(tx, asking.partner_id, agent)


def _denied(verdict: Verdict, reason: Reason) -> Verdict:
    return replace(verdict, permit=False, reasons=(*verdict.reasons, reason))


def _paid(facts: Facts, answered: Decision) -> Facts:
    """The facts as a repeated call meets them: its use was counted by the first."""
    return replace(
        facts,
        consents=tuple(
            replace(consent, uses_left=max(1, consent.uses_left or 0))
            if consent.id == answered.consent_id
            else consent
            for consent in facts.consents
        ),
    )


def _asker(ctx: Context, asking: Asking) -> Asker:
    reference = asking.question.subject_ref
    if reference is not None:
        key = ctx.keys.hmac_key("contact")
        reference = contacts.subject_ref_hash(key, asking.partner_id, reference)
    address = tenant_url(ctx.settings.public_url, asking.tenant_id)
    return Asker(asking.tenant_id, asking.token_hash, asking.partner_id, reference, address)


async def _refusal(ctx: Context, asking: Asking) -> Unauthorized | Forbidden:
    token = await ctx.db.read(
        lambda tx: access_tokens.find(tx, asking.tenant_id, asking.token_hash)
    )
    if token is None or token.expires_at <= ctx.now() or token.role == "partner":
        return Unauthorized("the access token is unknown or has expired: get a new one")
    return Forbidden("decisions are for partners")
