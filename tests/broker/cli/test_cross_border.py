"""`consent-broker transfer`, on a real home: register, count, export, and verify without it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.settings import read_settings
from broker.store.acting import acting_for_all
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from broker.usecases.context import Context

REFUSED, USAGE = 1, 2


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    made = build_context(read_settings())
    ensure_demo_tenant(made)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["transfer", *arguments], catch_exceptions=False)


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_registering_to_the_regulator(ctx: Context, tmp_path: Path) -> None:
    with acting_for_all():
        partner = demo_clients(ctx)[0]["client_id"]
    named = ("register", "--partner", partner, "--to", "SG", "--kind")
    refused = run(*named, "standard_contract")
    assert (refused.exit_code, "has the number" in refused.output) == (REFUSED, True)
    made = told(*named, "standard_contract", "--number", "京标备1", "--until", "2099-01-01")
    exempt = ("exemption", "--ground", "contract", "--purpose", "dpv:ServicePersonalisation")
    second = told(*named, *exempt)
    assert [one["id"] for one in told("list")] == [made["id"], second["id"]]
    assert told("end", second["id"])["ended"] is True
    assert "in force" in run("list").output
    [count] = told("count")
    assert (count["subjects"], count["required"]) == (0, "nothing")
    assert "0 of 100,000 / 1,000,000" in run("count").output

    trust = tmp_path / "trust.json"
    written = CliRunner().invoke(app, ["trust", "export", "--out", str(trust)])
    assert written.exit_code == 0, written.output
    with acting_for_all():
        ctx.log.run_once(ctx.now())
    for form in ("json", "csv", "html", "svg"):
        file = tmp_path / f"register.{form}"
        assert told("export", "--out", str(file))["form"] == form
        checked = told("verify", str(file), "--trust", str(trust))
        assert (checked["form"], checked["log_size"] > 0) == (form, True)
        file.write_bytes(file.read_bytes() + b" ")
        changed = run("verify", str(file), "--trust", str(trust))
        assert (changed.exit_code, "not the one" in changed.output) == (REFUSED, True)
    assert run("export", "--out", str(tmp_path / "register.pdf")).exit_code == USAGE
    nowhere = run("verify", str(tmp_path / "none.json"), "--trust", str(trust))
    assert nowhere.exit_code == USAGE
