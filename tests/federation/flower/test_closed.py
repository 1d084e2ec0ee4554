"""What needs no Flower: who reaches what, which environment is passed on, who reads the files."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from federation.flower.events import Events
from federation.flower.fleet import FleetAlone
from federation.flower.places import LOOPBACK, Places
from federation.flower.processes import closed_environment
from federation.flower.supervised import Supervised
from tests.programs import ROOT

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def answered(
    path: str,
    *,
    method: str = "POST",
    kind: str = "http",
    length: bytes | None = b"10",
    more: Sequence[bytes] = (),
) -> list[MutableMapping[str, Any]]:
    """What a member is sent; the SuperLink behind says 200 to everything."""

    async def superlink(_scope: object, _receive: object, send: Any) -> None:  # noqa: ANN401
        await send({"type": "http.response.start", "status": 200})

    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    headers = [] if length is None else [(b"content-length", length)]
    headers += [(name, b"chunked") for name in more]
    scope = {"type": kind, "method": method, "path": path, "headers": headers}
    asyncio.run(FleetAlone(superlink, largest_body=100)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/v1/fleet/push-object"])
def test_members_reach_the_fleet(path: str) -> None:
    assert answered(path)[0]["status"] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/health",
        "/v1/fleet",
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
        "//v1/fleet/pull-messages",
        "/x/v1/fleet/pull-messages",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet//pull-messages",
    ],
)
def test_and_nothing_beside_it(path: str) -> None:
    assert answered(path)[0]["status"] == 404


def test_and_that_by_post_alone() -> None:
    assert answered("/v1/fleet/pull-messages", method="GET")[0]["status"] == 404
    assert answered("/v1/fleet/pull-messages", kind="websocket")[0]["type"] == "websocket.close"
    assert answered("/v1/fleet/pull-messages", kind="lifespan") == []


@pytest.mark.parametrize(
    ("length", "status"),
    [(None, 411), (b"x", 411), (b"-1", 411), (b"100", 200), (b"101", 413), (b"9" * 5000, 413)],
)
def test_within_a_size_that_is_said_first(length: bytes | None, status: int) -> None:
    assert answered("/v1/fleet/push-object", length=length)[0]["status"] == status


def test_a_length_that_chunks_would_outdo_is_none() -> None:
    sent = answered("/v1/fleet/push-object", length=b"100", more=[b"transfer-encoding"])
    assert sent[0]["status"] == 411


def served(largest: int, *, sends: bool = True, small: int = 0, late: bool = False) -> list[int]:
    """What two requests of 60 bytes at once are answered, the first of which waits in the body.

    It `sends` 50 of them before it waits, or none; bodies up to `small` are always let in.
    """
    answers: list[int] = []

    async def superlink(_scope: object, receive: Any, send: Any) -> None:  # noqa: ANN401
        await receive()
        await send({"type": "http.response.start", "status": 200})

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    async def both() -> None:
        fleet = FleetAlone(
            superlink,
            most_under_way=largest,
            always=small,
            body_seconds=0.05 if late else 3_600,
        )
        headers = [(b"content-length", b"60")]
        path = "/v1/fleet/push-object"
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        waiting = asyncio.Event()
        parts = [{"type": "http.request", "body": b"-" * 50, "more_body": True}] if sends else []

        async def slowly() -> MutableMapping[str, Any]:
            if parts:
                return parts.pop()
            await waiting.wait()
            return {"type": "http.request", "body": b"-" * (10 if sends else 60)}

        async def at_once() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": b"-" * 60}

        first = asyncio.create_task(fleet(dict(scope), slowly, send))
        if late:
            await first
            return
        await asyncio.sleep(0)
        await fleet(dict(scope), at_once, send)
        waiting.set()
        await first
        await fleet(dict(scope), at_once, send)

    asyncio.run(both())
    return answers


def test_bodies_of_all_together_have_a_bound() -> None:
    assert served(120) == [200, 200, 200]
    # The second of two at once is refused; when the first is over there is room again.
    assert served(100) == [503, 200, 200]


def test_what_was_only_said_to_come_takes_no_room() -> None:
    assert served(60, sends=False) == [200, 200, 200]


def test_small_bodies_are_let_in_whatever_is_under_way() -> None:
    assert served(0, small=60) == [200, 200, 200]
    assert served(0, small=59) == [503, 503, 503]


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    assert served(120, late=True) == [408]


def test_the_environment_keeps_flower_to_itself() -> None:
    caller = {
        "FLWR_TELEMETRY_ENABLED": "1",
        "FLWR_OIDC_ENABLED": "1",
        "FLWR_DATABASE": "sqlite://elsewhere",
        "HTTPS_PROXY": "http://proxy.example",
        "PYTHONPATH": "/elsewhere",
        "BROKER_KEY": "a secret of another program",
        "LANG": "zh_CN.UTF-8",
    }
    made = closed_environment(
        caller, Path("/home"), {"ROWS": "/rows", "FLWR_TELEMETRY_ENABLED": "1"}
    )
    assert made.pop("PATH").split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert made == {
        "LANG": "zh_CN.UTF-8",
        "HOME": "/home",
        "ROWS": "/rows",
        "PYTHONUNBUFFERED": "1",
        "FLWR_HOME": "/home",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }


def test_files_are_for_their_owner_alone_and_secrets_stay(tmp_path: Path) -> None:
    places = Places.open(tmp_path / "new" / "one")
    places.make_secret(places.control_token)
    places.make_node_key()
    loopback = places.loopback(NOW)
    first = places.control_token.read_bytes(), places.node_key.read_bytes()
    places.make_secret(places.control_token)
    places.make_node_key()
    assert (places.control_token.read_bytes(), places.node_key.read_bytes()) == first
    assert len(first[0]) == 43
    assert stat.S_IMODE(places.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in places.directory.iterdir()} == {0o600}
    assert loopback.key.read_bytes() != Places.open(tmp_path / "two").loopback(NOW).key.read_bytes()


@pytest.mark.parametrize("host", [LOOPBACK, "link.example"])
def test_a_certificate_is_of_one_host_and_has_an_end(tmp_path: Path, host: str) -> None:
    made = Places.open(tmp_path).make_certificate("members", host, NOW, days=30)
    read = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in names] == [host]
    assert read.not_valid_before_utc < NOW
    assert timedelta(days=29) < read.not_valid_after_utc - NOW < timedelta(days=30)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(made.certificate, made.key)


def test_members_go_on_with_the_certificate_they_were_handed(tmp_path: Path) -> None:
    places = Places.open(tmp_path)
    made = places.kept_certificate("members", "link.example", NOW, days=365)
    first = made.certificate.read_bytes()
    later = NOW + timedelta(days=300)
    kept = places.kept_certificate("members", "link.example", later, days=365)
    assert (kept, kept.certificate.read_bytes()) == (made, first)
    ends = places.kept_certificate("members", "link.example", NOW + timedelta(days=336), days=365)
    second = ends.certificate.read_bytes()
    assert second != first
    other = places.kept_certificate("members", "other.example", NOW, days=365)
    assert other.certificate.read_bytes() != second
    # Of a start that ended between both files the key fits no certificate.
    places.make_certificate("another", "other.example", NOW, days=365)
    other.key.write_bytes((places.directory / "another.key").read_bytes())
    third = other.certificate.read_bytes()
    assert places.kept_certificate("members", "other.example", NOW, 365) == other
    assert other.certificate.read_bytes() != third


TOGETHER = """
import sys
from federation.flower.processes import Program, run_together
wait = [sys.executable, "-c", "import time; print('on', flush=True); time.sleep(600)"]
end = [sys.executable, "-c", "raise SystemExit(3)"]
programs = [Program("the one", wait), Program("the other", end if sys.argv[1] == "ends" else wait)]
print(run_together(programs, {}), flush=True)
"""


@pytest.mark.parametrize(
    ("how", "said"), [("ends", "the other ended with exit code 3"), ("told", "")]
)
def test_programs_end_together(how: str, said: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TOGETHER, how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        if how == "told":
            assert [process.stdout.readline() for _ in range(2)] == ["on\n", "on\n"]
            process.terminate()
        lines = process.communicate(timeout=300)[0].splitlines()
        assert [line for line in lines if line != "on"] == [said]
        # Whoever had stayed would hold the group.
        until = time.monotonic() + 200
        while time.monotonic() < until:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.05)
        else:
            pytest.fail("a program outlived the others")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


STUBBORN = """
import os, signal, subprocess, sys, time
if len(sys.argv) > 1:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    time.sleep(600)
subprocess.run([sys.executable, "-c", {0!r}, "inner"])
"""


def test_what_does_not_end_when_told_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    inner = STUBBORN.format("")
    log = tmp_path / "log"
    events = Events(as_json=True, output=StringIO())
    command = [sys.executable, "-c", STUBBORN.format(inner)]
    supervised = Supervised("one", command, {}, log, events, patience=0.1)
    supervised.look()
    # The inner one has told its number: it no longer ends when it is told to.
    while not log.read_text().endswith("\n"):
        time.sleep(0.02)
    supervised.stop()
    until = time.monotonic() + 100
    while running(int(log.read_text())):
        assert time.monotonic() < until, "it stayed"
        time.sleep(0.02)


HANGING = """
import sys, threading
from federation.flower.events import Events
from federation.flower.supervised import until_told
def ask():
    print("asking", flush=True)
    try:
        threading.Event().wait(600)
    except Exception:
        print("held up")
