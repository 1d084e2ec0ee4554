"""A decision of the log asked again, from what its entry keeps (`decision_facts`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker.domain.access import (
    AlgorithmFacts,
    AttributeFacts,
    ConsentFacts,
    Facts,
    GrantedTerms,
    PartnerFacts,
    PurposeFacts,
    Question,
)
from broker.domain.cross_border import TransferFacts
from broker.domain.data_source import ENDED, OPEN, SANDBOX, SourceFacts
from broker.domain.decision_facts import UNREGISTERED
from broker.domain.demand import Demand, DemandFacts, Proven
from broker.domain.errors import InvalidTerms, MalformedEntry
from broker.domain.guardian import Minor
from broker.domain.own_attribute import Own, OwnValues, own_of
from broker.domain.terms import parse_purpose

# A minor for whom a law asks for a guardian wherever it holds, and a country for each law.
_ASKED_FOR = Minor("under_13", "", "parent", alone=False)
_COUNTRIES = {"pipl": "CN", "gdpr": "DE"}
_OF = ("partner", "attribute")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision of the log, ready to be judged again at `now`, and what was decided then."""

    question: Question
    facts: Facts
    now: int
    permit: bool
    conditions: tuple[str, ...]


def own_numbers(body: Mapping[str, Any]) -> set[int]:
    """The numbers of values of own attributes that an entry names."""
    own = body.get("facts", {}).get("own", {})
    return {own[name] for name in _OF if name in own}


def recorded(
    body: Mapping[str, Any], terms: GrantedTerms | None, own: Mapping[int, Own]
) -> Recorded | None:
    """The decision that an entry's body tells of; None where it keeps too little of it.

    `terms` are those of the consent that the entry names: a consent's terms never change; `own` are
    the values of `own_numbers`, which never change either. Raises `MalformedEntry` for a body that
    this broker has not written.
    """
    kept_facts = body.get("facts")
    if kept_facts is None or ("consent" in kept_facts) is not (terms is not None):
        return None
    if "binding" not in kept_facts:
        return None  # of before bindings and programs were kept: what they were, nobody knows
    try:
        found = _recorded(body, kept_facts, terms)
        return _with_own(found, kept_facts.get("own", {}), own)
    except (KeyError, TypeError, InvalidTerms) as error:
        raise MalformedEntry("an entry's body is not that of a decision") from error


def _with_own(found: Recorded, kept_own: Mapping[str, Any], own: Mapping[int, Own]) -> Recorded:
    facts = found.facts
    of = {name: OwnValues(kept_own[name], own[kept_own[name]]) for name in _OF if name in kept_own}
    stated = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in kept_own.get("request", {}).items()
    }
    return replace(
        found,
        question=replace(found.question, own=own_of(stated)),
        facts=replace(
            facts,
            partner=replace(facts.partner, own=of.get("partner")),
            attribute=replace(facts.attribute, own=of.get("attribute")),
        ),
    )


