"""Decide about one access, against the live consent, and record it.

1. Read the token, the registered facts and every consent of the contact: one statement.
2. The token is a partner's and valid; the subject of the question is that partner.
3. Judge by the policies that were in force then, with no transaction open.
4. A permit whose use is counted or charged for needs an `Idempotency-Key`; a retry gets the first
   answer.
5. One short write: count the use, hold what the permit rests on, read it again, compare, count the
   subject of a transfer abroad, record, charge.
6. Whatever changed meanwhile: from 1, three times in all; then deny `state_changed`.

A batch on SQLite is read, judged and recorded in one write, beside which nobody writes.

What it promises: no permit for a question that was sent after the acknowledgement of a withdrawal
was received; no answer without its durable entry in the log, except a repeated first answer, whose
entry is there already. A denial is a value.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from broker.domain.conditions import STATE_CHANGED
from broker.domain.decision import Decision
from broker.domain.errors import (
    BrokerError,
    Forbidden,
    IdempotencyInProgress,
    IdempotencyKeyRequired,
    Unauthorized,
)
from broker.domain.tracing import span
from broker.store import access_tokens, idempotency
from broker.store.decisions import Asker, Shared
from broker.store.idempotency import KeyTaken
from broker.usecases import cross_border, judgement
from broker.usecases.context import Context
from broker.usecases.decision_write import Charge, Write
from broker.usecases.judgement import Asking
from broker.usecases.loaded_policies import Policies
from broker.usecases.policy_set import in_force

__all__ = ["Asking", "decide", "decide_all", "judge_now", "permits_still", "refuse_now"]

ATTEMPTS = 3
# The event loop, and everybody who writes, waits for so many: 20 to 80 milliseconds.
TOGETHER = 50


async def decide(ctx: Context, asking: Asking) -> Decision:
    """Permit or deny, durably recorded.

    Raises `Unauthorized`, `Forbidden` (a token that is no partner's), `IdempotencyKeyRequired`,
    `IdempotencyConflict` and `IdempotencyInProgress`; everything else is a denial with its reasons.
    """
    with span("decision") as step:
        decision = await _decide(ctx, asking)
        step.outcome("permit" if decision.permit else "deny")
        return decision


async def decide_all(ctx: Context, questions: Sequence[Asking]) -> list[Decision | BrokerError]:
    """Decide about each, and put the answers, or the errors of `decide`, in the same order.

    On SQLite so many at once share one write, in which each is read, judged and recorded as it
    would be alone, and what is not settled there (an error, a key that was used) is decided by
    itself. PostgreSQL has a transaction for each: shared locks that many questions hold could wait
    for each other.
    """
    answers: list[Decision | BrokerError] = []
    for first in range(0, len(questions), TOGETHER):
        some = questions[first : first + TOGETHER]
        found: Sequence[Decision | None] = [None] * len(some)
        if ctx.db.is_sqlite and len(some) > 1:
            found = await _together(ctx, some)
        alone = [
            _answer(ctx, asking)
            for asking, decision in zip(some, found, strict=True)
            if decision is None
        ]
        settled = iter(await asyncio.gather(*alone))
        answers += [next(settled) if one is None else one for one in found]
    return answers


async def _answer(ctx: Context, asking: Asking) -> Decision | BrokerError:
    try:
        return await decide(ctx, asking)
    except BrokerError as error:
        return error


async def _together(ctx: Context, questions: Sequence[Asking]) -> Sequence[Decision | None]:
    """The decisions that one write settles; None where that is for `decide`."""
    with span("decision"):
        # What is made of keys first: the transaction opens no other.
        asked = [
            (asking, Charge.of(ctx, asking), judgement.asker_of(ctx, asking))
            for asking in questions
        ]

        def run(tx: Connection) -> list[Decision | None]:
            shared = Shared()
            return [_settled(ctx, tx, shared, *one) for one in asked]

        return await ctx.db.write(run, size=len(asked))


def _settled(
    ctx: Context,
    tx: Connection,
    shared: Shared,
    asking: Asking,
    charge: Charge | None,
    asker: Asker,
) -> Decision | None:
    """The question read, judged and recorded in the one write there is: nothing changes between.

    None where it is not as simple as that.
    """
    if charge is not None and idempotency.find(tx, charge.key, ctx.now()) is not None:
        return None
    standing = judgement.read(ctx, tx, asker, asking, shared)
    if standing is None or standing.snapshot.expires_at <= ctx.now():
        return None
    policies = ctx.policies.get(standing.snapshot.policies)
    if policies is None:  # to load them takes too long here
        return None
    judged_at = ctx.now()
    verdict = judgement.judge(ctx, policies, asking, standing)
    write = Write(ctx, policies, asking, asker, standing, verdict, charge, judged_at)
    try:
        write.check_key()
    except IdempotencyKeyRequired:
        return None
    return write.run(tx, read_here=True)


def refuse_now(ctx: Context, asking: Asking) -> Decision | None:
    """The denial that a question would meet now, recorded; None where it would be permitted.

    Nothing is counted, and a permit is not recorded: there is none yet. Blocks. Raises
    `Unauthorized`.
    """
    with ctx.db.reading() as tx:
        write = judge_now(ctx, tx, asking)
    if write.verdict.permit:
        return None
    with ctx.db.transaction() as tx:
        return write.deny(tx)


def judge_now(ctx: Context, tx: Connection, asking: Asking) -> Write:
    """What would be written of a question by what `tx` reads; nothing is. Raises `Unauthorized`."""
    asker = judgement.asker_of(ctx, asking)
    standing = judgement.read(ctx, tx, asker, asking)
    if standing is None or standing.snapshot.expires_at <= ctx.now():
        raise Unauthorized("the access token is unknown or has expired: get a new one")
    policies = in_force(ctx, tx, asking.tenant_id, standing.snapshot.policies)
    verdict = judgement.judge(ctx, policies, asking, standing)
    return Write(ctx, policies, asking, asker, standing, verdict, None, ctx.now())


def permits_still(
    ctx: Context, tx: Connection, asking: Asking, asker: Asker, permit: Decision
) -> bool:
    """Whether what was permitted, and counted, would be by what `tx` reads now; nothing is written.

    False too where a transfer abroad would have to be counted anew. The token may be over by now.
    """
    standing = judgement.read(ctx, tx, asker, asking)
    if standing is None or not cross_border.is_counted(standing.snapshot.facts.transfer):
        return False
    policies = in_force(ctx, tx, asking.tenant_id, standing.snapshot.policies)
    return judgement.judge(ctx, policies, asking, standing, permit).permit


async def _decide(ctx: Context, asking: Asking) -> Decision:
    charge = Charge.of(ctx, asking)
    asker = judgement.asker_of(ctx, asking)
    for attempts_left in reversed(range(ATTEMPTS)):
        standing, first = await ctx.db.read(
            lambda tx: (
                judgement.read(ctx, tx, asker, asking),
                None if charge is None else idempotency.find(tx, charge.key, ctx.now()),
            )
        )
        if standing is None or standing.snapshot.expires_at <= ctx.now():
            raise await _refusal(ctx, asking)
        policies = await _in_force(ctx, asking.tenant_id, standing.snapshot.policies)
        answered = None if charge is None or first is None else charge.answered(ctx, first)
        judged_at = ctx.now()
        verdict = judgement.judge(ctx, policies, asking, standing, answered)
        if verdict.permit and answered is not None:
            return replace(answered, rests_on=standing.rests_on)
        write = Write(ctx, policies, asking, asker, standing, verdict, charge, judged_at)
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


async def _refusal(ctx: Context, asking: Asking) -> Unauthorized | Forbidden:
    token = await ctx.db.read(
        lambda tx: access_tokens.find(tx, asking.tenant_id, asking.token_hash)
    )
    if token is None or token.expires_at <= ctx.now() or token.role == "partner":
        return Unauthorized("the access token is unknown or has expired: get a new one")
    return Forbidden("decisions are for partners")
