"""The policies: each condition denies under its own code, and all that fail are named."""

from dataclasses import replace

import pytest

from broker.domain.access import best_consent, read_terms
from broker.domain.errors import InvalidPolicies, InvalidTerms
from broker.domain.policies import CONSENT_POLICIES, CONSENT_SCHEMA
from broker.domain.policy import ConsentPolicies, consent_policies
from tests.broker.policy_cases import CONSENT, FACTS, NOW, ONE_CONDITION, QUESTION, TERMS, Case


def test_a_live_consent_that_covers_the_use_is_permitted() -> None:
    assert Case().failed == []


@pytest.mark.parametrize("condition", ONE_CONDITION)
def test_each_condition_denies_under_its_own_name_and_nothing_else_is_named(condition: str) -> None:
    code, breaks = ONE_CONDITION[condition]
    assert breaks(Case()).failed == [(condition, code)]


def test_a_proof_as_old_as_the_demand_allows_is_fresh() -> None:
    assert Case().demand().failed == []
    assert Case().proven(status_until=NOW + 1).failed == []


def test_every_condition_of_the_policies_is_tested() -> None:
    assert set(consent_policies().conditions) == set(ONE_CONDITION)


def test_a_denial_names_every_condition_that_fails_at_once() -> None:
    case = Case()
    states = {"consent.none", "consent.requested", "consent.refused", "consent.withdrawn"}
    states |= {"consent.expired", "consent.superseded", "proof.none"}
    states |= {"source.unregistered", "source.state"}  # another source, another state
    states |= {"transfer.contract", "transfer.assessment"}  # of one transfer one alone
    states |= {"guardian.of-age"}  # of a consent that no guardian signed it cannot be
    states |= {"algorithm.changed"}  # of an algorithm that was granted
    together = set(ONE_CONDITION) - states - {"validity.ahead"}
    for condition in sorted(together):
        case = ONE_CONDITION[condition][1](case)
    # Several conditions set them.
    case = case.terms(territories=("HK",), separate=(), countries=("CN", "FR"), actions=("read",))
    assert {name for name, _ in case.failed} == together


def test_every_reason_tells_its_articles_in_both_languages() -> None:
    for reason in consent_policies().conditions.values():
        assert reason.law
        assert all(article.startswith(("PIPL-", "GDPR-", "CN-FLOWS-")) for article in reason.law)
        assert reason.zh.endswith("。")
        assert reason.en.endswith(".")


def test_an_algorithm_is_good_only_for_the_purpose_that_it_was_registered_for() -> None:
    assert Case().algorithm(purpose_id="dpv:Marketing").failed == [
        ("algorithm.unregistered", "algorithm_unregistered")
    ]


def test_an_action_that_no_consent_can_grant_is_denied_with_the_other_reasons() -> None:
    case = Case().ask(action="delete").consent(state="withdrawn")
    assert {code for _, code in case.failed} == {"action_not_granted", "consent_withdrawn"}


def test_without_a_territory_the_partners_own_country_counts() -> None:
    assert Case().ask(territory=None).failed == []
    abroad = Case().ask(territory=None).partner(country="SG")
    assert {code for _, code in abroad.failed} == {
        "territory_outside_terms",
        "cross_border_consent_missing",
    }


def test_separate_consents_may_be_given_apart_but_must_be_live() -> None:
    own = replace(CONSENT, terms=replace(TERMS, separate=("third_party", "sensitive")), id="c-2")
    case = Case().attribute(sensitive=True)
    assert case.stored(consents=(CONSENT, own)).failed == []
    over = replace(own, state="withdrawn")
    assert [code for _, code in case.stored(consents=(CONSENT, over)).failed] == [
        "sensitive_consent_missing"
    ]
    elsewhere = replace(own, terms=replace(own.terms, purpose_id="dpv:Marketing"))
    assert [code for _, code in case.stored(consents=(CONSENT, elsewhere)).failed] == [
        "sensitive_consent_missing"
    ]


def test_a_cross_border_consent_has_to_name_the_territory() -> None:
    abroad = replace(TERMS, territories=("CN", "SG"))
    case = Case().ask(territory="SG").terms(territories=("CN", "SG"))
    own = replace(CONSENT, id="c-2", terms=replace(abroad, separate=("cross_border",)))
    assert case.stored(consents=(*case.facts.consents, own)).failed == []
    other = replace(own, terms=replace(own.terms, territories=("HK",)))
    failed = case.stored(consents=(*case.facts.consents, other)).failed
    assert [code for _, code in failed] == ["cross_border_consent_missing"]


def test_the_consent_that_fits_is_found_among_others() -> None:
    others = [
        replace(CONSENT, id="c-old", state="withdrawn"),
        replace(CONSENT, id="c-purpose", terms=replace(TERMS, purpose_id="dpv:Marketing")),
        replace(CONSENT, id="c-attribute", terms=replace(TERMS, attributes=("phone",))),
        replace(CONSENT, id="c-used", uses_left=0),
        replace(CONSENT, id="c-counted", uses_left=3),
    ]
    for consents in (others, others[::-1]):
        facts = replace(FACTS, consents=(*consents[:2], CONSENT, *consents[2:]))
        found = best_consent(QUESTION, facts, NOW)
        assert found is not None
        assert found.id == "c-1"