def _recorded(
    body: Mapping[str, Any], kept_facts: Mapping[str, Any], terms: GrantedTerms | None
) -> Recorded:
    flags = frozenset(kept_facts["flags"])
    purpose, algorithm, version = _purpose(body["purpose"], kept_facts)
    now: int = kept_facts["at"]
    consents: tuple[ConsentFacts, ...] = ()
    if terms is not None:
        consents = (_granted(kept_facts["consent"], terms, kept_facts.get("guardian")),)
    facts = Facts(
        tenant_id="",
        kill_switch="tenant_stopped" in flags,
        partner=PartnerFacts(
            body["partner"],
            kept_facts["country"],
            suspended="partner_suspended" in flags,
            kill_switch="partner_stopped" in flags,
            admission=SANDBOX
            if "partner_in_sandbox" in flags
            else ENDED
            if "partner_not_signed_off" in flags
            else OPEN,
        ),
        purpose=PurposeFacts(
            purpose,
            registered="purpose_unregistered" not in flags,
            kill_switch="purpose_stopped" in flags,
        ),
        algorithm=AlgorithmFacts(
            id=algorithm,
            version=version,
            purpose_id=kept_facts["algorithm_purpose"],
            registered="algorithm_unregistered" not in flags,
            risk_tier=kept_facts["risk_tier"],
            automated_decision="automated_decision" in flags,
            kill_switch="algorithm_stopped" in flags,
        ),
        attribute=AttributeFacts(
            name=body["attribute"],
            registered="attribute_unregistered" not in flags,
            category=kept_facts["category"],
            sensitive="sensitive" in flags,
            stored_in=kept_facts["stored_in"],
            public_place="public_place" in flags,
        ),
        consents=consents,
        subject_id=None,
        demand=_demand(kept_facts.get("proof"), now),
        transfer=_transferred(kept_facts.get("transfer")),
        minor=None if "guardian" not in kept_facts else _ASKED_FOR,
        source=_sourced(kept_facts.get("source"), purpose, body, kept_facts["country"]),
        test_subject="test_subject" in flags,
        binding=kept_facts["binding"],
        agent_registered="agent_registered" in flags,
    )
    question = Question(
        action=body["action"],
        attribute=body["attribute"],
        purpose_id=purpose,
        algorithm_id=algorithm,
        algorithm_version=version,
        territory=body["territory"],
        agent=body.get("agent"),
    )
    return Recorded(question, facts, now, body["decision"] is True, tuple(body["conditions"]))


def _purpose(wire: str, kept_facts: Mapping[str, Any]) -> tuple[str, str, str]:
    if wire != UNREGISTERED:
        return parse_purpose(wire)
    algorithm, _, version = kept_facts.get("algorithm", UNREGISTERED).partition("@")
    return kept_facts.get("purpose", UNREGISTERED), algorithm, version


def _granted(
    kept_consent: Mapping[str, Any], terms: GrantedTerms, guardian: Sequence[str] | None
) -> ConsentFacts:
    # Which laws asked for a guardian hung on the age band: here they are those of the countries.
    asking = () if guardian is None else guardian
    # Which separate consents there were was found among others too: here they are this one's own.
    return ConsentFacts(
        id="",
        state=kept_consent["state"],
        subject_id=None,
        valid_from=kept_consent["from"],
        valid_until=kept_consent["until"],
        uses_left=kept_consent.get("uses_left"),
        refuses_automated_decisions=kept_consent.get("refuses_automated_decisions", False),
        terms=replace(
            terms,
            separate=tuple(kept_consent["separate"]),
            countries=tuple(_COUNTRIES[law] for law in asking if law in _COUNTRIES),
        ),
        guardian_signed="signed" in asking,
    )


def _demand(proof: Mapping[str, Any] | None, now: int) -> DemandFacts | None:
    if proof is None:
        return None
    proven = None
    if "age" in proof:
        proven = Proven("", now - proof["age"], (), {}, proof.get("status_until"))
    return DemandFacts(Demand("", (), proof["max_age"]), (), proven)


def _transferred(transfer: Mapping[str, Any] | None) -> TransferFacts | None:
    if transfer is None:
        return None
    return TransferFacts(
        law=transfer["law"],
        filed=transfer["filed"],
        exemption=transfer.get("exemption"),
        subjects=transfer["subjects"],
        sensitive=transfer["sensitive"],
    )


def _sourced(
    source: Mapping[str, Any] | None, purpose: str, body: Mapping[str, Any], country: str
) -> SourceFacts | None:
    if source is None:
        return None
    if not source:
        return SourceFacts(UNREGISTERED, registered=False)
    covers = source["covers"]
    return SourceFacts(
        source["name"],
        registered=True,
        state=source["state"],
        purposes=(purpose,) if "purpose" in covers else (),
        attributes=(body["attribute"],) if "attribute" in covers else (),
        recipients=(body["partner"],) if "recipient" in covers else (),
        territories=(body["territory"], country) if "territory" in covers else (),
    )
