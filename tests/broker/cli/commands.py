"""A real home for commands, and one group of them to call."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.settings import read_settings
from broker.usecases.bootstrap import ensure_demo_tenant
from broker.usecases.context import Context


def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A broker in `folder` that the environment names, and nothing else of it."""
    environment(folder, monkeypatch)
    made = build_context(read_settings())
    ensure_demo_tenant(made)
    return made


def environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the commands work on the broker in `folder`, and on nothing else that is named."""
    for name in list(os.environ):
        # Colours change what is printed, not only how it looks.
        if name in {"DATABASE_URL", "FORCE_COLOR"} or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(folder))


@dataclass(frozen=True)
class Commands:
    """The commands of one group, as in `consent-broker GROUP ...`."""

    group: str

    def run(self, *arguments: str) -> Result:
        """What a command prints, and its exit code."""
        return CliRunner().invoke(app, [self.group, *arguments], catch_exceptions=False)

    def told(self, *arguments: str) -> Any:  # noqa: ANN401 (JSON)
        """What a command that succeeds tells with `--json`."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)
