"""Decisions against real rows, on SQLite and PostgreSQL: what is read, checked again, recorded."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from broker.domain.decision import RIGHTS
from broker.domain.errors import Forbidden, InvalidRequest, NotFound, StateConflict, Unauthorized
from broker.domain.policy import consent_policies
from broker.domain.terms import AlgorithmTerms, Label
from broker.store import audit, tables
from broker.store.consents import CONSENT
from broker.store.db import Database
from broker.usecases.automated_decision import set_refusal
from broker.usecases.decide import Asking, decide
from broker.usecases.keys import KeyRing
from broker.usecases.tenant import add_algorithm, add_template
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.builders import DAY, PURPOSE, START, TENANT, TEXT, Broker, hash_of, map_field
from tests.broker.deciding import QUESTION, SUBJECT_REF, Desk, desk
from tests.broker.demonstration import DEMONSTRATION

T = TypeVar("T")
TEMPLATE = DEMONSTRATION["templates"][0]


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def test_a_permit_is_recorded_with_what_it_rests_on(at: Desk) -> None:
    consent_id = at.consent()
    decision = at.decide()
    assert decision.permit
    assert decision.consent_id == consent_id
    [entry] = at.broker.logged("decision")
    assert entry.id == decision.entry_id
    assert entry.consent_id == consent_id
    assert entry.subject_id is not None
    assert entry.body == {
        "decision": True,
        "partner": at.partner_id,
        "action": "read",
        "attribute": "home_city",
        "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
        "territory": "CN",
        "conditions": [],
        "policies": consent_policies().version,
        "facts": {
            "at": START,
            "flags": ["automated_decision"],
            "country": "CN",
            "category": "pd:Location",
            "stored_in": "CN",
            "risk_tier": "limited",
            "algorithm_purpose": PURPOSE,
            "binding": "link",
            "consent": {
                "state": "granted",
                "from": START,
                "until": START + 180 * DAY,
                "separate": ["third_party"],
            },
        },
    }


def test_a_permit_says_what_it_obliges_to(at: Desk) -> None:
    consent_id = at.consent(retention_days=30)
    decision = at.decide()
    told = {one.id: one.properties for one in decision.obligations}
    assert told == {
        "retention": {"days": 30, "delete_by": START + 30 * DAY},
        "territory": {"use": ["CN"], "storage": ["CN"]},
        "watermark": {"consent": consent_id, "decision": decision.entry_id},
        "no_onward_sharing": {"recipient": at.partner_id},
        "explain": {
            "algorithm": "churn-v3@1",
            "explanation": TEXT.to_json(),
            "rights": RIGHTS,
            "law": ["PIPL-24", "GDPR-13", "GDPR-22"],
        },
    }


def test_what_does_not_decide_by_itself_has_nothing_to_explain(at: Desk) -> None:
    at.consent()
    at.broker.change(tables.Algorithm, [], automated_decision=False)
    assert "explain" not in {one.id for one in at.decide().obligations}


@pytest.mark.parametrize("lacking", [{"zh": " ", "en": "How."}, {"zh": "如何。", "en": ""}])
def test_an_algorithm_that_decides_by_itself_says_how(at: Desk, lacking: dict[str, str]) -> None:
    silent = AlgorithmTerms(
        "shop-nearby", "7", TEXT, Label(**lacking), automated_decision=True, risk_tier="limited"
    )
    with pytest.raises(InvalidRequest, match="explanation"):
        add_algorithm(at.broker.ctx, TENANT, PURPOSE, silent)
    add_algorithm(at.broker.ctx, TENANT, PURPOSE, replace(silent, automated_decision=False))


def test_a_denial_is_recorded_and_says_where_to_ask(at: Desk) -> None:
    decision = at.decide()
    assert [reason.code for reason in decision.reasons] == ["consent_not_found"]
    assert {one.id: one.properties for one in decision.obligations} == {
        "request_consent": {"endpoint": "http://127.0.0.1:8000/v1/consent-requests"}
    }
    [entry] = at.broker.logged("decision")
    assert entry.id == decision.entry_id
    assert entry.body["decision"] is False
    assert entry.body["conditions"] == ["consent.none"]
    assert entry.subject_id is None


def test_a_denial_for_want_of_consent_names_the_request_to_send(at: Desk) -> None:
    add_template(at.broker.ctx, TENANT, TEMPLATE | {"items": TEMPLATE["items"][:1]})

    def request(**question: Any) -> Any:  # noqa: ANN401
        owed = {one.id: one.properties for one in at.decide(**question).obligations}
        return owed["request_consent"].get("request")

    assert request() == {"template": TEMPLATE["id"], "subject_ref": SUBJECT_REF}
    assert request(subject_ref=None, consent_id="c-0") == {"template": TEMPLATE["id"]}
    assert request(action="share") is None
    assert request(territory="HK") is None
    assert request(algorithm_version="2") is None


def test_the_first_decision_after_a_withdrawal_denies(at: Desk) -> None:
    consent_id = at.consent()
    assert at.codes() == []
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent_id)
    decision = at.decide()
    assert [reason.code for reason in decision.reasons] == ["consent_withdrawn"]
    assert [one.id for one in decision.obligations] == ["stop_and_delete"]
    assert [entry.body["decision"] for entry in at.broker.logged("decision")] == [True, False]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("requested", "consent_requested"),
        ("refused", "consent_refused"),
        ("expired", "consent_expired"),
        ("superseded", "consent_superseded"),
    ],
)
def test_every_other_state_denies(at: Desk, state: str, code: str) -> None:
    at.consent(state=state)
    assert at.codes() == [code]


def test_time_ends_a_consent_before_any_sweep(at: Desk) -> None:
    at.consent(valid_days=1)
    assert at.codes() == []
    at.broker.time[0] += DAY - 1
    at.broker.keep_log()
    at.token = at.broker.token(at.partner_id)
    assert at.codes() == []
    at.broker.time[0] += 1
    assert at.codes() == ["consent_expired"]


@pytest.mark.parametrize(
    ("question", "codes"),
    [
        ({"purpose_id": "dpv:Marketing"}, ["purpose_not_granted", "algorithm_unregistered"]),
        ({"algorithm_version": "2"}, ["algorithm_not_granted"]),
        ({"algorithm_version": "9"}, ["algorithm_not_granted", "algorithm_unregistered"]),
        ({"attribute": "visit_log"}, ["attribute_outside_terms", "sensitive_consent_missing"]),
        ({"action": "train"}, ["action_not_granted"]),
        ({"territory": "SG"}, ["territory_outside_terms", "cross_border_consent_missing"]),
        (
            {"purpose_id": "dpv:Nothing"},
            ["purpose_not_granted", "purpose_unregistered", "algorithm_unregistered"],
        ),
        (
            {"attribute": "shoe_size"},
            [
                "attribute_outside_terms",
                "sensitive_consent_missing",
                "cross_border_consent_missing",
                "attribute_unregistered",
            ],
        ),
    ],
)
def test_what_was_not_granted_is_denied_by_name(
    at: Desk, question: dict[str, Any], codes: list[str]
) -> None:
    at.consent()
    assert at.codes(**question) == codes


def test_a_partners_own_field_name_stands_for_the_attribute(at: Desk) -> None:
    at.consent()
    map_field(at.broker, at.partner_id, "addr_city", "home_city")
    assert at.codes(attribute="addr_city") == []
    assert at.broker.logged("decision")[0].body["attribute"] == "home_city"


def test_one_consent_can_be_named_by_its_id(at: Desk) -> None:
    granted, other = at.consent(), at.consent(state="withdrawn")
    assert at.codes(subject_ref=None, consent_id=granted) == []
    assert at.codes(subject_ref=None, consent_id=other) == ["consent_withdrawn"]
    assert at.codes(consent_id=granted) == []
    assert at.codes(subject_ref="somebody-else", consent_id=granted) == ["consent_not_found"]
    assert at.codes(subject_ref=None) == ["consent_not_found"]


def test_another_partners_consent_is_not_told_from_none(at: Desk) -> None:
    stranger = at.broker.partner("Tea")
    theirs = at.broker.consent(stranger, SUBJECT_REF)
    assert at.codes(subject_ref=None, consent_id=theirs) == ["consent_not_found"]
    assert at.codes(subject_ref=None, consent_id="c-nothing") == ["consent_not_found"]
    assert at.codes() == ["consent_not_found"]


def test_nobody_asks_for_another_partner(at: Desk) -> None:
    stranger = at.broker.partner("Tea")
    at.broker.consent(stranger, SUBJECT_REF)
    asking = replace(at.asking(), partner_id=stranger)
    decision = asyncio.run(decide(at.broker.ctx, asking))
    assert [reason.code for reason in decision.reasons] == ["subject_not_caller"]
    [entry] = at.broker.logged("decision")
    assert entry.consent_id is None
    assert entry.body["partner"] == at.partner_id


def test_an_agent_asks_for_its_partner_and_is_recorded_unnamed(at: Desk) -> None:
    at.consent()
    assert at.codes(agent="zhang.wei@brand.example") == []
    [entry] = at.broker.logged("decision")
    assert "zhang" not in str(entry.body)
    assert entry.body["agent"]


def test_only_a_partners_valid_token_asks(at: Desk) -> None:
    at.consent()
    asking = at.asking()
    officer = at.broker.token(at.broker.officer(), "officer")
    expired = at.broker.token(at.partner_id, seconds=0)
    for token_hash in (hash_of("nothing"), hash_of(expired)):
        with pytest.raises(Unauthorized):
            asyncio.run(decide(at.broker.ctx, replace(asking, token_hash=token_hash)))
    with pytest.raises(Forbidden):
        asyncio.run(decide(at.broker.ctx, replace(asking, token_hash=hash_of(officer))))
    with pytest.raises(Unauthorized):
        asyncio.run(decide(at.broker.ctx, replace(asking, tenant_id="acme")))
    assert at.broker.logged("decision") == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda at: (tables.Tenant, {"kill_switch": True}), "kill_switch"),
        (lambda at: (tables.Partner, {"kill_switch": True}), "kill_switch"),
        (lambda at: (tables.Purpose, {"kill_switch": True}), "kill_switch"),
        (lambda at: (tables.Algorithm, {"kill_switch": True}), "kill_switch"),
        (lambda at: (tables.Partner, {"state": "suspended"}), "partner_suspended"),
        (lambda at: (tables.Algorithm, {"state": "retired"}), "algorithm_unregistered"),
    ],
    ids=["tenant", "partner", "purpose", "algorithm", "suspended", "retired"],
)
def test_the_company_can_stop_what_was_granted(
    at: Desk, change: Callable[[Desk], tuple[Any, dict[str, Any]]], code: str
) -> None:
    at.consent()
    assert at.codes() == []
    table, values = change(at)
    at.broker.change(table, [], **values)
    assert set(at.codes()) == {code}


def test_a_customer_who_refuses_automated_decisions_is_left_alone(at: Desk) -> None:
    consent_id, ctx = at.consent(), at.broker.ctx
    assert at.codes() == []
    assert set_refusal(ctx, TENANT, consent_id, refused=True, by="o-1")
    assert not set_refusal(ctx, TENANT, consent_id, refused=True)
    assert at.codes() == ["automated_decision_refused"]
    assert set_refusal(ctx, TENANT, consent_id, refused=False)
    assert at.codes() == []
    (told,) = at.broker.logged("automated_decisions.refused")
    assert (told.consent_id, told.body) == (consent_id, {"by": "o-1"})
    assert [one.body for one in at.broker.logged("automated_decisions.allowed")] == [
        {"by": "operator"}
    ]
    withdraw_by_officer(ctx, TENANT, "o-1", consent_id)
    with pytest.raises(StateConflict):
        set_refusal(ctx, TENANT, consent_id, refused=True)
    with pytest.raises(NotFound):
        set_refusal(ctx, TENANT, "c-nothing", refused=True)


def test_a_refusal_between_reading_and_writing_is_seen(at: Desk) -> None:
    consent_id = at.consent()

    def refuse() -> None:
        set_refusal(at.broker.ctx, TENANT, consent_id, refused=True)

    between = _meddling(at, refuse)
    assert between.codes() == ["automated_decision_refused"]
    between.broker.ctx.db.close()


def test_a_long_history_does_not_hide_the_live_consent(at: Desk) -> None:
    at.consent()
    at.broker.time[0] += 1
    contact_id = at.broker.contact(at.partner_id, SUBJECT_REF)
    with at.broker.ctx.db.transaction() as tx:
        found = tx.execute(select(CONSENT).where(CONSENT.c.contact_id == contact_id))
        row = dict(found.mappings().one())
        later = [
            {**row, "id": f"c-{number}", "state": "withdrawn", "created_at": START + 1}
            for number in range(200)
        ]
        tx.execute(CONSENT.insert(), later)
    assert at.codes() == []


def test_nothing_is_permitted_while_the_log_is_behind(at: Desk) -> None:
    at.consent()
    at.broker.time[0] += 61
    assert at.codes() == ["log_unavailable"]
    assert at.codes(action="train") == ["action_not_granted", "log_unavailable"]
    at.broker.keep_log()
    assert at.codes() == []


def test_a_decision_about_an_erased_customer_is_recorded_under_the_tenant(at: Desk) -> None:
    at.consent()
    with at.broker.ctx.db.transaction() as tx:
        tx.execute(update(tables.Subject).values(sealed_log_key=None))
    ctx = at.broker.ctx
    keys = KeyRing(ctx.db, ctx.master, ctx.now, ctx.settings.public_url)  # without cached keys
    at.broker.ctx = replace(ctx, keys=keys)
    assert at.codes() == []
    [entry] = at.broker.logged("decision")
    assert entry.subject_id is None


def test_no_entry_no_answer(at: Desk) -> None:
    at.consent()
    with at.broker.ctx.db.transaction() as tx:
        tx.exec_driver_sql("ALTER TABLE audit_pending RENAME TO lost")
    with pytest.raises(SQLAlchemyError):
        at.decide()
    with pytest.raises(SQLAlchemyError):
        at.decide(action="train")
    with at.broker.ctx.db.transaction() as tx:
        tx.exec_driver_sql("ALTER TABLE lost RENAME TO audit_pending")
    assert at.broker.logged("decision") == []
    assert at.codes() == []


# Between the reading and the writing of one decision.


class Meddling(Database):
    """A database in which something else happens just before each write from the event loop."""

    def __init__(self, url: str, meddle: Callable[[], None]) -> None:
        super().__init__(url)
        self.meddle = meddle

    async def write(self, work: Callable[[Connection], T], *, size: int = 1) -> T:
        await asyncio.to_thread(self.meddle)
        return await super().write(work, size=size)


def _meddling(at: Desk, meddle: Callable[[], None]) -> Desk:
    db = Meddling(at.broker.ctx.db.url, meddle)
    ctx = replace(at.broker.ctx, db=db)
    return Desk(Broker(ctx, at.broker.time), at.partner_id, at.token)


def test_a_withdrawal_between_reading_and_writing_is_seen(at: Desk) -> None:
    consent_id = at.consent()

    def withdraw() -> None:
        with at.broker.ctx.db.reading() as tx:
            state = tx.execute(select(CONSENT.c.state).where(CONSENT.c.id == consent_id)).scalar()
        if state == "granted":
            withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent_id)

    between = _meddling(at, withdraw)
    assert between.codes() == ["consent_withdrawn"]
    between.broker.ctx.db.close()
    [entry] = at.broker.logged("decision")
    assert entry.body["decision"] is False


def test_the_last_use_of_another_consent_that_a_permit_rests_on_is_seen(at: Desk) -> None:
    """The ordinary consent permits to read; that the data are sensitive was signed in another."""
    at.consent()
    beside = at.consent(uses_left=1, separate=["third_party", "sensitive"])
    at.broker.change(tables.Attribute, [], sensitive=True)
    assert at.codes() == []

    def use() -> None:  # as a use is counted: the version stays
        with at.broker.ctx.db.transaction() as tx:
            tx.execute(CONSENT.update().where(CONSENT.c.id == beside).values(uses_left=0))

    between = _meddling(at, use)
    assert between.codes() == ["sensitive_consent_missing"]
    between.broker.ctx.db.close()


def test_a_second_that_passes_before_the_write_counts(at: Desk) -> None:
    at.consent()
    beside = at.consent(uses_left=9, separate=["third_party", "sensitive"])
    at.broker.change(tables.Attribute, [], sensitive=True)
    soon = at.broker.time[0] + 5
    at.broker.change(tables.Consent, [tables.Consent.id == beside], valid_until=soon)
    assert at.codes() == []

    def wait() -> None:
        at.broker.time[0] = soon

    between = _meddling(at, wait)
    assert between.codes() == ["sensitive_consent_missing"]
    between.broker.ctx.db.close()


@pytest.mark.parametrize(
    "table",
    [tables.Tenant, tables.Partner, tables.Purpose, tables.Algorithm, tables.Attribute],
    ids=lambda table: str(table.__tablename__),
)
def test_a_change_of_what_a_permit_rests_on_is_seen(at: Desk, table: Any) -> None:  # noqa: ANN401
    at.consent()
    changes = [1]

    def change() -> None:
        if changes:
            changes.pop()
            at.broker.change(table, [])

    between = _meddling(at, change)
    assert between.codes() == []  # judged again, over the new version
    assert changes == []
    changes.append(1)
    assert between.codes(action="train") == ["action_not_granted"]
    between.broker.ctx.db.close()


def test_what_changes_all_the_time_is_denied(at: Desk) -> None:
    at.consent()
    between = _meddling(at, lambda: at.broker.change(tables.Partner, []))
    assert between.codes() == ["state_changed"]
    between.broker.ctx.db.close()
    [entry] = at.broker.logged("decision")
    assert entry.body["conditions"] == ["state.changed"]


def test_two_customers_answers_do_not_mix(at: Desk) -> None:
    at.consent()

    async def both() -> list[bool]:
        asked = [at.ask(subject_ref=SUBJECT_REF if n % 2 == 0 else "nobody") for n in range(40)]
        return [decision.permit for decision in await asyncio.gather(*asked)]

    assert asyncio.run(both()) == [True, False] * 20
    assert len(at.broker.logged("decision")) == 40


def test_a_question_as_it_stands_is_never_written_down(at: Desk) -> None:
    at.consent()
    secret = "Zhang Wei, 13900000000"
    for field in ("attribute", "action", "purpose_id", "algorithm_id", "territory", "agent"):
        at.decide(**{field: secret})
    at.decide(subject_ref=secret)
    for entry in at.broker.logged("decision"):
        assert "13900000000" not in str(entry)


def test_one_entry_for_each_decision_reaches_the_log(at: Desk) -> None:
    at.consent()
    ids = {at.decide().entry_id, at.decide(action="train").entry_id}
    at.broker.keep_log()
    with at.broker.ctx.db.reading() as tx:
        assert all(audit.entry(tx, entry_id) is not None for entry_id in ids)


def test_asking_names_what_it_needs() -> None:
    assert QUESTION.purpose_wire == f"{PURPOSE}#algo:churn-v3@1"
    assert Asking(TENANT, "hash", "p-1", QUESTION).key is None
