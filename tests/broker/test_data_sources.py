"""Outside sources and the sandbox: nothing without an entry, nothing outside of a checklist."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.domain.data_source import Checklist, DataSource
from broker.domain.errors import InvalidRequest, NotFound, StateConflict, UnknownPartner
from broker.domain.sandbox import Figures
from broker.usecases import data_source, sandbox
from broker.usecases.policy_preview import preview
from tests.broker.builders import PURPOSE, START, TENANT
from tests.broker.deciding import SUBJECT_REF, Desk, desk

NAME = "points-alliance"
FIGURES = Figures(97, 12, "QA-2026-031")
AT_ONCE = 8
DAY = 86_400


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def checklist(at: Desk, **changes: Any) -> Checklist:  # noqa: ANN401
    usual = Checklist(
        purposes=(PURPOSE,),
        attributes=("home_city",),
        retention_days=90,
        recipients=(at.partner_id,),
        territories=("CN",),
        basis="consent",
        reference="DS-2026-014",
    )
    return replace(usual, **changes)


def register(at: Desk, name: str = NAME, **changes: Any) -> DataSource:  # noqa: ANN401
    return data_source.register(
        at.broker.ctx, TENANT, name, checklist(at, **changes), title="Points alliance", by="o-1"
    )


def mark(at: Desk, *, on: bool = True) -> bool:
    return sandbox.mark(at.broker.ctx, TENANT, at.partner_id, SUBJECT_REF, on=on, by="o-1")


def test_from_the_checklist_by_the_sandbox_to_the_sign_off(on_each: Desk) -> None:
    at, ctx = on_each, on_each.broker.ctx
    at.consent()
    assert at.codes(source=NAME) == ["source_unregistered"]
    register(at)
    assert at.codes(source=NAME) == ["source_not_open"]
    trial = sandbox.start(ctx, TENANT, "source", NAME, by="o-1")
    assert at.codes(source=NAME) == ["source_in_sandbox"]
    with pytest.raises(StateConflict, match="nothing was permitted"):
        sandbox.sign_off(ctx, TENANT, trial.id, FIGURES)
    assert mark(at)
    assert not mark(at)
    assert at.codes(source=NAME) == []
    assert at.codes() == []  # no use of the source
    ended = sandbox.sign_off(ctx, TENANT, trial.id, FIGURES, by="o-2")
    assert (ended.uses, ended.outcome, ended.figures) == (1, "signed_off", FIGURES)
    assert mark(at, on=False)
    assert at.codes(source=NAME) == []
    assert data_source.close(ctx, TENANT, NAME, by="o-1")
    assert not data_source.close(ctx, TENANT, NAME)
    assert at.codes(source=NAME) == ["source_not_open"]
    with pytest.raises(StateConflict, match="over"):
        sandbox.end(ctx, TENANT, trial.id)
    acts = ["data_source.registered", "sandbox.started", "test_subject.marked"]
    acts += ["sandbox.signed_off", "test_subject.unmarked", "data_source.closed"]
    told = [entry.body for act in acts for entry in at.broker.logged(act)]
    assert [body["by"] for body in told] == ["o-1", "o-1", "o-1", "o-2", "o-1", "o-1"]
    assert told[0]["checklist"]["reference"] == "DS-2026-014"
    assert (told[3]["quality"], told[3]["value"], told[3]["uses"]) == (97, 12, 1)


def test_a_use_outside_of_the_checklist_names_each_condition(at: Desk) -> None:
    at.consent(attributes=("home_city", "purchase_count_12m"), territories=("CN", "SG"))
    opened(at)
    assert at.codes(source=NAME) == []
    assert at.codes(source=NAME, attribute="purchase_count_12m") == ["attribute_outside_source"]
    codes = at.codes(source=NAME, territory="SG")
    assert codes == ["cross_border_consent_missing", "territory_outside_source"]
    other = at.broker.partner("Tea")
    data_source.revise(
        at.broker.ctx,
        TENANT,
        NAME,
        checklist(at, recipients=(other,), purposes=("dpv:Marketing",)),
        title="Points alliance",
    )
    assert at.codes(source=NAME) == [
        "source_not_open",
        "purpose_outside_source",
        "recipient_outside_source",
    ]


def test_a_partner_abroad_looks_at_the_data_from_there(on_each: Desk) -> None:
    """Whatever territory it states: the checklist has to name its own country too."""
    made = on_each.broker
    partner_id = made.partner("Tea", country="SG")
    at = Desk(made, partner_id, made.token(partner_id))
    at.consent(territories=("CN", "SG"), separate=("cross_border", "third_party"))
    opened(at, territories=("CN", "SG"))
    assert at.codes(source=NAME, territory="CN") == []
    about = {"title": "Points alliance"}
    data_source.revise(made.ctx, TENANT, NAME, checklist(at), **about)
    codes = at.codes(source=NAME, territory="CN")
    assert codes == ["source_not_open", "territory_outside_source"]
    # Tried again, the past is judged as it was.
    made.keep_log()
    same = preview(made.ctx, TENANT, "", last=100)
    assert (same.tried, same.skipped, same.otherwise) == (same.tried, 0, 0)
    assert same.now_permitted == same.now_denied == same.other_reasons == 0


def opened(at: Desk, **changes: Any) -> None:  # noqa: ANN401
    """A source that was tried and signed off."""
    register(at, **changes)
    trial = sandbox.start(at.broker.ctx, TENANT, "source", NAME)
    mark(at)
    assert at.codes(source=NAME) == []
    sandbox.sign_off(at.broker.ctx, TENANT, trial.id, FIGURES)
    mark(at, on=False)


def test_data_of_a_source_are_kept_no_longer_than_it_allows(at: Desk) -> None:
    at.consent(retention_days=180)
    opened(at)
    (told,) = [one for one in at.decide(source=NAME).obligations if one.id == "retention"]
    assert told.properties == {"days": 90, "delete_by": START + 90 * DAY}
    (told,) = [one for one in at.decide().obligations if one.id == "retention"]
    assert told.properties["days"] == 180


def test_what_comes_from_one_source_alone_needs_it_unnamed_too(at: Desk) -> None:
    at.consent()
    register(at, sole=True)
    assert at.codes() == ["source_not_open"]
    assert at.codes(source=NAME) == ["source_not_open"]
    register(at, "another", attributes=("visit_log",))
    assert at.codes(source="another") == ["source_unregistered"]  # for this attribute
    assert at.codes(attribute="purchase_count_12m") == []
    with pytest.raises(StateConflict, match="sole"):
        register(at, "third", sole=True)
    data_source.revise(at.broker.ctx, TENANT, NAME, checklist(at), title="Points alliance")
    assert at.codes() == []


def test_a_partner_is_tried_in_the_same_way(on_each: Desk) -> None:
    at, ctx = on_each, on_each.broker.ctx
    at.consent()
    assert at.codes() == []
    trial = sandbox.start(ctx, TENANT, "partner", at.partner_id)
    assert at.codes() == ["partner_not_signed_off"]
    mark(at)
    assert at.codes() == []
    sandbox.end(ctx, TENANT, trial.id)
    assert at.codes() == ["partner_not_signed_off"]
    again = sandbox.start(ctx, TENANT, "partner", at.partner_id)
    assert at.codes() == []
    sandbox.sign_off(ctx, TENANT, again.id, FIGURES)
    mark(at, on=False)
    assert at.codes() == []
    assert [one.outcome for one in sandbox.listed(ctx, TENANT)].count("ended") == 1


def test_of_many_trials_at_once_exactly_one_begins(on_each: Desk) -> None:
    at, ctx = on_each, on_each.broker.ctx
    names = [f"source-{number}" for number in range(AT_ONCE)]
    for name in names:
        register(at, name)

    async def all_at_once() -> list[object]:
        tried = [asyncio.to_thread(sandbox.start, ctx, TENANT, "source", name) for name in names]
        partner = asyncio.to_thread(sandbox.start, ctx, TENANT, "partner", at.partner_id)
        return await asyncio.gather(*tried, partner, return_exceptions=True)

    done = asyncio.run(all_at_once())
    assert sum(isinstance(one, StateConflict) for one in done) == AT_ONCE
    (running,) = sandbox.listed(ctx, TENANT)
    (begun,) = [one for one in done if not isinstance(one, StateConflict)]
    assert running == begun
    states = [one.state for one in data_source.listed(ctx, TENANT)]
    assert states.count("sandbox") == (running.kind == "source")
    assert len(at.broker.logged("sandbox.started")) == 1


def test_decisions_and_a_sign_off_at_once_do_not_wait_for_each_other_for_ever(
    on_each: Desk,
) -> None:
    at, ctx = on_each, on_each.broker.ctx
    at.consent()
    register(at)
    trial = sandbox.start(ctx, TENANT, "source", NAME)
    mark(at)
    assert at.codes(source=NAME) == []

    async def all_at_once() -> list[Any]:
        asked = [at.ask(source=NAME) for _ in range(AT_ONCE)]
        ended = asyncio.to_thread(sandbox.sign_off, ctx, TENANT, trial.id, FIGURES)
        return await asyncio.gather(ended, *asked)

    ended, *decisions = asyncio.run(all_at_once())
    codes = {reason.code for one in decisions for reason in one.reasons}
    assert codes <= {"state_changed"}
    assert 1 <= ended.uses <= 1 + AT_ONCE
    assert at.codes(source=NAME) == []


def test_an_act_between_reading_and_writing_is_seen(at: Desk) -> None:
    """Each changes the tenant's version, which is read again as a permit is written."""
    at.consent()
    opened(at)
    ctx = at.broker.ctx
    was = ctx.db.read

    async def meddling(work: Any) -> Any:  # noqa: ANN401
        found = await was(work)
        data_source.close(ctx, TENANT, NAME)
        return found

    ctx.db.read = meddling  # type: ignore[method-assign]
    assert at.codes(source=NAME) == ["source_not_open"]


