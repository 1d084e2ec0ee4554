"""docs/dependencies.md and pyproject.toml say the same, at the versions of the lock."""

import re
import tomllib

from tests.programs import ROOT

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = [NAME.match(line) for group in groups for line in group]
    return {normal(match[0]) for match in named if match}


def locked(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / lock).read_text()
    return {normal(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", text)}


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "dependencies.md").read_text().partition("## Considered")[0]
    return dict(re.findall(r"(?m)^\| ([a-z0-9-]+) \| (\d\S*) \|", text))


def test_every_direct_dependency_has_its_line_at_the_locked_release() -> None:
    releases = locked("dev.lock")
    assert documented() == {name: releases[name] for name in wanted()}


def test_the_server_runs_what_the_tests_ran() -> None:
    tested, served = locked("dev.lock"), locked("server.lock")
    assert served
    assert served.items() <= tested.items()
