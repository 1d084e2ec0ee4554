"""docs/dependencies.md and pyproject.toml say the same, at the versions of the lock."""

import re
import tomllib

from tests.programs import ROOT

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted() -> dict[str, str]:
    """Each package that is asked for, and the lock that says in which release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    alone = {"federation": extras.pop("federation")}
    locks = {"dev.lock": [project["dependencies"], *extras.values()]}
    locks |= {f"{name}.lock": [lines] for name, lines in alone.items()}
    named = {
        lock: [NAME.match(line) for group in groups for line in group]
        for lock, groups in locks.items()
    }
    return {normal(match[0]): lock for lock, lines in named.items() for match in lines if match}


def locked(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / lock).read_text()
    return {normal(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", text)}


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "dependencies.md").read_text().partition("## Considered")[0]
    return dict(re.findall(r"(?m)^\| ([a-z0-9-]+) \| (\d\S*) \|", text))


def test_every_direct_dependency_has_its_line_at_the_locked_release() -> None:
    releases = {lock: locked(lock) for lock in ("dev.lock", "federation.lock")}
    assert documented() == {name: releases[lock][name] for name, lock in wanted().items()}


def test_the_server_runs_what_the_tests_ran() -> None:
    tested, served = locked("dev.lock"), locked("server.lock")
    assert served
    assert served.items() <= tested.items()


def test_flower_has_an_environment_of_its_own_with_the_libraries_of_this_one() -> None:
    """What it pins is older than what the server runs; what the libraries need is the same."""
    tested, federated = locked("dev.lock"), locked("federation.lock")
    assert "flwr" in federated
    assert "flwr" not in tested
    assert federated["fastapi"] != tested["fastapi"], "one environment would do"
    for name in ("cryptography", "joserfc", "orjson", "py-arkworks-bls12381"):
        assert federated[name] == tested[name]
