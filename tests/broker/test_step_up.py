"""Tenants' policies look at how surely a wallet is bound and at programs, and ask for a step up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from broker.domain import policy
from broker.domain.consent import BindingGrade
from broker.domain.decision_facts import kept
from broker.store.contacts import CONTACT
from broker.usecases.agent import add_agent
from broker.usecases.policy_preview import preview
from broker.usecases.policy_set import add, switch
from tests.broker.builders import TENANT
from tests.broker.deciding import Desk, desk

RECOGNISED = (
    '@id("own.recognised") @law("PIPL-51") @code("own_recognised") @obligation("step_up") '
    '@zh("须先当面核验身份。") @en("The person has to be recognised first.") '
    'forbid (principal, action, resource) when { context.binding != "verified_person" };\n'
)
NO_STRANGERS = (
    '@id("own.programs") @law("contract") @code("own_programs") @obligation("stop") '
    '@zh("只有已登记的程序可以使用。") @en("Registered programs alone.") '
    "forbid (principal, action, resource) when { principal.program && !principal.registered };\n"
)
NO_PROGRAMS = NO_STRANGERS.replace(" && !principal.registered", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def in_force(at: Desk, text: str) -> None:
    switch(at.broker.ctx, TENANT, add(at.broker.ctx, TENANT, text).number)


def bound(at: Desk, grade: BindingGrade) -> None:
    with at.broker.ctx.db.transaction() as tx:
        tx.execute(update(CONTACT).values(grade=str(grade)))


def owed(at: Desk) -> dict[str, dict[str, Any]]:
    return {one.id: one.properties for one in at.decide().obligations}


def test_a_wallet_that_is_bound_too_weakly_has_to_step_up(at: Desk) -> None:
    at.consent()
    assert at.codes() == []
    in_force(at, RECOGNISED)
    for grade in BindingGrade:
        bound(at, grade)
        enough = grade is BindingGrade.VERIFIED_PERSON
        assert at.codes() == ([] if enough else ["own_recognised"])
        assert ("step_up" in owed(at)) is not enough
    bound(at, BindingGrade.CODE)
    told = owed(at)["step_up"]
    assert told["endpoint"].endswith("/v1/invitations")
    # What an officer sends there, beside the contact.
    assert told["request"] == {"grade": "verified_person", "rebind": True}
    # Of a customer who is not known nothing is sure.
    assert "own_recognised" in at.codes(subject_ref="crm-nobody")


def test_past_decisions_are_tried_by_how_it_was_bound_then(at: Desk) -> None:
    at.consent()
    for grade in (BindingGrade.LINK, BindingGrade.VERIFIED_PERSON):
        bound(at, grade)
        assert at.codes() == []
    at.broker.keep_log()
    found = preview(at.broker.ctx, TENANT, RECOGNISED, last=10)
    assert (found.tried, found.now_denied, found.otherwise) == (2, 1, 0)


def test_past_decisions_that_kept_neither_binding_nor_program_are_not_tried(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.consent()
    bound(at, BindingGrade.VERIFIED_PERSON)
    agent = add_agent(at.broker.ctx, TENANT, at.partner_id, name="Coupon writer")

    def as_before(*given: Any) -> dict[str, Any]:  # noqa: ANN401
        told = kept(*given)
        del told["binding"]
        told["flags"].remove("agent_registered")
        return told

    with monkeypatch.context() as before:
        before.setattr(policy, "kept", as_before)
        assert at.codes(agent=agent.id) == []
    at.broker.keep_log()
    for text in (RECOGNISED, NO_STRANGERS):
        found = preview(at.broker.ctx, TENANT, text, last=10)
        assert (found.tried, found.skipped, found.now_denied) == (0, 1, 0)


def test_programs_are_told_from_their_partner_and_strangers_from_registered_ones(at: Desk) -> None:
    at.consent()
    added = add_agent(at.broker.ctx, TENANT, at.partner_id, name="Coupon writer")
    for agent in (None, added.id, "crm-batch"):
        assert at.codes(agent=agent) == []
    at.broker.keep_log()
    for text, denied in ((NO_STRANGERS, 1), (NO_PROGRAMS, 2)):
        found = preview(at.broker.ctx, TENANT, text, last=10)
        assert (found.tried, found.now_denied, found.otherwise) == (3, denied, 0)
    in_force(at, NO_STRANGERS)
    assert at.codes() == at.codes(agent=added.id) == []
    assert at.codes(agent="crm-batch") == ["own_programs"]
    in_force(at, NO_PROGRAMS)
    assert at.codes() == []
    assert at.codes(agent=added.id) == ["own_programs"]
