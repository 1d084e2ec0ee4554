"""A question with facts that permit it, and for each condition a change that breaks it alone."""

# ruff: noqa: ANN401 (changes are of whatever type the changed field has)

from collections.abc import Callable
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
from broker.domain.data_source import SourceFacts
from broker.domain.demand import Demand, DemandFacts, Issuer, Proven, Trusted
from broker.domain.guardian import Minor
from broker.domain.policy import consent_policies
from zkp import OlderThan, Place

NOW = 1_000
PURPOSE = "dpv:ServicePersonalisation"

QUESTION = Question("read", "home_city", PURPOSE, "churn-v3", "1", territory="CN")
TERMS = GrantedTerms(
    partner_id="p-1",
    controller_id="demo",
    purpose_id=PURPOSE,
    algorithm_id="churn-v3",
    algorithm_version="1",
    actions=("read", "profile"),
    attributes=("home_city", "purchase_count_12m"),
    separate=("third_party",),
    territories=("CN",),
    storage=("CN",),
    retention_days=180,
    countries=("CN", "CN"),
)
CHILD = Minor("under_14", "ct-2", "parent", alone=False)
CONSENT = ConsentFacts(
    id="c-1",
    state="granted",
    subject_id="s-1",
    valid_from=0,
    valid_until=2_000,
    uses_left=None,
    refuses_automated_decisions=False,
    terms=TERMS,
)
FACTS = Facts(
    tenant_id="demo",
    kill_switch=False,
    partner=PartnerFacts("p-1", "CN", suspended=False, kill_switch=False),
    purpose=PurposeFacts(PURPOSE, registered=True, kill_switch=False),
    algorithm=AlgorithmFacts(
        id="churn-v3",
        version="1",
        purpose_id=PURPOSE,
        registered=True,
        risk_tier="limited",
        automated_decision=True,
        kill_switch=False,
    ),
    attribute=AttributeFacts(
        "home_city", registered=True, category="pd:Location", sensitive=False, stored_in="CN"
    ),
    consents=(CONSENT,),
    subject_id="s-1",
)
ISSUER = Issuer("person/1", "https://registry.example", "k" * 128)
DEMAND = Demand(ISSUER.schema, (OlderThan(Place("holder", "birth_date"), 18, "1970-01-01"),), 600)
PROVEN = Proven(
    "zp-1", NOW - 600, (OlderThan(Place("id", "birth_date"), 18, "2026-11-22"),), {"id": ISSUER}
)

SOURCE = SourceFacts(
    "points-alliance",
    registered=True,
    state="open",
    purposes=(PURPOSE,),
    attributes=("home_city",),
    recipients=("p-1",),
    territories=("CN",),
    retention_days=90,
)


@dataclass(frozen=True)
class Case:
    """A question and facts that together break what is named."""

    question: Question = QUESTION
    facts: Facts = FACTS

    def ask(self, **changes: Any) -> "Case":
        return replace(self, question=replace(self.question, **changes))

    def consent(self, **changes: Any) -> "Case":
        return self.stored(consents=(replace(self.facts.consents[0], **changes),))

    def terms(self, **changes: Any) -> "Case":
        return self.consent(terms=replace(self.facts.consents[0].terms, **changes))

    def stored(self, **changes: Any) -> "Case":
        return replace(self, facts=replace(self.facts, **changes))

    def partner(self, **changes: Any) -> "Case":
        return self.stored(partner=replace(self.facts.partner, **changes))

    def purpose(self, **changes: Any) -> "Case":
        return self.stored(purpose=replace(self.facts.purpose, **changes))

    def algorithm(self, **changes: Any) -> "Case":
        return self.stored(algorithm=replace(self.facts.algorithm, **changes))

    def attribute(self, **changes: Any) -> "Case":
        return self.stored(attribute=replace(self.facts.attribute, **changes))

    def demand(self, **changes: Any) -> "Case":
        facts = DemandFacts(DEMAND, (Trusted(ISSUER),), PROVEN)
        return self.stored(demand=replace(facts, **changes))

    def transfer(self, **changes: Any) -> "Case":
        """A transfer that everything is filed for, to a partner whom the customer let abroad."""
        facts = TransferFacts(**{"law": "PIPL", "filed": 2, "subjects": 1_000_000, **changes})
        return self.stored(transfer=facts).terms(separate=("third_party", "cross_border"))

    def source(self, **changes: Any) -> "Case":
        """A source that is open and covers all of the question."""
        return self.stored(source=replace(self.facts.source or SOURCE, **changes))

    def proven(self, **changes: Any) -> "Case":
        known = self.facts.demand and self.facts.demand.proven
        return self.demand(proven=replace(known or PROVEN, **changes))

    @property
    def failed(self) -> list[tuple[str, str]]:
        verdict = consent_policies().judge(self.question, self.facts, NOW)
        assert verdict.permit is (not verdict.reasons)
        return [(reason.id, reason.code) for reason in verdict.reasons]


