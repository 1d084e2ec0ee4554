"""The image: what its recipe says, and that the wheel in it holds all that the program needs."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from dev.running import running_broker
from tests.programs import ROOT, require

RECIPE = (ROOT / "Containerfile").read_text(encoding="utf-8")
PACKAGES = ("broker", "credentials", "federation", "migrations", "wallet_adapters", "zkp")


def instructions() -> list[list[tuple[str, str]]]:
    """The recipe's instructions by stage; those before the first stage are the first entry."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", RECIPE))
    stages: list[list[tuple[str, str]]] = [[]]
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages


def of(stage: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for found, rest in stage if found == word]


def test_one_base_that_a_digest_can_replace() -> None:
    before, build, final = instructions()
    assert before == [("ARG", "BASE=python:3.11-slim-bookworm")]
    assert of(build, "FROM") == ["${BASE} AS build"]
    assert of(final, "FROM") == ["${BASE}"]
    # No address: the engine's own configuration says where images and packages come from.
    for line in RECIPE.splitlines():
        assert "://" not in line or "http://127.0.0.1:" in line
    assert ":latest" not in RECIPE


def test_everything_that_is_installed_has_a_hash() -> None:
    _, build, _ = instructions()
    run = " ".join(of(build, "RUN"))
    installs = re.findall(r"\$pip[^&;]*|pip[^&;]* install [^&;]*", run)
    assert len(installs) >= 3
    for one in installs:
        assert "--require-hashes" in one or "--no-index" in one or one.startswith("$pip ")
    assert 'install --no-deps --require-hashes"' in run
    assert "requirements/server.lock" in run


def test_the_final_stage_builds_nothing_and_is_nobody() -> None:
    _, _, final = instructions()
    assert of(final, "COPY") == ["--from=build /opt/consent-broker /opt/consent-broker"]
    assert not any("pip" in one or "apt" in one for one in of(final, "RUN"))
    assert of(final, "USER") == ["10001:10001"]
    assert [word for word, _ in final].index("USER") < [word for word, _ in final].index("CMD")
    assert of(final, "ENTRYPOINT") == ['["consent-broker"]']
    assert of(final, "CMD") == ['["serve"]']
    assert of(final, "STOPSIGNAL") == ["SIGTERM"]
    assert "/healthz" in of(final, "HEALTHCHECK")[0]
    assert "uninstall" in " ".join(of(instructions()[1], "RUN"))


def test_what_it_copies_is_there_and_not_ignored() -> None:
    _, build, _ = instructions()
    copied = {name for one in of(build, "COPY") for name in one.split()[:-1]}
    assert copied >= set(PACKAGES)
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    for name in copied:
        assert (ROOT / name).exists()
        assert name in allowed or f"{Path(name).parent}/*{Path(name).suffix}" in allowed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built as the image builds it: from the same files, offline."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    files = (*PACKAGES, "LICENSE", "README.md", "pyproject.toml")
    git = require("git", "tell which files are the project's")
    kept = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z", *files],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, kept.split("\0")):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([*pip, *offline, "--wheel-dir", out, source], check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_file_that_the_program_reads(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".md"}
    }
    assert not wanted - held
    assert {Path(name).suffix for name in held} >= {".html", ".css", ".js", ".cedar", ".mo"}
    assert any(name.startswith("migrations/versions/") for name in held)


def test_the_wheel_serves_without_the_source(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    zipfile.ZipFile(wheel).extractall(site)
    home.mkdir()
    monkeypatch.chdir(tmp_path)  # Python would look in the source first
    with running_broker(home, {"PYTHONPATH": str(site)}) as broker:
        maps = Path(f"/proc/{broker.pid}/environ").read_bytes().split(b"\0")
        assert f"PYTHONPATH={site}".encode() in maps
        where = subprocess.run(
            [sys.executable, "-c", "import broker, migrations; print(broker.__file__)"],
            env=broker.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert where.startswith(str(site))
        page = urlopen(f"{broker.address}/").read().decode()  # noqa: S310 (our own)
        static = re.search(r'"(/static/[^"]+\.css[^"]*)"', page)
        assert static
        assert urlopen(f"{broker.address}{static[1]}").status == 200  # noqa: S310