until_told(lambda: None, ask, Events(as_json=True), seconds=600)
"""


def test_who_is_told_to_stop_waits_for_no_answer() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        process.terminate()
        said = process.communicate(timeout=300)[0]
        assert (process.returncode, json.loads(said)["event"]) == (0, "stopping")
    finally:
        process.kill()


def running(process: int) -> bool:
    """Whether it runs; one that ended and is waited for by nobody yet does not."""
    try:
        told = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return told.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    "arguments",
    [
        ["superlink", "--directory", "{}"],
        ["superlink", "--directory", "{}", "--certificate", "chain.pem"],
        ["superlink", "--directory", "{}", "--self-signed", "localhost", "--environment", "ROWS"],
        ["supernode", "--directory", "{}", "--superlink", "localhost:9092"],
    ],
)
def test_what_would_stand_open_does_not_start(tmp_path: Path, arguments: list[str]) -> None:
    place = tmp_path / "not-made"
    finished = subprocess.run(
        [sys.executable, "-m", "federation.flower", *(one.format(place) for one in arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "--" in finished.stderr
    assert not place.exists()


def test_a_nodes_key_is_made_once_and_shown(tmp_path: Path) -> None:
    said = [
        subprocess.check_output(
            [sys.executable, "-m", "federation.flower", "node-key", "--directory", tmp_path / "n"],
            cwd=ROOT,
            text=True,
        )
        for _ in range(2)
    ]
    assert said == [f"{tmp_path / 'n' / 'node.pub'}\n"] * 2
    assert Path(said[0].strip()).read_text().startswith("-----BEGIN PUBLIC KEY-----")
