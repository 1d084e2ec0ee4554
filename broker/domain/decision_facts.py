"""What a decision rested on, as its log entry keeps it; `replay` asks the same decision again.

An entry holds identifiers, codes and flags, never a text of the caller's own: what was not
registered is asked again as something unregistered, an agent by its keyed hash, a territory that is
no country as `other`. So a policy that names such a thing cannot be tried on past decisions.

How the form evolves: a member that is not there means what it meant before there was one. Where
that was not one thing, as with `binding` and `agent_registered`, the entry is not asked again.
"""

from typing import Any

from broker.domain.access import ConsentFacts, Facts, Question, Separate, territory_of
from broker.domain.cross_border import (
    ASSESSMENT_BAND,
    CONTRACT_BAND,
    SENSITIVE_BAND,
    TransferFacts,
    edge,
)
from broker.domain.data_source import ENDED, SANDBOX, SourceFacts
from broker.domain.demand import DemandFacts
from broker.domain.policy_request import guardian_of

UNREGISTERED = "unregistered"
OTHER = "other"


def kept(
    question: Question,
    facts: Facts,
    consent: ConsentFacts | None,
    separate: Separate,
    now: int,
) -> dict[str, Any]:
    """The member `facts` of a decision's entry: all that policies saw and the entry has not."""
    flags = {
        "tenant_stopped": facts.kill_switch,
        "partner_suspended": facts.partner.suspended,
        "partner_stopped": facts.partner.kill_switch,
        "purpose_unregistered": not facts.purpose.registered,
        "purpose_stopped": facts.purpose.kill_switch,
        "algorithm_unregistered": not facts.algorithm.registered,
        "algorithm_stopped": facts.algorithm.kill_switch,
        "automated_decision": facts.algorithm.automated_decision,
        "attribute_unregistered": not facts.attribute.registered,
        "sensitive": facts.attribute.sensitive,
        "partner_in_sandbox": facts.partner.admission == SANDBOX,
        "partner_not_signed_off": facts.partner.admission == ENDED,
        "test_subject": facts.test_subject,
        "public_place": facts.attribute.public_place,
        "agent_registered": facts.agent_registered,
    }
    found: dict[str, Any] = {
        "at": now,
        "flags": [name for name, is_set in flags.items() if is_set],
        "country": facts.partner.country,
        "category": facts.attribute.category,
        "stored_in": facts.attribute.stored_in,
        "risk_tier": facts.algorithm.risk_tier,
        "algorithm_purpose": facts.algorithm.purpose_id,
        "binding": facts.binding,
    }
    if not (facts.purpose.registered and facts.algorithm.registered):
        # The entry says `unregistered`; what the tenant knows of it is no text of the caller's.
        if facts.purpose.registered:
            found["purpose"] = facts.purpose.id
        if facts.algorithm.purpose_id:
            found["algorithm"] = f"{facts.algorithm.id}@{facts.algorithm.version}"
    if consent is not None:
        found["consent"] = _consent(consent, separate)
    guardian = guardian_of(facts, consent, now)
    if guardian is not None:
        found["guardian"] = [name for name, is_set in guardian._asdict().items() if is_set]
    if facts.demand is not None:
        found["proof"] = _proof(facts.demand, now)
    if facts.transfer is not None:
        found["transfer"] = _transfer(facts.transfer)
    if facts.source is not None:
        found["source"] = _source(question, facts, facts.source)
    if own := _own(question, facts):
        found["own"] = own
    return found


def _own(question: Question, facts: Facts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kept_own in (("partner", facts.partner.own), ("attribute", facts.attribute.own)):
        if kept_own is not None:
            found[name] = kept_own.number  # and no value: a partner reads this
    if question.own:
        found["request"] = dict(question.own)
    return found


def _transfer(transfer: TransferFacts) -> dict[str, Any]:
    # The band and not the count: a partner reads this, and the count is over all partners.
    found: dict[str, Any] = {
        "law": transfer.law,
        "filed": transfer.filed,
        "mechanisms": list(transfer.mechanisms),
        "subjects": edge(transfer.subjects, CONTRACT_BAND, ASSESSMENT_BAND),
        "sensitive": edge(transfer.sensitive, SENSITIVE_BAND),
    }
    if transfer.exemption is not None:
        found["exemption"] = transfer.exemption
    return found


def _proof(demand: DemandFacts, now: int) -> dict[str, Any]:
    found = {"max_age": demand.demand.max_age_seconds}
    if demand.proven is not None:
        found["age"] = now - demand.proven.proven_at
        if demand.proven.status_until is not None:
            found["status_until"] = demand.proven.status_until
    return found


def _source(question: Question, facts: Facts, source: SourceFacts) -> dict[str, Any]:
    """What the checklist says of this use; the name of none is a text of the caller's own."""
    if not source.registered:
        return {}
    covered = {
        "purpose": facts.purpose.id in source.purposes,
        "attribute": facts.attribute.name in source.attributes,
        "recipient": facts.partner.id in source.recipients,
        "territory": {territory_of(question, facts), facts.partner.country}
        <= set(source.territories),
    }
    covers = [name for name, is_covered in covered.items() if is_covered]
    return {"name": source.name, "state": source.state, "covers": covers}


def _consent(consent: ConsentFacts, separate: Separate) -> dict[str, Any]:
    found: dict[str, Any] = {
        "state": consent.state,
        "from": consent.valid_from,
        "until": consent.valid_until,
        "separate": [kind for kind in Separate.__slots__ if getattr(separate, kind)],
    }
    if consent.uses_left is not None:
        found["uses_left"] = consent.uses_left
    if consent.refuses_automated_decisions:
        found["refuses_automated_decisions"] = True
    return found
