"""`consent-broker lineage`, on a real home."""

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.settings import read_settings
from broker.store import consents
from broker.usecases import audit
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from broker.usecases.context import Context
from tests.broker.builders import WIRE, Broker

REFUSED, USAGE = 1, 2


@pytest.fixture
def used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A consent and a use of it, in a home that the commands find."""
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    seeds = Broker(ctx)
    consent_id = seeds.consent(demo_clients(ctx)[0]["client_id"], "crm-1")
    use = _decision(ctx, consent_id)
    seeds.keep_log()
    ctx.db.close()
    return consent_id, use


def _decision(ctx: Context, consent_id: str) -> str:
    with ctx.db.transaction() as tx:
        row = consents.consent(tx, "demo", consent_id)
        body = {
            "decision": True,
            "partner": row.partner_id,
            "action": "read",
            "attribute": "home_city",
            "purpose": WIRE,
        }
        return audit.record(
            ctx,
            tx,
            tenant_id="demo",
            type="decision",
            body=body,
            consent_id=consent_id,
            subject_id=row.subject_id,
        )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["lineage", *arguments], catch_exceptions=False)


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_both_ways_in_every_form(used: tuple[str, str], tmp_path: Path) -> None:
    consent_id, use = used
    forward, back = told("consent", consent_id), told("use", use)
    assert {one["id"] for one in forward["nodes"]} >= {consent_id, use}
    assert {(one["from"], one["to"]) for one in back["edges"]} >= {(consent_id, use), (WIRE, use)}
    (line,) = [one for one in run("consent", consent_id).stdout.splitlines() if use in one]
    assert line.endswith("read home_city")
    picture, page = tmp_path / "lineage.svg", tmp_path / "lineage.html"
    assert run("use", use, "--svg", str(picture), "--html", str(page)).exit_code == 0
    assert use in "".join(ET.parse(picture).getroot().itertext())  # noqa: S314 (our own)
    assert "home_city" in page.read_text("utf-8")
    assert picture.stat().st_mode & 0o777 == 0o600
    for bad in (("use", "e-none"), ("consent", "c-none"), ("use", use, "--tenant", "nobody")):
        refused = run(*bad)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (REFUSED, 1)
    assert run("use", use, "--svg", str(tmp_path / "none" / "a.svg")).exit_code == USAGE


def test_events_are_exported_from_where_the_last_export_ended(
    used: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "events.ndjson"
    done = told("export", "--out", str(out))
    events = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert (done["events"], [one["eventType"] for one in events]) == (2, ["START", "COMPLETE"])
    assert used[1] in json.dumps(events[1])
    nothing = told("export", "--out", str(out), "--after", str(done["next"]))
    assert (nothing["events"], nothing["next"], out.read_text("utf-8")) == (0, done["next"], "")
    assert run("export").exit_code == USAGE
    assert run("export", "--out", str(out), "--to", "https://a.example").exit_code == USAGE
    refused = run("export", "--to", "https://127.0.0.1:9/api/v1/lineage")
    assert (refused.exit_code, "public address" in refused.stderr) == (REFUSED, True)
