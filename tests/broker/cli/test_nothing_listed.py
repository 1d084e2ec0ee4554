"""Lists with nothing in them say so, where it is no part of what a program reads."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.composition import build_context
from broker.settings import read_settings
from broker.usecases.bootstrap import ensure_demo_tenant

LISTS = (
    *("kill-switch", "agent", "transfer", "source", "webhook"),
    *("data-source", "own-attribute", "sandbox"),
)


def test_a_list_of_nothing_is_told_to_people_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    ctx.db.close()
    for name in LISTS:
        found = CliRunner().invoke(app, [name, "list"], catch_exceptions=False)
        assert (found.exit_code, found.stdout, found.stderr) == (0, "", "none 无\n"), name
