"""The engine against a model of the rules in plain Python, written from the law table."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

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
from broker.domain.demand import DemandFacts
from broker.domain.policy import consent_policies
from tests.broker.policy_cases import DEMAND, NOW, PROVEN, PURPOSE

DEMANDS = tuple(
    DemandFacts(DEMAND, (), proven)
    for proven in (
        *(PROVEN, None),
        *(replace(PROVEN, status_until=NOW + ahead) for ahead in (0, 1)),
    )
)
STATES = {
    "requested": "consent.requested",
    "refused": "consent.refused",
    "withdrawn": "consent.withdrawn",
    "expired": "consent.expired",
    "superseded": "consent.superseded",
}


def model(question: Question, facts: Facts, now: int) -> set[str]:
    """The conditions that fail, for a contact with at most one consent."""
    where = question.territory or facts.partner.country
    failed = {
        "kill-switch.tenant": facts.kill_switch,
        "kill-switch.partner": facts.partner.kill_switch,
        "kill-switch.purpose": facts.purpose.kill_switch,
        "kill-switch.algorithm": facts.algorithm.kill_switch,
        "partner.suspended": facts.partner.suspended,
        "purpose.unregistered": not facts.purpose.registered,
        "algorithm.unregistered": not facts.algorithm.registered
        or facts.algorithm.purpose_id != facts.purpose.id,
        "attribute.unregistered": not facts.attribute.registered,
    }
    if facts.demand is not None:
        proven = facts.demand.proven
        failed["proof.none"] = proven is None
        most = facts.demand.demand.max_age_seconds
        failed["proof.old"] = proven is not None and now - proven.proven_at > most
        until = None if proven is None else proven.status_until
        failed["proof.status"] = until is not None and now >= until
    if not facts.consents:
        failed["consent.none"] = True
        return {name for name, fails in failed.items() if fails}
    consent, terms = facts.consents[0], facts.consents[0].terms
    failed |= {name: consent.state == state for state, name in STATES.items()}
    failed |= {
        "recipient": terms.partner_id != facts.partner.id,
        "purpose": terms.purpose_id != facts.purpose.id,
        "algorithm": (terms.algorithm_id, terms.algorithm_version)
        != (facts.algorithm.id, facts.algorithm.version),
        "attribute": facts.attribute.name not in terms.attributes,
        "action": question.action not in terms.actions,
        "territory": where not in terms.territories,
        "separate.sensitive": facts.attribute.sensitive and "sensitive" not in terms.separate,
        "separate.cross-border": where != facts.attribute.stored_in
        and "cross_border" not in terms.separate,
        "separate.third-party": facts.partner.id != terms.controller_id
        and "third_party" not in terms.separate,
        "validity.over": consent.state == "granted" and now >= consent.valid_until,
        "validity.ahead": consent.state == "granted" and now < consent.valid_from,
        "uses": consent.uses_left is not None and consent.uses_left <= 0,
        "automated-decision.refused": facts.algorithm.automated_decision
        and consent.refuses_automated_decisions,
    }
    return {name for name, fails in failed.items() if fails}


def mostly(value: str, *others: str) -> st.SearchStrategy[str]:
    """The value that fits most of the time, so that permits are drawn too."""
    return st.sampled_from([value] * 12 + list(others))


def rarely() -> st.SearchStrategy[bool]:
    return st.sampled_from([False] * 14 + [True])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Question, Facts, int]:
    purpose = draw(mostly(PURPOSE, "dpv:Marketing", ""))
    algorithm, version = draw(mostly("churn-v3", "shop-nearby", "")), draw(mostly("1", "2"))
    attribute = draw(mostly("home_city", "phone", "visit_log"))
    question = Question(
        action=draw(mostly("read", "profile", "train", "share", "delete")),
        attribute=attribute,
        purpose_id=purpose,
        algorithm_id=algorithm,
        algorithm_version=version,
        territory=draw(st.sampled_from(["CN"] * 8 + ["SG", None])),
        agent=draw(st.sampled_from([None, "crm-batch"])),
    )
    terms = GrantedTerms(
        partner_id=draw(mostly("p-1", "p-2")),
        controller_id=draw(mostly("demo", "p-1")),
        purpose_id=draw(mostly(PURPOSE, "dpv:Marketing")),
        algorithm_id=draw(mostly("churn-v3", "shop-nearby")),
        algorithm_version=draw(mostly("1", "2")),
        actions=draw(st.sampled_from([("read", "profile"), ("read",), ("train", "share")])),
        attributes=draw(st.sampled_from([("home_city", "visit_log"), ("home_city",), ("phone",)])),
        separate=tuple(
            kind
            for kind in ("third_party", "sensitive", "cross_border")
            if draw(st.sampled_from([True] * 4 + [False]))
        ),
        territories=draw(st.sampled_from([("CN",), ("CN", "SG"), ("SG",)])),
        storage=("CN",),
        retention_days=180,
    )
    consent = ConsentFacts(
        id="c-1",
        state=draw(mostly("granted", *STATES)),
        subject_id="s-1",
        valid_from=draw(st.sampled_from([0, 0, 0, 500, 1_500])),
        valid_until=draw(st.sampled_from([2_000, 2_000, 2_000, 1_000, 700])),
        uses_left=draw(st.sampled_from([None, None, 5, 1, 0])),
        refuses_automated_decisions=draw(rarely()),
        terms=terms,
    )
    facts = Facts(
        tenant_id="demo",
        kill_switch=draw(rarely()),
        partner=PartnerFacts("p-1", draw(mostly("CN", "SG")), draw(rarely()), draw(rarely())),
        purpose=PurposeFacts(purpose, not draw(rarely()), draw(rarely())),
        algorithm=AlgorithmFacts(
            algorithm,
            version,
            draw(mostly(PURPOSE, "dpv:Marketing")),
            not draw(rarely()),
            "limited",
            draw(st.booleans()),
            draw(rarely()),
        ),
        attribute=AttributeFacts(
            attribute, not draw(rarely()), "pd:Location", draw(rarely()), draw(mostly("CN", "SG"))
        ),
        consents=() if draw(rarely()) else (consent,),
        subject_id="s-1",
        demand=draw(st.sampled_from([None, None, *DEMANDS])),
    )
    return question, facts, draw(st.sampled_from([NOW, 999, 1_999, 2_000]))


@settings(max_examples=2_500, deadline=None)
@given(cases())
def test_the_engine_agrees_with_a_model_in_plain_python(case: tuple[Question, Facts, int]) -> None:
    question, facts, now = case
    verdict = consent_policies().judge(question, facts, now)
    expected = model(question, facts, now)
    assert {reason.id for reason in verdict.reasons} == expected
    assert verdict.permit is (not expected)
