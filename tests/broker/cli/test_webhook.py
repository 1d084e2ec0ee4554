"""`consent-broker webhook`, on a real home."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.domain.webhook import GIVE_UP_SECONDS
from broker.settings import read_settings
from broker.store import outbox, webhooks
from broker.usecases.agent import add_agent, set_agent_state
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from broker.usecases.context import Context

REFUSED = 1
URL = "http://crm.example/events"


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
    return CliRunner().invoke(app, ["webhook", *arguments], catch_exceptions=False)


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_add_list_rotate_replay_and_remove(ctx: Context) -> None:
    partner = str(demo_clients(ctx)[0]["client_id"])
    added = told("add", "--partner", partner, "--url", URL, "--type", "agent.suspended")
    agent = add_agent(ctx, "demo", partner, name="bot")
    set_agent_state(ctx, "demo", agent.id, "suspended")
    with ctx.db.transaction() as tx:
        (one,) = outbox.due(tx, added["id"], ctx.now(), 10)
        outbox.died(tx, one.seq, "unreachable", ctx.now() + GIVE_UP_SECONDS)
        webhooks.failed(tx, added["id"], "unreachable", ctx.now(), ctx.now() + 5)
    (listed,) = told("list")
    assert (listed["id"], listed["dead_letters"], listed["code"]) == (added["id"], 1, "unreachable")
    (letter,) = told("dead", added["id"])["dead_letters"]
    assert (letter["subject"], letter["code"]) == (agent.id, "unreachable")
    assert letter["event"] in run("dead", added["id"]).stdout
    assert told("rotate", added["id"])["secret"] != added["secret"]
    assert told("replay", added["id"]) == {"replayed": 1, "next": None}
    assert told("dead", added["id"]) == {"dead_letters": [], "next": None}
    assert "unreachable" in run("list").stdout
    assert told("remove", added["id"]) == {"removed": added["id"]}
    assert told("list") == []


@pytest.mark.parametrize(
    "wrong",
    [
        ("add", "--partner", "p-nobody", "--url", URL),
        ("add", "--partner", "p-nobody", "--url", "ftp://crm.example/"),
        ("remove", "wh-none"),
        ("replay", "wh-none"),
        ("dead", "wh-none"),
        ("list", "--tenant", "absent"),
    ],
)
@pytest.mark.usefixtures("ctx")
def test_what_is_refused_says_why(wrong: tuple[str, ...]) -> None:
    result = run(*wrong)
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr.startswith("consent-broker: ")
