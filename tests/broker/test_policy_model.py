"""The engine against a model of the rules in plain Python, written from the law table."""

from broker.domain.access import ConsentFacts, Facts, Question
from broker.domain.policy import consent_policies
from tests.broker.policy_worlds import STATES, cases
from tests.faults.lengths import short_or_long

CASES = short_or_long(2_000, 1_000_000)


def model(question: Question, facts: Facts, now: int) -> set[str]:
    """The conditions that fail."""
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
    unsigned = facts.partner.admission != "open"
    failed["partner.sandbox"] = unsigned and not (
        facts.partner.admission == "sandbox" and facts.test_subject
    )
    source = facts.source
    if source is not None:
        failed["source.unregistered"] = not source.registered
        if source.registered:
            failed |= {
                "source.state": source.state in {"draft", "closed"},
                "source.sandbox": source.state == "sandbox" and not facts.test_subject,
                "source.purpose": facts.purpose.id not in source.purposes,
                "source.attribute": facts.attribute.name not in source.attributes,
                "source.recipient": facts.partner.id not in source.recipients,
                "source.territory": not {where, facts.partner.country} <= set(source.territories),
            }
    if facts.demand is not None:
        proven = facts.demand.proven
        failed["proof.none"] = proven is None
        most = facts.demand.demand.max_age_seconds
        failed["proof.old"] = proven is not None and now - proven.proven_at > most
        until = None if proven is None else proven.status_until
        failed["proof.status"] = until is not None and now >= until
    if facts.transfer is not None:
        # What has to be filed, by the table of `domain/cross_border.py` and not by its code.
        filed, sensitive = facts.transfer.filed, facts.attribute.sensitive
        n, s = facts.transfer.subjects, facts.transfer.sensitive
        required = 0 if n < 100_000 else 1
        if sensitive:
            required = 1
        if n >= 1_000_000 or (s >= 10_000 and (sensitive or n >= 100_000)):
            required = 2
        chinese = facts.transfer.law == "PIPL" and facts.transfer.exemption is None
        failed["transfer.contract"] = chinese and required == 1 and filed < 1
        failed["transfer.assessment"] = chinese and required == 2 and filed < 2
        failed["transfer.mechanism"] = facts.transfer.law == "GDPR" and filed == 0
    if not facts.consents:
        failed["consent.none"] = True
        return {name for name, fails in failed.items() if fails}
    # What one consent lacks, and of the consents the first that lacks least of what comes first.
    lacks = [lacking(consent, question, facts, now) for consent in facts.consents]
    signed = [guardian_lacking(consent, facts, now) for consent in facts.consents]
    best = min(
        range(len(lacks)),
        key=lambda place: (
            *(
                fails or (name == "algorithm" and lacks[place]["algorithm.changed"])
                for name, fails in lacks[place].items()
                if name in TERMS_FIRST
            ),
            any(lacks[place][name] for name in LIVE),
            lacks[place]["uses"],
            any(signed[place].values()),
            facts.consents[place].uses_left is not None,
            -RANKS.index(facts.consents[place].state),
        ),
    )
    consent, terms = facts.consents[best], facts.consents[best].terms
    failed |= lacks[best] | signed[best]
    del failed["not granted"]
    failed |= {name: consent.state == state for state, name in STATES.items()}
    # Each separate consent: the best one's own, or another's that alone would be fine in all else.
    remote = set() if facts.transfer is None else {facts.partner.country}
    remote -= {facts.attribute.stored_in}
    held = {(kind, terms.territories) for kind in terms.separate}
    for place, one in enumerate(facts.consents):
        ignored = {"automated-decision.refused": False}
        if not any((lacks[place] | signed[place] | ignored).values()):
            held |= {(kind, one.terms.territories) for kind in one.terms.separate}
    kinds = {kind for kind, _ in held}
    failed |= {
        "separate.sensitive": facts.attribute.sensitive and "sensitive" not in kinds,
        "separate.publication": question.action == "publish" and "publication" not in kinds,
        "separate.public-place": facts.attribute.public_place and "public_place" not in kinds,
        "separate.third-party": facts.partner.id != terms.controller_id
        and "third_party" not in kinds,
        "separate.cross-border": (where != facts.attribute.stored_in or facts.transfer is not None)
        and not any(
            kind == "cross_border" and remote <= {where, *territories} for kind, territories in held
        ),
    }
    return {name for name, fails in failed.items() if fails}


TERMS_FIRST = ("purpose", "algorithm", "attribute", "territory", "action")
LIVE = ("not granted", "validity.over", "validity.ahead")
RANKS = ("requested", "refused", "superseded", "expired", "withdrawn", "granted")


def lacking(consent: ConsentFacts, question: Question, facts: Facts, now: int) -> dict[str, bool]:
    """What one consent lacks, in the order of `TERMS_FIRST` as far as that goes."""
    terms = consent.terms
    where = question.territory or facts.partner.country
    signed, asked = terms.algorithm_version.split("."), facts.algorithm.version.split(".")
    within = terms.minor_versions is not None and asked[: len(signed)] == signed
    named = terms.algorithm_id == facts.algorithm.id and (asked == signed or within)
    return {
        "recipient": terms.partner_id != facts.partner.id,
        "purpose": terms.purpose_id != facts.purpose.id,
        "algorithm": not named,
        "algorithm.changed": named
        and facts.algorithm.registered
        and terms.minor_versions
        not in (None, (facts.algorithm.risk_tier, facts.algorithm.automated_decision)),
        "attribute": facts.attribute.name not in terms.attributes,
        "territory": where not in terms.territories,
        "action": question.action not in terms.actions,
        "not granted": consent.state != "granted",
        "validity.over": consent.state == "granted" and now >= consent.valid_until,
        "validity.ahead": consent.state == "granted" and now < consent.valid_from,
        "uses": consent.uses_left is not None and consent.uses_left <= 0,
        "automated-decision.refused": facts.algorithm.automated_decision
        and consent.refuses_automated_decisions,
    }


def guardian_lacking(consent: ConsentFacts, facts: Facts, now: int) -> dict[str, bool]:
    """What one consent lacks of the guardian's signature, or has of it too much."""
    terms = consent.terms
    # By the text of the laws and not by the table of `domain/guardian.py`.
    band = 99 if facts.minor is None else int(facts.minor.age_band.removeprefix("under_"))
    if (
        facts.minor is not None
        and facts.minor.of_age_at is not None
        and now >= facts.minor.of_age_at
    ):
        band = 99
    pipl = "CN" in terms.countries and band <= 14
    gdpr = any(band <= {"DE": 16, "FR": 15, "PT": 13}.get(one, 0) for one in terms.countries)
    return {
        "guardian.pipl": pipl and not consent.guardian_signed,
        "guardian.gdpr": gdpr and not consent.guardian_signed,
        "guardian.of-age": consent.guardian_signed and not pipl and not gdpr,
    }


def test_the_engine_agrees_with_a_model_in_plain_python() -> None:
    policies = consent_policies()
    permits, met = 0, set[str]()
    for question, facts, now in cases(seed=1, count=CASES):
        verdict = policies.judge(question, facts, now)
        expected = model(question, facts, now)
        assert {reason.id for reason in verdict.reasons} == expected, (question, facts, now)
        assert verdict.permit is (not expected)
        permits += verdict.permit
        met |= expected
    # Cases that never permit, or never meet a condition, would show nothing about it.
    assert permits > CASES / 20
    assert met == set(policies.conditions)
