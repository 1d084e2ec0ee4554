"""The channel fee: charged with its decision, once for each key, and checked by the log."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from broker.domain.decision import Decision
from broker.domain.errors import IdempotencyConflict, IdempotencyKeyRequired, InvalidRequest
from broker.domain.fee import DeclaredValue, Month, Tariff, month_of, read_month
from broker.store import fees
from broker.store.db import Database
from broker.usecases import fee
from broker.usecases.decide import decide
from broker.usecases.erasure import erase, release_due
from broker.usecases.person import Named
from broker.usecases.subject_export import export_subject
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.builders import START, TENANT, WIRE
from tests.broker.deciding import SUBJECT_REF, Desk, desk
from tests.broker.flow_world import world

CNY = DeclaredValue(12_500_000, "CNY")
MONTH = month_of(START)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


async def asked(at: Desk, key: str | None, value: DeclaredValue | None, **more: Any) -> Decision:  # noqa: ANN401
    return await decide(at.broker.ctx, replace(at.asking(key=key, **more), value=value))


def ask(
    at: Desk,
    key: str | None = "k",
    value: DeclaredValue | None = CNY,
    **more: Any,  # noqa: ANN401
) -> Decision:
    return asyncio.run(asked(at, key, value, **more))


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def statement(at: Desk, month: Month = MONTH, partner: str | None = None) -> fee.Statement:
    return fee.statement(at.broker.ctx, TENANT, month, partner)


def charged(at: Desk) -> list[Any]:
    with at.broker.ctx.db.reading() as tx:
        return list(tx.execute(select(fees.FEE).order_by(fees.FEE.c.created_at)))


def test_a_permit_is_charged_for_in_its_own_transaction(on_each: Desk) -> None:
    at = on_each
    at.consent()
    decision = ask(at)
    (row,) = charged(at)
    (entry,) = at.broker.logged("fee.charged")
    assert decision.permit
    assert decision.fee == {
        "id": entry.id,
        "value": {"amount": "12.5", "currency": "CNY"},
        "rate_percent": "0.3",
        "amount": "0.0375",
    }
    assert (row.id, row.decision_id, row.amount) == (entry.id, decision.entry_id, 37_500)
    assert (row.debit, row.credit) == (f"receivable:{at.partner_id}", "income:channel-fees")
    assert (entry.subject_id, entry.consent_id) == (None, None)
    assert entry.body["purpose"] == WIRE
    balances = statement(at).balances
    assert sum(balances.values()) == 0
    assert balances[f"receivable:{at.partner_id}", "CNY"] == 37_500


def test_a_value_needs_a_key_and_without_one_nothing_is_charged(at: Desk) -> None:
    at.consent()
    with pytest.raises(IdempotencyKeyRequired, match="charged"):
        ask(at, None)
    assert charged(at) == []
    assert at.broker.logged("decision") == []


def test_the_same_key_is_charged_once_however_often_and_at_once(on_each: Desk) -> None:
    at = on_each
    at.consent()
    first = ask(at)
    at.broker.time[0] += 5
    assert ask(at) == first

    async def everybody() -> list[Decision]:
        return await asyncio.gather(*[asked(at, f"k{n % 4}", CNY) for n in range(32)])

    decisions = asyncio.run(everybody())
    assert all(decision.permit for decision in decisions)
    assert len({decision.entry_id for decision in decisions}) == 4
    assert len(charged(at)) == 5
    (due,) = statement(at).dues
    assert (due.uses, due.amount, due.due) == (5, 5 * 37_500, "0.19")
    assert fee.reconcile(at.broker.ctx, TENANT, MONTH).differences == ()


def test_a_key_stands_for_one_value(at: Desk) -> None:
    at.consent()
    assert ask(at).permit
    for other in (DeclaredValue(12_500_001, "CNY"), DeclaredValue(12_500_000, "USD")):
        with pytest.raises(IdempotencyConflict):
            ask(at, value=other)
    assert len(charged(at)) == 1


def test_another_currency_is_denied_and_recorded(at: Desk) -> None:
    at.consent()
    decision = ask(at, value=DeclaredValue(1_000_000, "USD"))
    assert codes(decision) == ["currency_mismatch"]
    (obligation,) = decision.obligations
    assert (obligation.id, obligation.properties) == ("declare_value", {"currency": "CNY"})
    assert at.broker.logged("decision")[-1].body["conditions"] == ["fee.currency"]
    assert charged(at) == []


def test_a_denial_costs_nothing_and_counted_uses_are_charged_too(at: Desk) -> None:
    consent_id = at.consent(uses_left=1)
    assert codes(ask(at, action="train")) == ["action_not_granted"]
    assert ask(at).fee is not None
    assert codes(ask(at, "other")) == ["uses_exhausted"]
    assert len(charged(at)) == 1
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent_id)
    assert "consent_withdrawn" in codes(ask(at))
    assert len(charged(at)) == 1


def test_no_value_no_fee(at: Desk) -> None:
    at.consent()
    assert ask(at, value=None).fee is None
    assert "fee" not in ask(at, value=None).to_json()["context"]
    assert charged(at) == []


def test_a_tariff_counts_from_the_next_decision_and_what_was_charged_stays(at: Desk) -> None:
    at.consent()
    ctx = at.broker.ctx
    assert ask(at, "a").permit
    fee.set_tariff(ctx, TENANT, percent="1", currency="EUR")
    first = ask(at, "a")  # asked again: the first answer, in the currency of then
    assert first.fee is not None
    assert first.fee["rate_percent"] == "0.3"
    euro = ask(at, "b", DeclaredValue(1_000_000, "EUR"))
    assert euro.fee is not None
    assert euro.fee["amount"] == "0.01"
    assert codes(ask(at, "c")) == ["currency_mismatch"]
    assert {(one.currency, one.due) for one in statement(at).dues} == {
        ("CNY", "0.04"),
        ("EUR", "0.01"),
    }
    assert at.broker.logged("fee.tariff")[-1].body == {"rate": 10_000, "currency": "EUR"}
    with pytest.raises(InvalidRequest):
        fee.set_tariff(ctx, TENANT, percent="11", currency="EUR")


def test_a_tariff_that_changes_during_a_decision_is_the_one_that_counts(
    on_each: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = on_each
    at.consent()
    write, changes = Database.write, ["2"]

    async def meddling(self: Database, work: Callable[..., Any]) -> Any:  # noqa: ANN401
        if changes:
            fee.set_tariff(at.broker.ctx, TENANT, percent=changes.pop(), currency="CNY")
        return await write(self, work)

    monkeypatch.setattr(Database, "write", meddling)
    decision = ask(at)
    assert decision.fee is not None
    assert decision.fee["rate_percent"] == "2"
    assert [row.rate for row in charged(at)] == [20_000]


def test_statements_are_of_a_month_and_a_partner(on_each: Desk) -> None:
    at = on_each
    at.consent()
    other = at.broker.partner("Tea")
    theirs = Desk(at.broker, other, at.broker.token(other))
    theirs.consent()
    assert ask(at, "1").permit
    assert ask(theirs, "1", DeclaredValue(1_000_000_000, "CNY")).permit
    assert {one.partner: one.due for one in statement(at).dues} == {
        at.partner_id: "0.04",
        other: "3.00",
    }
    assert [one.partner for one in statement(at, partner=other).dues] == [other]
    assert not statement(at).final
    at.broker.time[0] = MONTH.until
    assert statement(at).final
    assert statement(at, month_of(MONTH.until)).dues == ()


def test_nothing_of_a_fee_is_told_to_customers_and_it_outlives_them(at: Desk) -> None:
    at.consent()
    decision = ask(at)
    told = export_subject(at.broker.ctx, TENANT, Named(at.partner_id, SUBJECT_REF), by="o-1")
    assert decision.entry_id in str(told)
    assert "37500" not in str(told)
    assert "fee.charged" not in str(told)
    erase(at.broker.ctx, TENANT, Named(at.partner_id, SUBJECT_REF), by="o-1")
    at.broker.time[0] += 120
    release_due(at.broker.ctx)
    with at.broker.ctx.db.reading() as tx:
        keys = tx.execute(text("SELECT sealed_log_key FROM subject")).scalars().all()
    assert keys == [None]
    found = fee.reconcile(at.broker.ctx, TENANT, MONTH)
    assert (found.entries, found.differences) == (1, ())


UNGUARD = [f"DROP TRIGGER fee_charge_no_{change}" for change in ("update", "delete")]


def test_the_database_keeps_the_ledger_from_change(on_each: Desk) -> None:
    at = on_each
    at.consent()
    assert ask(at).permit
    replacing = "INSERT INTO fee_charge SELECT * FROM fee_charge"
    changes = ["UPDATE fee_charge SET amount = 0", "DELETE FROM fee_charge", replacing]
    if at.broker.ctx.db.is_sqlite:
        changes.append(replacing.replace("INSERT", "INSERT OR REPLACE"))
    else:
        changes.append("TRUNCATE fee_charge")
    before = charged(at)
    for change in changes:
        with pytest.raises(SQLAlchemyError), at.broker.ctx.db.transaction() as tx:
            tx.execute(text(change))
    assert charged(at) == before


TAMPERED = [
    ("UPDATE fee_charge SET amount = amount - 1", {("ledger_differs", "amount")}),
    ("UPDATE fee_charge SET currency = 'JPY'", {("ledger_differs", "currency")}),
    ("UPDATE fee_charge SET created_at = created_at + 86400 * 40", {("ledger_differs", "time")}),
    ("DELETE FROM fee_charge", {("not_in_the_ledger", None)}),
    (
        "UPDATE fee_charge SET id = 'e-of-nobody'",
        {("not_in_the_ledger", None), ("not_in_the_log", None)},
    ),
]


@pytest.mark.parametrize("sequenced", [True, False])
@pytest.mark.parametrize(("change", "expected"), TAMPERED)
def test_a_ledger_that_was_changed_is_found_by_the_log(
    tmp_path: Path, change: str, expected: set[tuple[str, str | None]], *, sequenced: bool
) -> None:
    with desk(tmp_path) as at:
        at.consent()
        assert ask(at).permit
        if sequenced:
            at.broker.keep_log()
        clean = fee.reconcile(at.broker.ctx, TENANT, MONTH)
        assert (clean.entries, clean.differences) == (1, ())
        assert clean.amounts == {(at.partner_id, "CNY"): 37_500}
        with at.broker.ctx.db.transaction() as tx:
            for statement_ in (*UNGUARD, change):
                tx.execute(text(statement_))
        found = fee.reconcile(at.broker.ctx, TENANT, MONTH)
        assert {(one.what, one.field) for one in found.differences} == expected
        assert found.amounts == clean.amounts


def test_a_charge_without_a_decision_or_of_another_amount_is_found(at: Desk) -> None:
    at.consent()
    ctx = at.broker.ctx
    assert ask(at).permit

    class Generous(Tariff):
        def fee(self, value: DeclaredValue) -> int:
            return super().fee(value) - 1

    with ctx.db.transaction() as tx:
        fee.charge(
            ctx,
            tx,
            tenant_id=TENANT,
            decision_id="e-none",
            partner_id=at.partner_id,
            purpose=WIRE,
            value=CNY,
            tariff=Generous(3000, "CNY"),
        )
    found = fee.reconcile(ctx, TENANT, MONTH)
    assert {one.what for one in found.differences} == {"amount_wrong", "no_such_decision"}
    assert found.entries == 2


def test_over_http(tmp_path: Path) -> None:
    with world(tmp_path / "home") as made:
        made.customer("crm-1", copies=1).grant("base")
        body: dict[str, Any] = {
            "subject": {"type": "partner", "id": made.partner},
            "action": {"name": "read"},
            "resource": {
                "type": "attribute",
                "id": "purchase_count_12m",
                "properties": {"subject_ref": "crm-1"},
            },
            "context": {
                "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
                "value": {"amount": "12.50", "currency": "CNY"},
            },
        }
        refused = made.api("POST", "/access/v1/evaluation", json=body)
        assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_required")
        headers = {"Idempotency-Key": "once"}
        decided = made.api("POST", "/access/v1/evaluation", json=body, headers=headers).json()
        assert decided["context"]["fee"]["amount"] == "0.0375"
        batch = {**body, "evaluations": [{}, {}]}
        batched = made.api("POST", "/access/v1/evaluations", json=batch, headers=headers).json()
        assert [one["context"]["fee"]["amount"] for one in batched["evaluations"]] == ["0.0375"] * 2
        made.advance(2)
        body["context"]["value"] = {"amount": 12.5, "currency": "CNY"}
        bad = made.api("POST", "/access/v1/evaluation", json=body, headers=headers)
        assert (bad.status_code, "context.value.amount" in bad.json()["detail"]) == (400, True)

        other = made.second_partner()
        path = f"/v1/fees/statement?month={MONTH.name}"
        mine = made.api("GET", path).json()
        assert [(one["uses"], one["due"]) for one in mine["dues"]] == [(3, "0.11")]
        assert made.api("GET", path, made.officer).json() == mine
        assert made.api("GET", path, other).json()["dues"] == []
        assert made.api("GET", f"{path}&partner={made.partner}", other).status_code == 403
        table = made.api("GET", f"{path}&format=csv", made.officer)
        assert table.headers["content-type"].startswith("text/csv")
        assert table.text.splitlines()[-1].endswith(",due,,3,37.5,0.11")
        assert made.api("GET", "/v1/fees/tariff").json() == {
            "rate_percent": "0.3",
            "currency": "CNY",
        }
        checking = f"/v1/fees/reconciliation?month={MONTH.name}"
        assert made.api("GET", checking).status_code == 403
        checked = made.api("GET", checking, made.officer).json()
        assert (checked["entries"], checked["differences"]) == (3, [])
        assert made.api("GET", "/v1/fees/statement?month=2026-13").status_code == 400


def test_another_months_entries_are_left_alone(at: Desk) -> None:
    at.consent()
    assert ask(at).permit
    assert fee.reconcile(at.broker.ctx, TENANT, read_month("2026-10")).entries == 0
