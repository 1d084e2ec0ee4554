"""`consent-broker record`, on a real home."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.settings import read_settings
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from tests.broker.builders import Broker

REFUSED, USAGE = 1, 2


@pytest.fixture
def consent_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A consent in a home that the command finds."""
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    made = Broker(ctx).consent(demo_clients(ctx)[0]["client_id"], "crm-1")
    ctx.db.close()
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["record", *arguments], catch_exceptions=False)


def test_a_record_and_a_receipt(consent_id: str, tmp_path: Path) -> None:
    found = json.loads(run(consent_id, "--json").stdout)
    assert (found["record_id"], found["@type"]) == (consent_id, "ConsentRecord")
    out = tmp_path / "receipt.jsonld"
    assert run(consent_id, "--receipt", "--out", str(out)).exit_code == 0
    receipt = json.loads(out.read_bytes())
    assert receipt["record"]["record_id"] == consent_id
    assert found["pii_principal_id"] not in out.read_text("utf-8")
    assert out.stat().st_mode & 0o777 == 0o600
    assert run(consent_id, "--out", str(tmp_path / "none" / "a")).exit_code == USAGE
    refused = run("c-none")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (REFUSED, 1)
