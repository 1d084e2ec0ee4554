"""What a question is answered by: read at one moment, and judged. A decision and a search alike.

Everything that can deny is judged here and nowhere else, so that a search never finds what a
decision would deny on the same facts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from broker.domain.access import Facts, Question
from broker.domain.addresses import tenant_url
from broker.domain.conditions import (
    AGENT_SUSPENDED,
    CLOCK_BEHIND,
    FEE_CURRENCY,
    LOG_UNAVAILABLE,
    OBLIGATION_UNSUPPORTED,
    SUBJECT_NOT_CALLER,
    Reason,
)
from broker.domain.decision import EXPLAIN, MASK, OBLIGATION, Decision, owed_names
from broker.domain.fee import DeclaredValue, Tariff
from broker.domain.masking import masking_for
from broker.domain.policy import Verdict
from broker.store import contacts, decisions, fees
from broker.store.decisions import Asker, Shared, Snapshot
from broker.usecases import cross_border
from broker.usecases.context import Context
from broker.usecases.loaded_policies import Policies


@dataclass(frozen=True, slots=True)
class Asking:
    """A question as it arrived: by whom, with which token (hash), at which tenant's address.

    `partner_id` is who the subject of the question says they are; `key` is the caller's
    `Idempotency-Key`, of use where the consent counts its uses and where the caller declares the
    use's `value`, for which the channel fee is charged.
    Where data are asked for and not only a decision, `refusals` are why they cannot be given, and
    `data` is what the log says of them.
    """

    tenant_id: str
    token_hash: str
    partner_id: str
    question: Question
    key: str | None = None
    value: DeclaredValue | None = None
    refusals: tuple[Reason, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    supported: frozenset[str] | None = None
    """The types of obligations that the caller says it can carry out; None: it says nothing."""
    hand_out: Callable[[Connection], None] | None = None
    """Takes what a permit is for, in the transaction that counts and records it; it may run twice.

    An error that it raises undoes all of that.
    """


@dataclass(frozen=True, slots=True)
class Standing:
    """What a question rests on at one moment; `tariff` where the caller declared a value."""

    snapshot: Snapshot
    tariff: Tariff | None

    @property
    def rests_on(self) -> tuple[str, ...]:
        """The mechanisms of a transfer abroad; none where it is no transfer."""
        transfer = self.snapshot.facts.transfer
        return () if transfer is None else transfer.mechanisms


def asker_of(ctx: Context, asking: Asking) -> Asker:
    """Who asks, as the rows know them."""
    reference = asking.question.subject_ref
    if reference is not None:
        key = ctx.keys.hmac_key("contact")
        reference = contacts.subject_ref_hash(key, asking.partner_id, reference)
    address = tenant_url(ctx.settings.public_url, asking.tenant_id)
    return Asker(asking.tenant_id, asking.token_hash, asking.partner_id, reference, address)


def read(
    ctx: Context, tx: Connection, asker: Asker, asking: Asking, shared: Shared | None = None
) -> Standing | None:
    """What the question rests on now; None where there is no such partner's token."""
    # The tariff after the tenant's row: by its version a change since is noticed.
    snapshot = decisions.read(tx, asker, asking.question, shared)
    if snapshot is None:
        return None
    snapshot = cross_border.with_transfer(ctx, tx, asking.question, snapshot)
    return Standing(snapshot, None if asking.value is None else fees.tariff(tx, asking.tenant_id))


def judge(
    ctx: Context,
    policies: Policies,
    asking: Asking,
    standing: Standing,
    answered: Decision | None = None,
) -> Verdict:
    """Permit, or deny and name every reason.

    `answered` is the first answer to the same call, whose use is counted and charged for already.
    """
    snapshot, tariff = standing.snapshot, standing.tariff
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
        if facts.algorithm.automated_decision:
            owed.append(EXPLAIN)
        if not asking.supported.issuperset(OBLIGATION + name for name in owed):
            reasons.append(OBLIGATION_UNSUPPORTED)
    reasons += _stopped(ctx, snapshot, now)
    if len(reasons) == len(verdict.reasons):
        return verdict
    return replace(verdict, permit=False, reasons=tuple(reasons))


def _stopped(ctx: Context, snapshot: Snapshot, now: int) -> list[Reason]:
    """What stops every use, or every use by this agent, whatever was allowed."""
    reasons = []
    if ctx.log.clock_went_back(now):
        reasons.append(CLOCK_BEHIND)
    elif not ctx.log.permits(now):
        reasons.append(LOG_UNAVAILABLE)
    if snapshot.agent_suspended:
        reasons.append(AGENT_SUSPENDED)
    return reasons


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
