"""`consent-broker agent`, on a real home."""

import json
from pathlib import Path

import pytest

from broker.domain.agent import AgentAction, sign_action
from broker.store.acting import acting_for_all
from broker.usecases.agent import act
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from credentials.keys import SoftwareKey
from tests.broker.cli.commands import Commands, home

REFUSED = 1
COMMANDS = Commands("agent")
run, told = COMMANDS.run, COMMANDS.told


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return home(tmp_path, monkeypatch)


def test_an_agent_from_its_registration_to_what_it_did(ctx: Context, tmp_path: Path) -> None:
    partner = demo_clients(ctx)[0]["client_id"]
    added = told("add", "--name", "Writer", "--partner", partner)
    key = SoftwareKey.from_private_jwk(added["private_jwk"])
    assert [one["id"] for one in told("list")] == [added["id"]]
    named = (("e-" + "a" * 20,), ("c-" + "a" * 20,))
    stated = AgentAction(added["id"], "an-action-1", ctx.now(), "read", *named)
    with acting_for_all():
        act(ctx, "demo", partner, sign_action(key, stated, ctx.settings.public_url))
    (one,) = told("actions", "--agent", added["id"])["actions"]
    assert (one["accepted"], "decision_unknown" in one["reasons"]) == (False, True)
    assert "decision_unknown" in run("actions").stdout
    assert told("suspend", added["id"]) == {"id": added["id"], "state": "suspended"}
    assert "suspended" in run("list").stdout
    assert told("resume", added["id"])["state"] == "active"
    file = tmp_path / "key.json"
    file.write_text(json.dumps(SoftwareKey.generate("ES256").public_jwk()))
    own = told("add", "--name", "Own", "--partner", partner, "--public-jwk", str(file))
    assert own["private_jwk"] is None
    for bad in (("add", "--name", "Own", "--partner", partner), ("suspend", "ag-none")):
        refused = run(*bad)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (REFUSED, 1)