def test_what_was_once_granted_is_told_withdrawn_rather_than_not_granted() -> None:
    withdrawn = replace(CONSENT, state="withdrawn")
    other = replace(CONSENT, id="c-2", terms=replace(TERMS, attributes=("phone",)))
    assert Case().stored(consents=(other, withdrawn)).failed == [
        ("consent.withdrawn", "consent_withdrawn")
    ]


def test_a_question_about_one_consent_is_about_no_other() -> None:
    withdrawn = replace(CONSENT, id="c-2", state="withdrawn")
    case = Case().stored(consents=(CONSENT, withdrawn))
    assert case.ask(consent_id="c-1").failed == []
    assert [code for _, code in case.ask(consent_id="c-2").failed] == ["consent_withdrawn"]
    assert [code for _, code in case.ask(consent_id="c-3").failed] == ["consent_not_found"]


def test_hostile_names_are_names() -> None:
    for name in ('"', "\\", "\n", "\u2028", 'x" || true', "", "名" * 300, "\x7f"):
        case = Case().ask(action=name, agent=name, territory=name).attribute(name=name)
        case = case.purpose(id=name).algorithm(id=name, version=name, purpose_id=name)
        assert ("action", "action_not_granted") in case.failed


# What a state that nobody foresaw, a lost condition or an erring one lead to.


def test_a_state_that_the_policies_do_not_know_permits_nothing() -> None:
    unheard = replace(CONSENT, id="c-9", state="suspended")
    assert ("policy.error", "policy_error") in Case().stored(consents=(unheard,)).failed


@pytest.mark.parametrize(
    "condition",
    [
        "consent.withdrawn",
        "recipient",
        "algorithm",
        "algorithm.changed",
        "attribute",
        "validity.over",
        "proof.none",
        "proof.old",
        "proof.status",
    ],
)
def test_without_its_condition_the_permit_itself_still_refuses(condition: str) -> None:
    policies = ConsentPolicies(_without(condition), CONSENT_SCHEMA)
    case = ONE_CONDITION[condition][1](Case())
    verdict = policies.judge(case.question, case.facts, NOW)
    assert not verdict.permit
    assert [reason.code for reason in verdict.reasons] == ["policy_error"]


def test_an_error_in_a_condition_denies_although_cedar_would_permit() -> None:
    erring = CONSENT_POLICIES + _forbid("erring", "context.now + 9223372036854775807 > 0")
    policies = ConsentPolicies(erring, CONSENT_SCHEMA)
    verdict = policies.judge(QUESTION, FACTS, NOW)
    assert not verdict.permit
    assert [reason.code for reason in verdict.reasons] == ["policy_error"]


def test_a_number_that_the_engine_cannot_hold_denies() -> None:
    verdict = consent_policies().judge(QUESTION, FACTS, 2**63)
    assert not verdict.permit
    assert [reason.code for reason in verdict.reasons] == ["policy_error"]


@pytest.mark.parametrize(
    ("policies", "schema", "says"),
    [
        ("permit(", CONSENT_SCHEMA, "do not parse"),
        (CONSENT_POLICIES, "entity", "do not parse"),
        ("", CONSENT_SCHEMA, "one permit"),
        (CONSENT_POLICIES + CONSENT_POLICIES, CONSENT_SCHEMA, "two conditions are called"),
        (CONSENT_POLICIES.replace('@law("PIPL-39;GDPR-44")', ""), CONSENT_SCHEMA, "lacks @law"),
        (
            CONSENT_POLICIES.replace("context.killSwitch", "context.killswitch"),
            CONSENT_SCHEMA,
            "do not fit their schema",
        ),
    ],
    ids=["policies", "schema", "nothing", "twice", "annotation", "misspelt"],
)
def test_policies_that_could_fail_later_do_not_load(policies: str, schema: str, says: str) -> None:
    with pytest.raises(InvalidPolicies, match=says):
        ConsentPolicies(policies, schema)


def test_a_second_permit_does_not_load() -> None:
    permit = CONSENT_POLICIES[: CONSENT_POLICIES.index('@id("consent.none")')]
    second = permit.replace('@id("permit")', '@id("permit.again")')
    with pytest.raises(InvalidPolicies, match="one permit"):
        ConsentPolicies(CONSENT_POLICIES + second, CONSENT_SCHEMA)


def test_the_version_names_both_texts() -> None:
    same = ConsentPolicies(CONSENT_POLICIES, CONSENT_SCHEMA)
    assert same.version == consent_policies().version
    other = ConsentPolicies(CONSENT_POLICIES + "\n", CONSENT_SCHEMA)
    third = ConsentPolicies(CONSENT_POLICIES, CONSENT_SCHEMA + "\n")
    assert len({same.version, other.version, third.version}) == 3


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"partner": {"id": 1}}', "null", "{" * 2000])
def test_terms_that_cannot_be_read_are_an_error_of_ours(text: str) -> None:
    with pytest.raises(InvalidTerms):
        read_terms(text)


def _without(condition: str) -> str:
    start = CONSENT_POLICIES.index(f'@id("{condition}")')
    end = CONSENT_POLICIES.index("};", start) + 2
    return CONSENT_POLICIES[:start] + CONSENT_POLICIES[end:]


def _forbid(name: str, when: str) -> str:
    return (
        f'\n@id("{name}") @law("PIPL-51") @code("{name}") @obligation("stop") '
        '@zh("无。") @en("No.")\n'
        f"forbid (principal, action, resource) when {{ {when} }};\n"
    )
