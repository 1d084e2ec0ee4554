"""`consent-broker data-source` and `sandbox`, on a real home: register, try, open, close."""

from pathlib import Path

import pytest

from broker.store import sandbox as rows
from broker.store.acting import acting_for_all
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from tests.broker.cli.commands import Commands, home

REFUSED, USAGE = 1, 2
SOURCE, SANDBOX = Commands("data-source"), Commands("sandbox")


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return home(tmp_path, monkeypatch)


def test_from_the_checklist_to_the_end(ctx: Context) -> None:
    with acting_for_all():
        partner = demo_clients(ctx)[0]["client_id"]
    listed = ["--title", "Points alliance", "--purpose", "dpv:ServicePersonalisation"]
    listed += ["--attribute", "purchase_count_12m", "--retention-days", "90"]
    listed += ["--recipient", partner, "--territory", "CN", "--basis", "contract"]
    listed += ["--reference", "DS-2026-014"]
    assert SOURCE.told("add", "points", *listed)["state"] == "draft"
    refused = SOURCE.run("add", "points", *listed)
    assert (refused.exit_code, "revise" in refused.output) == (REFUSED, True)
    assert SOURCE.told("revise", "points", *listed, "--sole")["checklist"]["sole"] is True
    assert "sandbox start --source more" in SOURCE.run("add", "more", *listed).output

    assert SANDBOX.run("start").exit_code == USAGE
    trial = SANDBOX.told("start", "--source", "points")
    second = SANDBOX.run("start", "--partner", partner)
    assert (second.exit_code, "sign it off or end" in second.output) == (REFUSED, True)
    assert "runs" in SANDBOX.run("list").output
    figures = ("--quality", "97", "--value", "-3", "--report", "QA-1")
    early = SANDBOX.run("sign-off", trial["id"], *figures)
    assert (early.exit_code, "nothing was permitted" in early.output) == (REFUSED, True)
    with acting_for_all(), ctx.db.transaction() as tx:
        rows.count_use(tx, "demo")  # as a decision does
    assert "quality 97%  value -3%" in SANDBOX.run("sign-off", trial["id"], *figures).output
    again = SANDBOX.told("start", "--partner", partner)
    assert SANDBOX.told("end", again["id"])["outcome"] == "ended"
    assert [one["uses"] for one in SANDBOX.told("list") if one["kind"] == "source"] == [1]
    stranger = SANDBOX.run("mark", "crm-none", "--partner", partner)
    assert (stranger.exit_code, "invite" in stranger.output) == (REFUSED, True)

    assert "DS-2026-014" in SOURCE.run("list").output
    assert SOURCE.told("close", "points") == {"name": "points", "closed": True}
    assert "as it was" in SOURCE.run("close", "points").output
    states = {one["name"]: one["state"] for one in SOURCE.told("list")}
    assert states == {"points": "closed", "more": "draft"}
