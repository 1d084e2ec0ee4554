"""`consent-broker purpose demand` and `issuer`, on a real home."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.settings import read_settings
from broker.usecases.bootstrap import ensure_demo_tenant
from tests.broker.proving import registry

PURPOSE = "dpv:ServicePersonalisation"
REFUSED, USAGE = 1, 2
DEMAND: dict[str, Any] = {
    "schema": "person/1",
    "statements": [{"type": "older_than", "attribute": "birth_date", "years": 18}],
    "max_age_seconds": 600,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    ctx.db.close()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_demand_is_set_and_ended(home: Path) -> None:
    file = home / "demand.json"
    file.write_text(json.dumps(DEMAND))
    assert told("purpose", "demand", PURPOSE, str(file)) == {"id": PURPOSE, "demand": DEMAND}
    assert told("purpose", "demand", PURPOSE, "--none") == {"id": PURPOSE, "demand": None}
    assert run("purpose", "demand", PURPOSE).exit_code == USAGE
    assert run("purpose", "demand", PURPOSE, str(file), "--none").exit_code == USAGE
    unknown = run("purpose", "demand", "dpv:Nothing", str(file))
    assert (unknown.exit_code, len(unknown.stderr.splitlines())) == (REFUSED, 1)
    file.write_text(json.dumps(DEMAND | {"max_age_seconds": 0}))
    refused = run("purpose", "demand", PURPOSE, str(file))
    assert (refused.exit_code, "max_age_seconds" in refused.stderr) == (REFUSED, True)


def test_issuers_are_trusted_and_no_more(home: Path) -> None:
    by = registry().trusted()
    named = (by["issuer"], by["key"], "--schema", "person/1")
    expected = {"schema": "person/1", **by}
    assert told("issuer", "add", *named) == expected
    assert told("issuer", "list") == [expected]
    assert by["key"] in run("issuer", "list").stdout
    again = run("issuer", "add", *named)
    assert (again.exit_code, "already" in again.stderr) == (REFUSED, True)
    short = run("issuer", "add", by["issuer"], "AAAA", "--schema", "person/1")
    assert (short.exit_code, "96 bytes" in short.stderr) == (REFUSED, True)
    assert told("issuer", "remove", *named) == expected
    assert told("issuer", "list") == []
    epochs = expected | {"epoch_seconds": 21_600}
    assert told("issuer", "add", *named, "--epoch-seconds", "21600") == epochs
    assert told("issuer", "list") == [epochs]
    assert told("issuer", "remove", *named) == expected
    wrong = run("issuer", "add", *named, "--epoch-seconds", "5")
    assert (wrong.exit_code, "seconds" in wrong.stderr) == (REFUSED, True)
    assert run("issuer", "remove", *named).exit_code == REFUSED
