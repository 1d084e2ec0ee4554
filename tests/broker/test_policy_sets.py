"""Tenants' own policies: refused with the reason, tried on past decisions, switched for all."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update
from typer.testing import CliRunner

from broker.api import errors, policy_sets
from broker.cli import app
from broker.composition import build_context
from broker.domain.errors import InvalidPolicies, InvalidRequest, NotFound, StateConflict
from broker.domain.policies import CONSENT_SCHEMA
from broker.domain.policy import consent_policies, policies_with
from broker.domain.policy_set import BUILT_IN, never_applying
from broker.settings import read_settings
from broker.store.policy_sets import SET
from broker.usecases.bootstrap import ensure_demo_tenant
from broker.usecases.decide import decide
from broker.usecases.loaded_policies import LoadedPolicies
from broker.usecases.policy_preview import EXAMPLES, preview
from broker.usecases.policy_set import add, find, listed, switch
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.builders import TENANT
from tests.broker.deciding import Desk, desk
from tests.broker.test_decide import _meddling


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def own(name: str, when: str, **changed: str) -> str:
    told = {"id": f"own.{name}", "law": "contract", "code": f"own_{name.replace('-', '_')}"}
    told |= {"obligation": "stop", "zh": "公司不允许。", "en": "The company does not allow it."}
    annotations = " ".join(f'@{key}("{value}")' for key, value in (told | changed).items())
    return f"{annotations}\nforbid (principal, action, resource) when {{ {when} }};\n"


NO_PROFILING = own("no-profiling", 'context.action == "profile"')
NOTHING = own("nothing", "true")


def test_a_set_counts_from_the_next_decision_on_and_is_named(at: Desk) -> None:
    at.consent()
    ctx = at.broker.ctx
    assert at.codes(action="profile") == []
    made = add(ctx, TENANT, NO_PROFILING)
    assert at.codes(action="profile") == []
    assert switch(ctx, TENANT, made.number)
    denied = at.decide(action="profile")
    (reason,) = denied.reasons
    assert (reason.id, reason.code, reason.law) == (
        "own.no-profiling",
        "own_no_profiling",
        ("contract",),
    )
    assert denied.policies == policies_with(NO_PROFILING).version != consent_policies().version
    assert at.broker.logged("decision")[-1].body["policies"] == denied.policies
    assert at.codes() == []
    assert switch(ctx, TENANT, 0)
    assert at.codes(action="profile") == []
    switched = [entry.body for entry in at.broker.logged("policies.switched")]
    assert switched == [
        {"from": 0, "set": 1, "policies": denied.policies, "by": "operator"},
        {"from": 1, "set": 0, "policies": consent_policies().version, "by": "operator"},
    ]


def test_every_worker_follows_a_switch_at_its_next_decision(anywhere: Desk) -> None:
    """Each has what it loaded in a memory of its own; which counts is read with the decision."""
    at = anywhere
    at.consent()
    ctx = at.broker.ctx
    workers = [
        Desk(
            replace(at.broker, ctx=replace(ctx, policies=LoadedPolicies())), at.partner_id, at.token
        )
        for _ in range(3)
    ]
    first, second = add(ctx, TENANT, NOTHING), add(ctx, TENANT, NO_PROFILING)
    for number, codes in ((first.number, ["own_nothing"]), (second.number, []), (0, [])):
        switch(ctx, TENANT, number)
        assert [worker.codes() for worker in workers] == [codes] * 3
    assert len(at.broker.logged("policies.switched")) == 3


def test_a_switch_between_reading_and_writing_is_seen(anywhere: Desk) -> None:
    at = anywhere
    at.consent()
    number = add(at.broker.ctx, TENANT, NOTHING).number

    def meddle() -> None:
        switch(at.broker.ctx, TENANT, number)

    between = _meddling(at, meddle)
    assert between.codes() == ["own_nothing"]
    between.broker.ctx.db.close()


def test_of_many_switches_at_once_each_finds_what_it_expects_or_fails(anywhere: Desk) -> None:
    at = anywhere
    ctx = at.broker.ctx
    numbers = [add(ctx, TENANT, own(f"at-once-{n}", "true")).number for n in range(6)]

    async def all_at_once() -> list[object]:
        return await asyncio.gather(
            *(asyncio.to_thread(switch, ctx, TENANT, n, expected=0) for n in numbers),
            return_exceptions=True,
        )

    done = asyncio.run(all_at_once())
    assert done.count(True) == 1
    assert sum(isinstance(one, StateConflict) for one in done) == len(numbers) - 1
    (in_force,) = [row["number"] for row in listed(ctx, TENANT) if row["in_force"]]
    assert in_force == numbers[done.index(True)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("forbid (", "do not parse"),
        (NOTHING.replace("forbid", "permit"), "only forbid"),
        (NOTHING.replace("principal,", "principal == ?principal,"), "templates"),
        (own("x", "context.weather"), "own.x.*weather"),
        (own("x", "context.now"), "do not fit"),
        (own("x", "context.consent.usesLeft < 3"), "do not fit"),  # it may not be there
        (own("x", "true", id="consent.none"), "like own"),
        (own("x", "true", code="kill_switch"), "like own"),
        (own("x", "true", obligation="dance"), "@obligation is one of"),
        (own("x", "true", en="a\\nb"), "printable"),
        (NOTHING.replace('@zh("公司不允许。")', ""), "own.nothing lacks @zh"),
        (NOTHING + NOTHING, "two conditions are called"),
        ("// nothing\n", "has 1 to"),
        ("".join(own(f"n{n}", "true") for n in range(65)), "has 1 to"),
        (own("x", "(" * 17 + "true" + ")" * 17), "nested at most"),
        (own("x", "[" * 5_000), "at most"),
        (own("x", "context" + ".consent" * 1_000), "at most 2000"),
        ("//" * 20_000, "at most 32768"),
        (own("x", "if true then " * 300 + "true"), "at most 2000"),
        (")" * 900 + own("x", "(" * 40 + "true" + ")" * 40), "closed that was not opened"),
        ('"' + '\\"' * 16_000, "do not parse"),  # a text that is never closed, looked at once
    ],
)
def test_what_could_fail_later_or_open_something_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidPolicies, match=f"(?s){says}"):
        policies_with(text)


def test_brackets_in_texts_and_comments_are_no_nesting() -> None:
    texts = own("x", f'context.territory == "{"(" * 40}//"') + "// " + "[" * 5_000 + "\n"
    assert "own.x" in policies_with(texts).conditions


def test_own_policies_cannot_open_what_the_brokers_close(at: Desk) -> None:
    consent_id = at.consent()
    switch(at.broker.ctx, TENANT, add(at.broker.ctx, TENANT, NO_PROFILING).number)
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent_id)
    assert at.codes() == ["consent_withdrawn"]
    assert at.codes(action="profile") == ["consent_withdrawn", "own_no_profiling"]


def test_an_own_policy_that_errs_denies(at: Desk) -> None:
    at.consent()
    erring = own("overflow", "context.now + 9223372036854775807 > 0")
    switch(at.broker.ctx, TENANT, add(at.broker.ctx, TENANT, erring).number)
    assert at.codes() == ["policy_error"]
    assert at.broker.logged("decision")[-1].body["conditions"] == ["policy.error"]


@pytest.mark.parametrize("lost", ["changed", "gone"])
def test_a_set_that_does_not_load_any_more_denies_everything(at: Desk, lost: str) -> None:
    at.consent()
    ctx = at.broker.ctx
    made = add(ctx, TENANT, NO_PROFILING)
    switch(ctx, TENANT, made.number)
    with ctx.db.transaction() as tx:
        if lost == "gone":
            tx.execute(SET.delete())
        else:
            tx.execute(update(SET).values(text=NOTHING))
    assert at.codes() == ["policy_error"]
    assert switch(ctx, TENANT, 0)
    assert at.codes() == []


@pytest.mark.parametrize(
    ("when", "never"),
    [
        ("resource has colour", True),
        ('context.territory == "SG" && resource has colour && resource.colour == "red"', True),
        ("context.consent has foo", True),
        ("!(context has now)", True),
        ("context has proof && !(context has proof)", True),
        ("context has weather || context.killSwitch", False),
        ("context has proof", False),
        ("context.consent has usesLeft && context.consent.usesLeft < 4", False),
        ("context.killSwitch", False),
    ],
)
def test_a_policy_that_can_never_apply_is_named(when: str, never: bool) -> None:
    text = "\n".join((NO_PROFILING, own("odd", when), NOTHING))
    policies_with(text)  # it validates
    assert never_applying(text, CONSENT_SCHEMA) == (["own.odd"] if never else [])


@pytest.mark.parametrize("terms", [100, 450])
def test_a_policy_that_is_nested_deep_is_taken_or_refused_and_judged(at: Desk, terms: int) -> None:
    """What cannot be walked is asked of the engine each time, and is not said never to apply."""
    ctx = at.broker.ctx
    at.consent()
    either = " || ".join(f'context.action == "a{number}"' for number in range(terms // 10))
    summed = " + ".join(["1"] * terms)
    text = own("deep", f"({either}) && {summed} == 7")
    try:
        made = add(ctx, TENANT, text)
    except InvalidPolicies:
        return
    assert never_applying(text, CONSENT_SCHEMA) == []
    switch(ctx, TENANT, made.number)
    assert at.codes() in ([], ["policy_error"])


def test_the_same_text_is_the_same_set(at: Desk) -> None:
    ctx = at.broker.ctx
    first = add(ctx, TENANT, NO_PROFILING, added_by="o-1")
    assert add(ctx, TENANT, NO_PROFILING) == first
    assert find(ctx, TENANT, 1) == first
    assert [(row["number"], row["in_force"]) for row in listed(ctx, TENANT)] == [
        (0, True),
        (1, False),
    ]
    assert not switch(ctx, TENANT, 0)
    for attempt in (lambda: find(ctx, TENANT, 2), lambda: switch(ctx, TENANT, 2)):
        with pytest.raises(NotFound):
            attempt()
    with pytest.raises(StateConflict, match="set 0 is in force, not 1"):
        switch(ctx, TENANT, 1, expected=1)
    with pytest.raises(InvalidRequest):
        add(ctx, TENANT, "  \n")
    assert len(at.broker.logged("policies.added")) == 1


# Trying policies on past decisions.


def test_a_preview_says_what_would_change_and_changes_nothing(anywhere: Desk) -> None:
    at = anywhere
    consent_id = at.consent(uses_left=5)
    for number in range(3):
        at.decide(key=f"read-{number}")
    permit = at.decide(key="profile", action="profile")
    at.decide(action="train")  # denied as it is, and so no change
    at.broker.keep_log()
    found = preview(at.broker.ctx, TENANT, NO_PROFILING, last=100)
    assert (found.tried, found.skipped, found.otherwise) == (5, 0, 0)
    assert (found.now_denied, found.now_permitted, found.other_reasons) == (1, 0, 0)
    assert dict(found.by_condition) == {"own.no-profiling": 1}
    (change,) = found.examples
    assert (change.entry_id, change.was, change.becomes) == (
        permit.entry_id,
        (),
        ("own.no-profiling",),
    )
    few = own("few-left", "context.consent has usesLeft && context.consent.usesLeft < 4")
    assert preview(at.broker.ctx, TENANT, few, last=100).now_denied == 2
    assert preview(at.broker.ctx, TENANT, few, last=1).tried == 1
    assert listed(at.broker.ctx, TENANT)[0]["in_force"]
    # The other way round: what is in force is given up.
    switch(at.broker.ctx, TENANT, add(at.broker.ctx, TENANT, NO_PROFILING).number)
    assert at.codes(action="profile", key="again") == ["own_no_profiling"]
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent_id)  # the past stays as it was
    at.broker.keep_log()
    back = preview(at.broker.ctx, TENANT, "", last=100)
    assert (back.tried, back.now_denied, back.now_permitted) == (6, 0, 2)
    assert back.otherwise == 1  # permitted before the set was in force


def test_examples_of_another_answer_come_first(at: Desk) -> None:
    at.consent()
    permit = at.decide()
    for _ in range(EXAMPLES + 2):
        at.decide(attribute="shoe_size")
    at.broker.keep_log()
    found = preview(at.broker.ctx, TENANT, NOTHING, last=100)
    assert (found.now_denied, found.other_reasons) == (1, EXAMPLES + 2)
    assert len(found.examples) == EXAMPLES
    assert found.examples[0].entry_id == permit.entry_id


def test_what_is_not_registered_is_tried_as_such(at: Desk) -> None:
    at.consent()
    asked: list[dict[str, Any]] = [
        {"attribute": "shoe_size"},
        {"purpose_id": "dpv:Nothing"},
        {"algorithm_version": "9"},
        {"territory": "Atlantis"},
        {"action": "delete"},
        {"agent": "zhang.wei@brand.example"},
        {"subject_ref": "nobody"},
        {"attribute": "visit_log"},
    ]
    for one in asked:
        at.decide(**one)
    at.broker.keep_log()
    found = preview(at.broker.ctx, TENANT, NOTHING, last=100)
    assert (found.tried, found.skipped, found.otherwise) == (len(asked), 0, 0)
    assert found.by_condition["own.nothing"] == len(asked)


def test_decisions_without_facts_or_about_others_are_skipped(at: Desk) -> None:
    at.consent()
    asyncio.run(decide(at.broker.ctx, replace(at.asking(), partner_id="p-other")))
    at.broker.keep_log()
    found = preview(at.broker.ctx, TENANT, NOTHING, last=100)
    assert (found.tried, found.skipped) == (0, 1)
    with pytest.raises(InvalidRequest):
        preview(at.broker.ctx, TENANT, NOTHING, last=0)


def test_officers_over_http(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        made = FastAPI()
        made.state.context = at.broker.ctx
        errors.install(made)
        made.include_router(policy_sets.router)
        officer = {
            "Authorization": f"Bearer {at.broker.token(at.broker.officer(), 'officer')}",
            "Idempotency-Key": "k",
        }
        partner = {"Authorization": f"Bearer {at.token}"}
        at.consent()
        at.decide()
        at.broker.keep_log()
        path = "/v1/policy-sets"
        with TestClient(made) as http:
            assert http.get(path, headers=partner).status_code == 403
            odd = http.post(path, json={"text": "permit("}, headers=officer)
            assert (odd.status_code, odd.json()["code"]) == (400, "invalid_policies")
            kept = http.post(
                path, json={"text": NOTHING}, headers=officer | {"Idempotency-Key": "2"}
            )
            told = {"number": 1, "text": NOTHING, "never_apply": []}
            assert (kept.status_code, kept.json()) == (201, told)
            assert http.get(f"{path}/1", headers=officer).json()["text"] == NOTHING
            tried = http.post(f"{path}/preview", json={"text": NOTHING}, headers=officer).json()
            assert (tried["tried"], tried["now_denied"]) == (1, 1)
            late = http.put(f"{path}/in-force", json={"number": 1, "expected": 1}, headers=officer)
            assert (late.status_code, late.json()["code"]) == (409, "state_conflict")
            body = {"number": 1, "expected": 0}
            assert http.put(f"{path}/in-force", json=body, headers=officer).json() == body
            listed_sets = http.get(path, headers=officer).json()["policy_sets"]
            assert [one["in_force"] for one in listed_sets] == [False, True]
            assert http.get("/schemas/policies.cedarschema").text == CONSENT_SCHEMA
        assert at.codes() == ["own_nothing"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    ctx.db.close()
    file = tmp_path / "own.cedar"
    file.write_text(NO_PROFILING)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["policy", *arguments], catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.output

    assert json.loads(run("add", str(file), "--json"))["number"] == 1
    assert "policy set 1 is in force\n" in run("switch", "1", "--from", BUILT_IN)
    assert "as it was" in run("switch", "1")
    assert "not 0" in run("switch", "1", "--from", BUILT_IN, code=1)
    assert run("show", "1") == NO_PROFILING + "\n"
    assert "permit (" in run("show", BUILT_IN)
    assert "entity Brand" in run("show", BUILT_IN, "--schema")
    told = json.loads(run("list", "--json"))
    assert [(one["number"], one["in_force"]) for one in told] == [(0, False), (1, True)]
    assert "in force" in run("list")
    assert "0 decisions tried" in run("test", str(file))
    assert json.loads(run("test", "--set", BUILT_IN, "--json"))["tried"] == 0
    assert "name a file" in run("test", code=2)
    assert "a set is a number" in run("show", "first", code=2)
    file.write_text(own("odd", "resource has colour"))
    assert json.loads(run("add", str(file), "--json").splitlines()[-1])["never_apply"] == [
        "own.odd"
    ]
    assert "own.odd can never apply" in run("add", str(file))
    file.write_text("forbid (")
    assert "do not parse" in run("add", str(file), code=1)
    assert "do not parse" in run("test", str(file), code=1)
    file.write_bytes(b"\xff")
    assert "not text" in run("add", str(file), code=2)
