"""What Cedar is asked about one question: the request, and the entities that it refers to.

As JSON, so that a second evaluator can be asked the very same.
"""

from typing import Any, NamedTuple

import orjson

from broker.domain.access import (
    NO_CONSENT,
    NO_TERMS,
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
from broker.domain.algorithm_versions import line, lines_of
from broker.domain.cross_border import ASSESSMENT_BAND, CONTRACT_BAND, SENSITIVE_BAND, edge
from broker.domain.data_source import SourceFacts
from broker.domain.demand import DemandFacts
from broker.domain.guardian import GDPR, PIPL
from broker.domain.own_attribute import Own, OwnValues
from broker.domain.policy_numbers import Measures, Proof
from broker.domain.terms import ACTIONS

OTHER_ACTION = "other"
TERMS = {"type": "Terms", "id": "granted"}


class Transfer(NamedTuple):
    """What the law asks of a use by which data leave their country."""

    law: str
    filed: int
    exempt: bool
    subjects: int
    sensitive_subjects: int

    def banded(self) -> "Transfer":
        """With the lower edge of each count's band: the broker's own policies ask for no more."""
        return self._replace(
            subjects=edge(self.subjects, CONTRACT_BAND, ASSESSMENT_BAND),
            sensitive_subjects=edge(self.sensitive_subjects, SENSITIVE_BAND),
        )


class Guardian(NamedTuple):
    """Which laws ask for a guardian's signature, and whether the consent has one."""

    pipl: bool
    gdpr: bool
    signed: bool


class Slice(NamedTuple):
    """What changes rarely: who asks, the registered things, and the terms."""

    agent: str | None
    agent_registered: bool
    partner: PartnerFacts
    attribute: AttributeFacts
    purpose: PurposeFacts
    algorithm: AlgorithmFacts
    terms: GrantedTerms


class Asked(NamedTuple):
    """All that an answer of the engine depends on, but for the policies."""

    slice: Slice
    action: str
    territory: str
    kill_switch: bool
    state: str
    refuses_automated_decisions: bool
    separate: Separate
    measures: Measures
    transfer: Transfer | None
    guardian: Guardian | None
    source: SourceFacts | None
    test_subject: bool
    binding: str
    own: Own


def asked_of(
    question: Question, facts: Facts, consent: ConsentFacts | None, separate: Separate, now: int
) -> Asked:
    """What is asked about the consent that fits best."""
    proof = None if facts.demand is None else _proof(facts.demand, now)
    terms, state, refuses, measures = (
        (NO_TERMS, NO_CONSENT, False, Measures(now, 0, 0, None, proof))
        if consent is None
        else (
            consent.terms,
            consent.state,
            consent.refuses_automated_decisions,
            Measures(now, consent.valid_from, consent.valid_until, consent.uses_left, proof),
        )
    )
    return Asked(
        Slice(
            question.agent,
            facts.agent_registered,
            facts.partner,
            facts.attribute,
            facts.purpose,
            facts.algorithm,
            terms,
        ),
        question.action,
        territory_of(question, facts),
        facts.kill_switch,
        state,
        refuses,
        separate,
        measures,
        _transfer(facts),
        guardian_of(facts, consent, now),
        facts.source,
        facts.test_subject,
        facts.binding,
        question.own,
    )


def request_of(asked: Asked) -> dict[str, Any]:
    """The request; its `context` is JSON text. Raises `TypeError` for what JSON cannot hold."""
    about = asked.slice
    return {
        "principal": _uid("Agent", about.agent or about.partner.id),
        "action": _uid("Action", _action(asked.action)),
        "resource": _uid("DataAttribute", about.attribute.name),
        "context": _context(asked),
    }


def entities_of(about: Slice) -> list[dict[str, Any]]:
    """The entities, as the request refers to them."""
    agent, agent_registered, partner, attribute, purpose, algorithm, terms = about
    program = agent is not None
    brand = _uid("Brand", partner.id)
    about_brand = {
        "country": partner.country,
        "suspended": partner.suspended,
        "killSwitch": partner.kill_switch,
        "admission": partner.admission,
        "own": _own(partner.own),
    }
    return [
        _entity(brand, {"name": partner.id, **about_brand}),
        _entity(
            _uid("Agent", agent or partner.id),
            {"brand": brand, "program": program, "registered": agent_registered or not program},
            brand,
        ),
        _entity(
            _uid("DataAttribute", attribute.name),
            {
                "name": attribute.name,
                "registered": attribute.registered,
                "sensitive": attribute.sensitive,
                "storedIn": attribute.stored_in,
                "publicPlace": attribute.public_place,
                "own": _own(attribute.own),
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
            *[_algorithm(algorithm.id, one) for one in lines_of(algorithm.version)],
        ),
        _entity(
            TERMS,
            {
                "recipient": _uid("Brand", terms.partner_id),
                "controller": terms.controller_id,
                "purpose": _uid("Purpose", terms.purpose_id),
                "attributes": terms.attributes,
                "actions": terms.actions,
                "territories": terms.territories,
                **_granted(terms),
            },
        ),
    ]


def _context(asked: Asked) -> str:
    about, measures, separate = asked.slice, asked.measures, asked.separate
    consent: dict[str, Any] = {
        "state": asked.state,
        "terms": TERMS,
        "validFrom": measures.valid_from,
        "validUntil": measures.valid_until,
        "refusesAutomatedDecisions": asked.refuses_automated_decisions,
    }
    if measures.uses_left is not None:
        consent["usesLeft"] = measures.uses_left
    context: dict[str, Any] = {
        "action": asked.action,
        "purpose": _uid("Purpose", about.purpose.id),
        "algorithm": _algorithm(about.algorithm.id, about.algorithm.version),
        "territory": asked.territory,
        "now": measures.now,
        "killSwitch": asked.kill_switch,
        "testSubject": asked.test_subject,
        "binding": asked.binding,
        "consent": consent,
        "separate": {
            "thirdParty": separate.third_party,
            "sensitive": separate.sensitive,
            "crossBorder": separate.cross_border,
            "publication": separate.publication,
            "publicPlace": separate.public_place,
        },
        "own": dict(asked.own),
    }
    if measures.proof is not None:
        numbers = zip(("maxAge", "age", "statusUntil"), measures.proof, strict=True)
        context["proof"] = {name: number for name, number in numbers if number is not None}
    if asked.transfer is not None:
        names = ("law", "filed", "exempt", "subjects", "sensitiveSubjects")
        context["transfer"] = dict(zip(names, asked.transfer, strict=True))
    if asked.guardian is not None:
        context["guardian"] = asked.guardian._asdict()
    if asked.source is not None:
        context["source"] = _source(asked.source)
    return orjson.dumps(context).decode()


def _source(source: SourceFacts) -> dict[str, Any]:
    return {
        "name": source.name,
        "registered": source.registered,
        "state": source.state,
        "purposes": [_uid("Purpose", name) for name in source.purposes],
        "attributes": source.attributes,
        "recipients": [_uid("Brand", name) for name in source.recipients],
        "territories": source.territories,
    }


def _proof(facts: DemandFacts, now: int) -> Proof:
    proven = facts.proven
    if proven is None:
        return Proof(facts.demand.max_age_seconds, None, None)
    return Proof(facts.demand.max_age_seconds, now - proven.proven_at, proven.status_until)


def _transfer(facts: Facts) -> Transfer | None:
    found = facts.transfer
    if found is None:
        return None
    exempt = found.exemption is not None
    return Transfer(found.law, found.filed, exempt, found.subjects, found.sensitive)


def guardian_of(facts: Facts, consent: ConsentFacts | None, now: int) -> Guardian | None:
    """What a guardian has to do with a consent; None where nothing."""
    if consent is None or (facts.minor is None and not consent.guardian_signed):
        return None
    laws = () if facts.minor is None else facts.minor.laws(consent.terms.countries, now)
    return Guardian(PIPL in laws, GDPR in laws, consent.guardian_signed)


def _own(kept: OwnValues | None) -> dict[str, Any]:
    return {} if kept is None else dict(kept.values)


def _action(name: str) -> str:
    return name if name in ACTIONS else OTHER_ACTION


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _algorithm(name: str, version: str) -> dict[str, str]:
    return _uid("Algorithm", f"{name}@{version}")


def _granted(terms: GrantedTerms) -> dict[str, Any]:
    """The algorithm in the version signed; or its line, and what in it has to stay as signed."""
    name, version = terms.algorithm_id, terms.algorithm_version
    if terms.minor_versions is None:
        return {"algorithm": _algorithm(name, version)}
    risk_tier, decides = terms.minor_versions
    stays = {"riskTier": risk_tier, "automatedDecision": decides}
    return {"algorithm": _algorithm(name, line(version)), "stays": stays}


def _entity(
    uid: dict[str, str], attributes: dict[str, Any], *parents: dict[str, str]
) -> dict[str, Any]:
    return {"uid": uid, "attrs": attributes, "parents": list(parents)}
