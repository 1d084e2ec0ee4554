"""`consent-broker transfer`, on a real home: register, count, export, and verify without it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.store.acting import acting_for_all
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from tests.broker.cli.commands import Commands, home

REFUSED, USAGE = 1, 2
COMMANDS = Commands("transfer")
run, told = COMMANDS.run, COMMANDS.told


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return home(tmp_path, monkeypatch)


def test_from_registering_to_the_regulator(ctx: Context, tmp_path: Path) -> None:
    with acting_for_all():
        partner = demo_clients(ctx)[0]["client_id"]
    named = ("register", "--partner", partner, "--to", "SG", "--kind")
    refused = run(*named, "standard_contract")
    assert (refused.exit_code, "has the number" in refused.output) == (REFUSED, True)
    made = told(*named, "standard_contract", "--number", "京标备1", "--until", "2099-01-01")
    exempt = ("exemption", "--ground", "contract", "--purpose", "dpv:ServicePersonalisation")
    second = told(*named, *exempt)
    # Both within one second, most often: no order between them.
    assert {one["id"] for one in told("list")} == {made["id"], second["id"]}
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
