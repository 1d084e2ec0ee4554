"""What a decision rested on, as its log entry keeps it, and the same decision asked again.

An entry holds identifiers, codes and flags, never a text of the caller's own: what was not
registered is asked again as something unregistered, an agent by its keyed hash, a territory that is
no country as `other`. So a policy that names such a thing cannot be tried on past decisions.

How the form evolves: a member that is not there means what it meant before there was one.
"""

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
    Separate,
    territory_of,
)
from broker.domain.cross_border import (
    ASSESSMENT_BAND,
    CONTRACT_BAND,
    SENSITIVE_BAND,
    TransferFacts,
    edge,
)
from broker.domain.data_source import ENDED, OPEN, SANDBOX, SourceFacts
from broker.domain.demand import Demand, DemandFacts, Proven
from broker.domain.errors import InvalidTerms, MalformedEntry
from broker.domain.guardian import Minor
from broker.domain.policy_request import guardian_of
from broker.domain.terms import parse_purpose

UNREGISTERED = "unregistered"
OTHER = "other"
# A minor for whom a law asks for a guardian wherever it holds, and a country for each law.
_ASKED_FOR = Minor("under_13", "", "parent", alone=False)
_COUNTRIES = {"pipl": "CN", "gdpr": "DE"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision of the log, ready to be judged again at `now`, and what was decided then."""

    question: Question
    facts: Facts
    now: int
    permit: bool
    conditions: tuple[str, ...]


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
    }
    found: dict[str, Any] = {
        "at": now,
        "flags": [name for name, is_set in flags.items() if is_set],
        "country": facts.partner.country,
        "category": facts.attribute.category,
        "stored_in": facts.attribute.stored_in,
        "risk_tier": facts.algorithm.risk_tier,
        "algorithm_purpose": facts.algorithm.purpose_id,
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
    return found


def recorded(body: Mapping[str, Any], terms: GrantedTerms | None) -> Recorded | None:
    """The decision that an entry's body tells of; None where it keeps too little of it.

    `terms` are those of the consent that the entry names: a consent's terms never change. Raises
    `MalformedEntry` for a body that this broker has not written.
    """
    kept_facts = body.get("facts")
    if kept_facts is None or ("consent" in kept_facts) is not (terms is not None):
        return None
    try:
        return _recorded(body, kept_facts, terms)
    except (KeyError, TypeError, InvalidTerms) as error:
        raise MalformedEntry("an entry's body is not that of a decision") from error


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
        "territory": territory_of(question, facts) in source.territories,
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
        source=_sourced(kept_facts.get("source"), purpose, body),
        test_subject="test_subject" in flags,
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
    source: Mapping[str, Any] | None, purpose: str, body: Mapping[str, Any]
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
        territories=(body["territory"],) if "territory" in covers else (),
    )
