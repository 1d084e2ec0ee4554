"""What Cedar is asked about one question: the request, and the entities that it refers to.

As JSON, so that a second evaluator can be asked the very same.
"""

from typing import Any

import orjson

from broker.domain.access import (
    NO_CONSENT,
    AlgorithmFacts,
    AttributeFacts,
    ConsentFacts,
    Facts,
    GrantedTerms,
    PartnerFacts,
    PurposeFacts,
    Question,
    Separate,
    territory_of,
)
from broker.domain.demand import DemandFacts
from broker.domain.terms import ACTIONS

OTHER_ACTION = "other"
TERMS = {"type": "Terms", "id": "granted"}


def request_of(
    question: Question, facts: Facts, consent: ConsentFacts | None, separate: Separate, now: int
) -> dict[str, Any]:
    """The request; its `context` is JSON text. Raises `TypeError` for what JSON cannot hold."""
    return {
        "principal": _uid("Agent", question.agent or facts.partner.id),
        "action": _uid("Action", _action(question.action)),
        "resource": _uid("DataAttribute", facts.attribute.name),
        "context": _context(question, facts, consent, separate, now),
    }


def entities_of(
    agent: str | None,
    partner: PartnerFacts,
    attribute: AttributeFacts,
    purpose: PurposeFacts,
    algorithm: AlgorithmFacts,
    terms: GrantedTerms,
) -> list[dict[str, Any]]:
    """What changes rarely: who asks, the registered things, and the terms."""
    brand = _uid("Brand", partner.id)
    flags = {"suspended": partner.suspended, "killSwitch": partner.kill_switch}
    return [
        _entity(brand, {"name": partner.id, **flags}),
        _entity(_uid("Agent", agent or partner.id), {"brand": brand}, brand),
        _entity(
            _uid("DataAttribute", attribute.name),
            {
                "name": attribute.name,
                "registered": attribute.registered,
                "sensitive": attribute.sensitive,
                "storedIn": attribute.stored_in,
            },
            _uid("Category", attribute.category),
        ),
        _entity(
            _uid("Purpose", purpose.id),
            {"registered": purpose.registered, "killSwitch": purpose.kill_switch},
        ),
        _entity(
            _algorithm(algorithm.id, algorithm.version),
            {
                "registered": algorithm.registered,
                "riskTier": algorithm.risk_tier,
                "automatedDecision": algorithm.automated_decision,
                "killSwitch": algorithm.kill_switch,
            },
            _uid("Purpose", algorithm.purpose_id),
        ),
        _entity(
            TERMS,
            {
                "recipient": _uid("Brand", terms.partner_id),
                "controller": terms.controller_id,
                "purpose": _uid("Purpose", terms.purpose_id),
                "algorithm": _algorithm(terms.algorithm_id, terms.algorithm_version),
                "attributes": terms.attributes,
                "actions": terms.actions,
                "territories": terms.territories,
            },
        ),
    ]


def _context(
    question: Question, facts: Facts, consent: ConsentFacts | None, separate: Separate, now: int
) -> str:
    context: dict[str, Any] = {
        "action": question.action,
        "purpose": _uid("Purpose", facts.purpose.id),
        "algorithm": _algorithm(facts.algorithm.id, facts.algorithm.version),
        "territory": territory_of(question, facts),
        "now": now,
        "killSwitch": facts.kill_switch,
        "consent": _record(consent),
        "separate": {
            "thirdParty": separate.third_party,
            "sensitive": separate.sensitive,
            "crossBorder": separate.cross_border,
        },
    }
    if facts.demand is not None:
        context["proof"] = _proof(facts.demand, now)
    return orjson.dumps(context).decode()


def _proof(facts: DemandFacts, now: int) -> dict[str, int]:
    record = {"maxAge": facts.demand.max_age_seconds}
    if facts.proven is not None:
        record["age"] = now - facts.proven.proven_at
        if facts.proven.status_until is not None:
            record["statusUntil"] = facts.proven.status_until
    return record


def _record(consent: ConsentFacts | None) -> dict[str, Any]:
    if consent is None:
        return {
            "state": NO_CONSENT,
            "terms": TERMS,
            "validFrom": 0,
            "validUntil": 0,
            "refusesAutomatedDecisions": False,
        }
    record = {
        "state": consent.state,
        "terms": TERMS,
        "validFrom": consent.valid_from,
        "validUntil": consent.valid_until,
        "refusesAutomatedDecisions": consent.refuses_automated_decisions,
    }
    if consent.uses_left is not None:
        record["usesLeft"] = consent.uses_left
    return record


def _action(name: str) -> str:
    return name if name in ACTIONS else OTHER_ACTION


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _algorithm(name: str, version: str) -> dict[str, str]:
    return _uid("Algorithm", f"{name}@{version}")


def _entity(
    uid: dict[str, str], attributes: dict[str, Any], *parents: dict[str, str]
) -> dict[str, Any]:
    return {"uid": uid, "attrs": attributes, "parents": list(parents)}
