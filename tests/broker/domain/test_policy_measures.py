"""Requests whose numbers compare alike have one answer; policies that see more are noticed."""

import re
from dataclasses import replace

import pytest

from broker.domain.access import best_consent, separate_consents
from broker.domain.own_attribute import OwnValues
from broker.domain.policies import CONSENT_POLICIES, CONSENT_SCHEMA
from broker.domain.policy import consent_policies, policies_with
from broker.domain.policy_measures import MEASURES, only_compares
from broker.domain.policy_request import asked_of
from tests.broker.policy_cases import CONSENT, FACTS, NOW, QUESTION
from tests.broker.policy_worlds import cases


def own(when: str) -> str:
    return (
        '@id("own.x") @law("contract") @code("own_x") @obligation("stop") @zh("不。") @en("No.")'
        f"\nforbid (principal, action, resource) when {{ {when} }};"
    )


def test_the_engine_says_the_same_of_the_numbers_and_of_how_they_compare() -> None:
    policies = consent_policies()
    for question, facts, now in cases(seed=7, count=1_000):
        consent = best_consent(question, facts, now)
        separate = separate_consents(question, facts, consent, now)
        asked = asked_of(question, facts, consent, separate, now)
        compared = asked._replace(
            measures=asked.measures.compared(),
            transfer=asked.transfer and asked.transfer.banded(),
        )
        assert policies.ask(asked) == policies.ask(compared), asked


def test_the_brokers_own_policies_only_compare() -> None:
    assert only_compares(CONSENT_POLICIES)
    numbers = set(re.findall(r"(\w+)\??: Long", CONSENT_SCHEMA))
    # Those of a transfer are asked as they are, or as the edge of their band.
    numbers -= {"filed", "subjects", "sensitiveSubjects"}
    assert numbers == {path[-1] for path in MEASURES}


@pytest.mark.parametrize(
    "when",
    [
        "context.now > 5",
        "context.now < context.consent.validUntil - 60",
        "context.consent.validFrom < context.consent.validUntil",
        "context.now == context.consent.validUntil",
        'context["n\\u{6f}w"] > 5',
        "context.consent has usesLeft && context.consent.usesLeft < 4",
        "context.consent == context.consent && true",
        "[context.now].contains(5)",
        "{a: context.now}.a == 5",
        "context has proof && context.proof.maxAge > 60",
        "if context.killSwitch then context.now > 5 else false",
    ],
)
def test_what_sees_more_of_a_number_is_noticed(when: str) -> None:
    assert not only_compares(own(when))
    policies_with(own(when))  # they are policies that load


@pytest.mark.parametrize(
    "when",
    [
        'context.territory == "SG"',
        "context.consent has usesLeft && context.consent.usesLeft > 0",
        "context.now >= context.consent.validUntil",
        "context has proof && context.proof has age && context.proof.age < context.proof.maxAge",
        'resource.name like "home*" && principal.brand.name == "p-9"',
        '{Var: "context"}.Var == "now"',
        "context.algorithm in context.purpose",
    ],
)
def test_what_only_compares_is_known_as_that(when: str) -> None:
    assert only_compares(own(when))


def test_a_policy_about_a_number_is_asked_at_each_moment() -> None:
    policies = policies_with(own(f"context.now == {NOW + 1}"))
    told = [policies.judge(QUESTION, FACTS, NOW + later).permit for later in (0, 1, 2)]
    assert told == [True, False, True]
    few = policies_with(own("context.consent has usesLeft && context.consent.usesLeft == 2"))
    for left, permit in ((3, True), (2, False), (1, True), (0, False)):
        facts = replace(FACTS, consents=(replace(CONSENT, uses_left=left),))
        assert few.judge(QUESTION, facts, NOW).permit is permit


def test_what_is_remembered_is_by_the_policies_too() -> None:
    assert consent_policies().judge(QUESTION, FACTS, NOW).permit
    assert not policies_with(own('context.territory == "CN"')).judge(QUESTION, FACTS, NOW).permit
    assert consent_policies().judge(QUESTION, FACTS, NOW).permit
    stopped = replace(FACTS, kill_switch=True)
    assert not consent_policies().judge(QUESTION, stopped, NOW).permit
    withdrawn = replace(FACTS, consents=(replace(CONSENT, state="withdrawn"),))
    assert not consent_policies().judge(QUESTION, withdrawn, NOW).permit
    assert not consent_policies().judge(QUESTION, FACTS, CONSENT.valid_until).permit


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("partner", {"suspended": True}),
        ("partner", {"kill_switch": True}),
        ("purpose", {"kill_switch": True}),
        ("purpose", {"registered": False}),
        ("algorithm", {"kill_switch": True}),
        ("algorithm", {"registered": False}),
        ("attribute", {"registered": False}),
        ("attribute", {"public_place": True}),
    ],
)
def test_what_two_tenants_name_alike_is_kept_apart(part: str, changed: dict[str, bool]) -> None:
    """What is remembered goes by its whole content, whoever's it is."""
    theirs = replace(FACTS, tenant_id="t-2", **{part: replace(getattr(FACTS, part), **changed)})
    for _ in range(2):
        assert consent_policies().judge(QUESTION, FACTS, NOW).permit
        assert not consent_policies().judge(QUESTION, theirs, NOW).permit


def test_a_number_and_a_flag_that_are_equal_are_kept_apart() -> None:
    """In Python 1 is True: what a tenant declares as the one is not found as another's other."""
    of = {"long": "principal.brand.own.tier == 1", "bool": "principal.brand.own.tier"}
    sets = {
        kind: policies_with(
            f'// own: [["partner","tier","{kind}",[]]]\n'
            + own(f"principal.brand.own has tier && {condition}")
        )
        for kind, condition in of.items()
    }
    facts = {
        kind: replace(FACTS, partner=replace(FACTS.partner, own=OwnValues(1, (("tier", value),))))
        for kind, value in (("long", 1), ("bool", True))
    }
    for _ in range(2):
        for policies in of:
            for values in of:
                permit = sets[policies].judge(QUESTION, facts[values], NOW).permit
                assert permit is (policies != values)
