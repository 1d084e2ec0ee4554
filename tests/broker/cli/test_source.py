"""`consent-broker source`, on a real home."""

from pathlib import Path

import pytest

from broker.store import sources
from broker.usecases.context import Context
from tests.broker.cli.commands import Commands, home

REFUSED, USAGE = 1, 2
SECRET = "whsec_" + "QUFB" * 10
COMMANDS = Commands("source")
run, told = COMMANDS.run, COMMANDS.told


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return home(tmp_path, monkeypatch)


def test_add_list_rotate_and_remove(ctx: Context, tmp_path: Path) -> None:
    added = told("add", "loyalty")
    assert added["address"] == "http://127.0.0.1:8000/v1/events/loyalty"
    assert added["secret"].startswith("whsec_")
    own = tmp_path / "secret"
    own.write_text(SECRET + "\n")
    assert told("rotate", "loyalty", "--secret-file", str(own))["secret"] == SECRET
    assert [one["circuit"] for one in told("list")] == ["closed"]
    with ctx.db.transaction() as tx:
        row = sources.find(tx, "demo", "loyalty")
        sources.trip(tx, row, open_until=ctx.now() + 1_000, reason="flood")
    assert run("list").stdout == "loyalty  open  flood\n"
    with ctx.db.transaction() as tx:
        sources.change(tx, row.id, open_until=ctx.now())
    assert [one["circuit"] for one in told("list")] == ["half open"]
    assert told("remove", "loyalty") == {"removed": "loyalty"}
    assert told("list") == []


@pytest.mark.usefixtures("ctx")
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("add", "Not A Name"), REFUSED),
        (("add", "a", "--secret-file", "absent"), USAGE),
        (("rotate", "absent"), REFUSED),
        (("remove", "absent"), REFUSED),
        (("list", "--tenant", "absent"), REFUSED),
    ],
)
def test_what_is_refused_says_why(wrong: tuple[str, ...], code: int) -> None:
    result = run(*wrong)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("consent-broker: ")