def test_past_decisions_are_judged_again_as_they_were(at: Desk) -> None:
    at.consent()
    at.codes(source="stranger")
    register(at, purposes=("dpv:Marketing",))
    at.codes(source=NAME)
    trial = sandbox.start(at.broker.ctx, TENANT, "partner", at.partner_id)
    at.codes()
    mark(at)
    assert at.codes() == []
    sandbox.end(at.broker.ctx, TENANT, trial.id)
    at.codes()
    at.broker.keep_log()
    found = preview(at.broker.ctx, TENANT, "", last=100)
    assert (found.tried, found.skipped, found.otherwise) == (5, 0, 0)
    kept = [entry.body["facts"].get("source") for entry in at.broker.logged("decision")]
    covers = ["attribute", "recipient", "territory"]
    assert kept[:2] == [{}, {"name": NAME, "state": "draft", "covers": covers}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"purposes": ("dpv:Unheard",)},
        {"purposes": ()},
        {"attributes": ("unheard",)},
        {"retention_days": 0},
        {"territories": ("China",)},
        {"recipients": ("p-unheard",)},
        {"reference": " "},
    ],
)
def test_a_checklist_is_complete_and_names_what_is_registered(
    at: Desk, wrong: dict[str, Any]
) -> None:
    with pytest.raises((InvalidRequest, UnknownPartner)):
        register(at, **wrong)
    assert data_source.listed(at.broker.ctx, TENANT) == []


