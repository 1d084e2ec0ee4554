"""`consent-broker fee`, on a real home."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.domain.fee import DeclaredValue, Tariff, month_of
from broker.settings import read_settings
from broker.store.acting import acting_for_all
from broker.usecases import audit, fee
from broker.usecases.bootstrap import ensure_demo_tenant
from broker.usecases.context import Context
from broker.usecases.partner import add_partner

REFUSED, USAGE = 1, 2
WIRE = "dpv:ServicePersonalisation#algo:churn-v3@1"


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    made = build_context(read_settings())
    ensure_demo_tenant(made)
    return made


def charge(ctx: Context, partner_id: str) -> None:
    value = DeclaredValue(9_990_000, "CNY")
    with acting_for_all(), ctx.db.transaction() as tx:
        decision = audit.record(ctx, tx, tenant_id="demo", type="decision", body={})
        fee.charge(
            ctx,
            tx,
            tenant_id="demo",
            decision_id=decision,
            partner_id=partner_id,
            purpose=WIRE,
            value=value,
            tariff=Tariff(3000, "CNY"),
        )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["fee", *arguments], catch_exceptions=False)


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_statement_in_every_form(ctx: Context, tmp_path: Path) -> None:
    with acting_for_all():
        partner = add_partner(
            ctx, "demo", name="=<b>Coffee</b>", name_zh="咖啡", contact="a@b.example", country="CN"
        ).client_id
    charge(ctx, partner)
    month = month_of(ctx.now()).name
    found = told("statement", "--month", month)
    assert [(one["partner"], one["fee"], one["due"]) for one in found["dues"]] == [
        (partner, "0.02997", "0.03")
    ]
    assert found["final"] is False
    assert "0.03 CNY" in run("statement").stdout
    for form in ("csv", "html", "json"):
        assert run("statement", "--out", str(tmp_path / f"statement.{form}")).exit_code == 0
    page = (tmp_path / "statement.html").read_text("utf-8")
    assert "0.03" in page
    assert "<b>Coffee" not in page
    assert "://" not in page
    assert json.loads((tmp_path / "statement.json").read_text("utf-8")) == found
    with (tmp_path / "statement.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["purpose"], row["fee"]) for row in rows] == [(WIRE, "0.02997"), ("due", "0.03")]
    assert rows[0]["name"] == "'=<b>Coffee</b>"
    assert told("statement", "--month", "2020-01")["dues"] == []


def test_a_tariff_is_shown_and_set(ctx: Context) -> None:
    assert told("tariff") == {"rate_percent": "0.3", "currency": "CNY"}
    assert told("tariff", "--rate", "0.25") == {"rate_percent": "0.25", "currency": "CNY"}
    assert told("tariff", "--currency", "EUR") == {"rate_percent": "0.25", "currency": "EUR"}
    assert "0.25 %" in run("tariff").stdout
    for bad in (("--rate", "50"), ("--currency", "RMB")):
        refused = run("tariff", *bad)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (REFUSED, 1)


def test_what_cannot_be_had_is_said(ctx: Context, tmp_path: Path) -> None:
    assert run("statement", "--out", "a.pdf").exit_code == USAGE
    assert run("statement", "--out", str(tmp_path / "none" / "a.csv")).exit_code == USAGE
    for bad in (("--month", "November"), ("--partner", "p-none"), ("--tenant", "nobody")):
        refused = run("statement", *bad)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (REFUSED, 1)


def test_a_reconciliation_exits_with_one_for_differences(ctx: Context) -> None:
    with acting_for_all():
        partner = add_partner(
            ctx, "demo", name="Tea", name_zh="茶", contact="a@b.example", country="CN"
        ).client_id
    charge(ctx, partner)
    clean = told("reconcile")
    assert (clean["entries"], clean["differences"]) == (1, [])
    with acting_for_all(), ctx.db.transaction() as tx:
        for statement in ("DROP TRIGGER fee_charge_no_update", "UPDATE fee_charge SET amount = 1"):
            tx.execute(text(statement))
    found = run("reconcile")
    assert found.exit_code == REFUSED
    assert "ledger_differs amount" in found.stdout
