"""The house rules hold in every file, and each rule catches what it is for."""

import json
import subprocess
import sys
from pathlib import PurePosixPath

import pytest

from tests.architecture import LONGEST_FILE, RULES, Rule, Source
from tests.programs import ROOT

SHIPPED = ("broker", "credentials", "wallet_adapters", "zkp", "federation")
FOLDERS = (*SHIPPED, "migrations", "benchmarks", "dev", "tests")
BY_NAME = {rule.name: rule for rule in RULES}


def files() -> list[Source]:
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "node_modules" not in path.parts
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    broken = [place for source in files() for place in rule.broken_by(source)]
    assert not broken, f"{rule.name}: {', '.join(broken)}\n{rule.why}"


def test_the_rules_look_at_files() -> None:
    assert {PurePosixPath(source.path).parts[0] for source in files()} >= {*SHIPPED, "tests"}


CAUGHT = [
    ("short files", "broker/web/pages.py", "x = 1\n" * (LONGEST_FILE + 1)),
    ("no assert outside tests", "credentials/verify.py", "assert signature_is_good\n"),
    ("one place commits", "broker/api/deps.py", "session.commit()\n"),
    ("one place commits", "broker/store/consents.py", "connection.commit()\n"),
    ("clocks only at the edge", "credentials/verify.py", "import time\nnow = time.time()\n"),
    ("clocks only at the edge", "broker/usecases/decide.py", "clock = time.time\n"),
    ("clocks only at the edge", "broker/store/audit.py", "from time import time_ns\n"),
    ("clocks only at the edge", "broker/domain/consent.py", "datetime.now(UTC)\n"),
    ("clocks only at the edge", "broker/domain/consent.py", "datetime.datetime.utcnow()\n"),
    ("clocks only at the edge", "broker/domain/consent.py", "date.today()\n"),
    ("only verification makes Verified values", "broker/api/wallet.py", "VerifiedCredential(a)\n"),
    (
        "only verification makes Verified values",
        "wallet_adapters/openid4vp.py",
        "verify.VerifiedPresentation(a)\n",
    ),
    ("one reader of the environment", "broker/store/db.py", "os.environ['DATABASE_URL']\n"),
    ("one reader of the environment", "broker/app.py", "os.getenv('PORT')\n"),
    ("one reader of the environment", "broker/app.py", "from os import environ\n"),
    ("names that say something", "broker/http/client.py", ""),
    ("names that say something", "credentials/utils.py", ""),
    ("names that say something", "broker/store/consent_manager.py", ""),
    ("no broad except", "broker/app.py", "try:\n    f()\nexcept Exception:\n    g()\n"),
    ("no broad except", "broker/app.py", "try:\n    f()\nexcept:\n    g()\n"),
    ("no broad except", "broker/app.py", "try:\n    f()\nexcept (A, BaseException):\n    g()\n"),
    ("no print in a server", "broker/usecases/decide.py", "print(subject)\n"),
    ("connections only outbound", "broker/usecases/decide.py", "import httpx2\n"),
    ("connections only outbound", "credentials/did.py", "from urllib import request\n"),
    ("connections only outbound", "credentials/did.py", "from urllib.request import urlopen\n"),
    ("nothing unfinished", "zkp/bbs.py", "def sign(): raise NotImplementedError(1)\n"),
    ("nothing unfinished", "zkp/bbs.py", "x = 1  # TODO: the other half\n"),
    ("nothing unfinished", "zkp/bbs.py", "if x:  # pragma: no cover\n    y()\n"),
    ("skips say what is missing", "tests/test_x.py", "@pytest.mark.skip\ndef test(): ...\n"),
    ("skips say what is missing", "tests/test_x.py", "def test(): pytest.skip('later')\n"),
]

LEFT_ALONE = [
    ("short files", "broker/web/pages.py", "x = 1\n" * LONGEST_FILE),
    ("short files", "migrations/versions/0001.py", "x = 1\n" * (LONGEST_FILE + 1)),
    ("no assert outside tests", "tests/test_x.py", "assert 1 + 1 == 2\n"),
    ("one place commits", "broker/store/db.py", "connection.commit()\n"),
    ("clocks only at the edge", "broker/composition.py", "now = time.time\n"),
    ("clocks only at the edge", "broker/api/log.py", "deadline = time.monotonic() + 5\n"),
    ("clocks only at the edge", "credentials/pki.py", "datetime.fromtimestamp(now, UTC)\n"),
    ("only verification makes Verified values", "credentials/verify.py", "VerifiedCredential(a)\n"),
    (
        "only verification makes Verified values",
        "broker/usecases/grant.py",
        "def grant(presentation: VerifiedPresentation): return UnverifiedPresentation(b)\n",
    ),
    ("one reader of the environment", "broker/settings.py", "os.environ\n"),
    ("names that say something", "broker/store/consents.py", "import http.client\n"),
    ("no broad except", "broker/app.py", "try:\n    f()\nexcept SealBroken:\n    g()\n"),
    ("no print in a server", "broker/cli.py", "print('serving')\n"),
    ("connections only outbound", "broker/outbound/webhooks.py", "import httpx2\n"),
    ("connections only outbound", "credentials/did.py", "from urllib.parse import urlsplit\n"),
    ("nothing unfinished", "zkp/bbs.py", "raise InvalidProof\n"),
    (
        "nothing unfinished",
        "broker/domain/bundle.py",
        "try:\n    unzip()\nexcept NotImplementedError:\n    refuse()\n",
    ),
    ("skips say what is missing", "tests/test_x.py", "require('node', 'drive a wallet')\n"),
]


@pytest.mark.parametrize(("name", "path", "text"), CAUGHT)
def test_the_rule_catches(name: str, path: str, text: str) -> None:
    assert BY_NAME[name].broken_by(Source(path, text))


@pytest.mark.parametrize(("name", "path", "text"), LEFT_ALONE)
def test_the_rule_leaves_alone(name: str, path: str, text: str) -> None:
    assert not BY_NAME[name].broken_by(Source(path, text))


def test_every_rule_is_shown_on_both_sides() -> None:
    assert {name for name, *_ in CAUGHT} == {name for name, *_ in LEFT_ALONE} == set(BY_NAME)


FOREIGN = ("py_ecc", "web3", "eth_account", "sd_jwt", "flwr", "didkit")
LOOK = f"""
import json, pkgutil, sys
def failed(name):
    raise
names = [
    module.name
    for package in {SHIPPED!r}
    for module in pkgutil.walk_packages(__import__(package).__path__, package + ".", failed)
    if not module.name.endswith(".__main__")
    and not module.name.startswith("federation.flower.") # of another environment and process
]
for name in names:
    __import__(name)
print(json.dumps({{
    "names": names,
    "foreign": sorted(set({FOREIGN!r}) & set(sys.modules)),
    "recursion": sys.getrecursionlimit(),
}}))
"""


def test_the_serving_process_keeps_pythons_recursion_limit() -> None:
    """Every module that we ship, imported at once in a process of its own.

    py_ecc (which web3 and eth_account import) sets the recursion limit to 100,000: with it loaded
    one 180 KB body of nested JSON killed a server process. The others pin, crash or connect.
    """
    finished = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    seen = json.loads(finished.stdout.splitlines()[-1])
    assert "broker.settings" in seen["names"]
    assert seen["foreign"] == []
    assert seen["recursion"] == 1000
