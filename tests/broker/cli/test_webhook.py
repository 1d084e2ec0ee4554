"""`consent-broker webhook`, on a real home."""

from pathlib import Path

import pytest

from broker.domain.webhook import GIVE_UP_SECONDS
from broker.store import outbox, webhooks
from broker.usecases.agent import add_agent, set_agent_state
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from tests.broker.cli.commands import Commands, home

REFUSED = 1
URL = "http://crm.example/events"
COMMANDS = Commands("webhook")
run, told = COMMANDS.run, COMMANDS.told


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return home(tmp_path, monkeypatch)


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