def test_what_is_not_there_or_not_in_its_state_is_said(at: Desk) -> None:
    ctx = at.broker.ctx
    register(at)
    with pytest.raises(StateConflict, match="already"):
        register(at)
    with pytest.raises(InvalidRequest, match="name"):
        register(at, "Not A Name")
    with pytest.raises(NotFound):
        sandbox.start(ctx, TENANT, "source", "stranger")
    with pytest.raises(UnknownPartner):
        sandbox.start(ctx, TENANT, "partner", "p-unheard")
    with pytest.raises(NotFound, match="invite"):
        mark(at)
    trial = sandbox.start(ctx, TENANT, "source", NAME)
    for act in (data_source.close, sandbox_source):
        with pytest.raises(StateConflict):
            act(ctx, TENANT, NAME)
    with pytest.raises(StateConflict, match="end its trial"):
        data_source.revise(ctx, TENANT, NAME, checklist(at), title="Points alliance")
    for figures in (Figures(101, 0, "x"), Figures(1, -101, "x"), Figures(1, 1, " ")):
        with pytest.raises(InvalidRequest):
            sandbox.sign_off(ctx, TENANT, trial.id, figures)
    sandbox.end(ctx, TENANT, trial.id)
    assert [one.state for one in data_source.listed(ctx, TENANT)] == ["draft"]


def sandbox_source(ctx: Any, tenant_id: str, name: str) -> object:  # noqa: ANN401
    return sandbox.start(ctx, tenant_id, "source", name)
