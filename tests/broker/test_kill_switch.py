"""Kill switches: the next decision denies, the log says by whom; by command and by an officer."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from broker.api import errors, kill_switches
from broker.cli import app
from broker.composition import build_context
from broker.domain.errors import InvalidRequest, NotFound
from broker.domain.kill_switch import KINDS, KillSwitch, Kind
from broker.settings import read_settings
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from broker.usecases.kill_switch import turn, turned_on
from tests.broker.builders import PURPOSE, TENANT
from tests.broker.deciding import Desk, desk


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def switches(at: Desk) -> dict[Kind, KillSwitch]:
    names = (TENANT, at.partner_id, PURPOSE, "churn-v3@1")
    return {kind: KillSwitch(kind, name) for kind, name in zip(KINDS, names, strict=True)}


def test_the_next_decision_denies_until_it_is_off_again(at: Desk) -> None:
    at.consent()
    ctx = at.broker.ctx
    for kind, switch in switches(at).items():
        assert at.codes() == []
        assert turn(ctx, TENANT, switch, on=True)
        assert not turn(ctx, TENANT, switch, on=True)
        assert turned_on(ctx, TENANT) == [switch]
        assert at.codes() == ["kill_switch"], kind
        assert turn(ctx, TENANT, switch, on=False, officer_id="o-1")
        (on,), (off,) = (
            at.broker.logged("kill_switch.on")[-1:],
            at.broker.logged("kill_switch.off")[-1:],
        )
        assert (on.body, off.body) == (
            {kind: switch.id, "by": "operator"},
            {kind: switch.id, "by": "o-1"},
        )
    assert at.codes() == []
    assert len(at.broker.logged("kill_switch.on")) == len(KINDS)


def test_one_version_of_an_algorithm_is_stopped_and_no_other(at: Desk) -> None:
    at.consent(algorithm=("churn-v3", "2"))
    turn(at.broker.ctx, TENANT, KillSwitch("algorithm", "churn-v3@1"), on=True)
    assert at.codes(algorithm_version="2") == []


def test_what_is_not_there_cannot_be_stopped(at: Desk) -> None:
    ctx = at.broker.ctx
    for switch in (
        KillSwitch("partner", "p-nobody"),
        KillSwitch("purpose", "dpv:Nothing"),
        KillSwitch("algorithm", "churn-v3@9"),
        KillSwitch("tenant", "acme"),
    ):
        with pytest.raises(NotFound):
            turn(ctx, TENANT, switch, on=True)
    with pytest.raises(InvalidRequest, match="churn-v3@1"):
        turn(ctx, TENANT, KillSwitch("algorithm", "churn-v3"), on=True)
    assert turned_on(ctx, TENANT) == []


def test_an_officer_turns_it_over_http_and_a_partner_cannot(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        made = FastAPI()
        made.state.context = at.broker.ctx
        errors.install(made)
        made.include_router(kill_switches.router)
        officer_id = at.broker.officer()
        officer = {"Authorization": f"Bearer {at.broker.token(officer_id, 'officer')}"}
        partner = {"Authorization": f"Bearer {at.token}"}
        at.consent()
        path = "/v1/kill-switches/algorithm/churn-v3@1"
        with TestClient(made) as http:
            assert http.put(path, json={"on": True}, headers=partner).status_code == 403
            assert at.codes() == []
            assert http.put(path, json={"on": True}, headers=officer).json() == {"on": True}
            assert at.codes() == ["kill_switch"]
            listed = http.get("/v1/kill-switches", headers=officer).json()
            assert listed == {"kill_switches": [{"kind": "algorithm", "id": "churn-v3@1"}]}
            nobody = http.put("/v1/kill-switches/partner/p-x", json={"on": True}, headers=officer)
            assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
            odd = http.put("/v1/kill-switches/weather/x", json={"on": True}, headers=officer)
            assert (odd.status_code, odd.json()["code"]) == (400, "invalid_request")
        (entry,) = at.broker.logged("kill_switch.on")
        assert entry.body["by"] == officer_id


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    partner, _officer = demo_clients(ctx)
    ctx.db.close()

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["kill-switch", *arguments], catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.output

    assert "is on\n" in run("on", "--partner", partner["client_id"])
    assert "as it was" in run("on", "--partner", partner["client_id"])
    told = json.loads(run("on", "--tenant", "demo", "--json"))
    assert told == {"kind": "tenant", "id": "demo", "on": True, "changed": True}
    assert json.loads(run("list", "--json")) == [
        {"kind": "tenant", "id": "demo"},
        {"kind": "partner", "id": partner["client_id"]},
    ]
    run("off", "--tenant", "demo")
    run("off", "--partner", partner["client_id"])
    assert json.loads(run("list", "--json")) == []
    assert "say what to stop" in run("on", code=2)
    assert "say what to stop" in run("on", "--partner", "x", "--purpose", "y", code=2)
    assert "there is no algorithm" in run("on", "--algorithm", "none@1", code=1)