ONE_CONDITION: dict[str, tuple[str, Callable[[Case], Case]]] = {
    "consent.none": ("consent_not_found", lambda case: case.stored(consents=())),
    "consent.requested": ("consent_requested", lambda case: case.consent(state="requested")),
    "consent.refused": ("consent_refused", lambda case: case.consent(state="refused")),
    "consent.withdrawn": ("consent_withdrawn", lambda case: case.consent(state="withdrawn")),
    "consent.expired": ("consent_expired", lambda case: case.consent(state="expired")),
    "consent.superseded": ("consent_superseded", lambda case: case.consent(state="superseded")),
    "recipient": ("wrong_recipient", lambda case: case.terms(partner_id="p-2")),
    "purpose": ("purpose_not_granted", lambda case: case.terms(purpose_id="dpv:Marketing")),
    "algorithm": ("algorithm_not_granted", lambda case: case.terms(algorithm_version="2")),
    "algorithm.changed": (
        "algorithm_changed",
        lambda case: case.terms(minor_versions=("minimal", True)),
    ),
    "attribute": (
        "attribute_outside_terms",
        lambda case: case.terms(attributes=("purchase_count_12m",)),
    ),
    "action": ("action_not_granted", lambda case: case.ask(action="train")),
    "territory": (
        "territory_outside_terms",
        lambda case: case.terms(territories=("SG",)),
    ),
    "separate.sensitive": (
        "sensitive_consent_missing",
        lambda case: case.attribute(sensitive=True),
    ),
    "separate.cross-border": (
        "cross_border_consent_missing",
        lambda case: case.ask(territory="SG").terms(territories=("CN", "SG")),
    ),
    "separate.publication": (
        "publication_consent_missing",
        lambda case: case.ask(action="publish").terms(actions=("publish",)),
    ),
    "separate.public-place": (
        "public_place_consent_missing",
        lambda case: case.attribute(public_place=True),
    ),
    "separate.third-party": ("third_party_consent_missing", lambda case: case.terms(separate=())),
    "validity.over": ("consent_expired", lambda case: case.consent(valid_until=NOW)),
    "validity.ahead": ("consent_not_yet_valid", lambda case: case.consent(valid_from=NOW + 1)),
    "uses": ("uses_exhausted", lambda case: case.consent(uses_left=0)),
    "kill-switch.tenant": ("kill_switch", lambda case: case.stored(kill_switch=True)),
    "kill-switch.partner": ("kill_switch", lambda case: case.partner(kill_switch=True)),
    "kill-switch.purpose": ("kill_switch", lambda case: case.purpose(kill_switch=True)),
    "kill-switch.algorithm": ("kill_switch", lambda case: case.algorithm(kill_switch=True)),
    "partner.suspended": ("partner_suspended", lambda case: case.partner(suspended=True)),
    "purpose.unregistered": ("purpose_unregistered", lambda case: case.purpose(registered=False)),
    "algorithm.unregistered": (
        "algorithm_unregistered",
        lambda case: case.algorithm(registered=False),
    ),
    "attribute.unregistered": (
        "attribute_unregistered",
        lambda case: case.attribute(registered=False),
    ),
    "automated-decision.refused": (
        "automated_decision_refused",
        lambda case: case.consent(refuses_automated_decisions=True),
    ),
    "transfer.contract": (
        "transfer_contract_missing",
        lambda case: case.transfer(filed=0, subjects=100_000),
    ),
    "transfer.assessment": (
        "transfer_assessment_missing",
        lambda case: case.transfer(filed=1),
    ),
    "transfer.mechanism": (
        "transfer_mechanism_missing",
        lambda case: case.transfer(law="GDPR", filed=0),
    ),
    "guardian.pipl": ("guardian_consent_missing", lambda case: case.stored(minor=CHILD)),
    "guardian.gdpr": (
        "guardian_consent_missing",
        lambda case: case.stored(minor=CHILD).terms(countries=("SG", "FR")),
    ),
    "guardian.of-age": ("own_consent_missing", lambda case: case.consent(guardian_signed=True)),
    "partner.sandbox": (
        "partner_not_signed_off",
        lambda case: case.partner(admission="sandbox"),
    ),
    "source.unregistered": (
        "source_unregistered",
        lambda case: case.stored(source=SourceFacts("stranger", registered=False)),
    ),
    "source.state": ("source_not_open", lambda case: case.source(state="draft")),
    "source.sandbox": ("source_in_sandbox", lambda case: case.source(state="sandbox")),
    "source.purpose": (
        "purpose_outside_source",
        lambda case: case.source(purposes=("dpv:Marketing",)),
    ),
    "source.attribute": (
        "attribute_outside_source",
        lambda case: case.source(attributes=("phone",)),
    ),
    "source.recipient": ("recipient_outside_source", lambda case: case.source(recipients=("p-2",))),
    "source.territory": (
        "territory_outside_source",
        lambda case: case.source(territories=("HK",)),
    ),
    "proof.none": ("proof_required", lambda case: case.demand(proven=None)),
    "proof.old": (
        "proof_too_old",
        lambda case: case.proven(proven_at=NOW - 601),
    ),
    "proof.status": ("proof_status_over", lambda case: case.proven(status_until=NOW)),
}
