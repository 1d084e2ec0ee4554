"""Small inputs that unpack to gibibytes, nest 90,000 levels deep, or hold countless small parts.

The process that read one lives on, and it cost at most 250 ms of CPU and 64 MiB: read from /proc
for a broker that serves, from the child's own account for commands and readers.
"""

import contextlib
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dev.running import CONSENT_BROKER
from tests.broker.builders import TENANT
from tests.faults import bombs
from tests.faults.lengths import SOAK
from tests.faults.operations import Served, described
from tests.faults.watched import MEBIBYTE, Cost, watched
from tests.programs import ROOT

# Beside other tests a process pays for caches that they empty. What was found took seconds.
CPU_MS = 250 if SOAK else 2_000
GROWTH = 64 * MEBIBYTE
TRIES = 3
TIMEOUT = 60
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
# A process that has done nothing else yet has to read modules and grow its heap.
READING = """
import resource, sys, time
{prepare}
before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{act}
after = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after[0] - before[0]) * 1000, (after[1] - before[1]) * 1024)
"""


def doors(broker: Served) -> Iterator[tuple[str, str, str]]:
    """Method, path (of what exists) and media type of each operation that takes a body."""
    for path, operations in described(broker.address)["paths"].items():
        for method, operation in operations.items():
            for kind in operation.get("requestBody", {}).get("content", {}):
                yield method.upper(), _existing(broker, path, operation), kind


def _existing(broker: Served, path: str, operation: Mapping[str, Any]) -> str:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            known = broker.known.get(parameter["name"]) or ["x"]
            path = path.replace(f"{{{parameter['name']}}}", known[0])
    return path


def sent(
    broker: Served, method: str, path: str, body: bytes, role: str, kind: str, **more: str
) -> int | None:
    """The status of the answer; None where the server hung up while it was still being sent to."""
    connection = http.client.HTTPConnection(broker.address.removeprefix("http://"), timeout=TIMEOUT)
    headers = {**broker.headers(TENANT, role), "Content-Type": kind, "Idempotency-Key": "k"}
    with contextlib.closing(connection):
        try:
            connection.request(method, path, body, headers | more)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return connection.getresponse().status


def cheap(broker: Served, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 (of `sent`)
    """Send it, and again where it seemed dear: what else happened meanwhile is not its doing."""
    pid, costs = broker.at.servers[0].pid, list[Cost]()
    for _ in range(TRIES):
        with watched(pid) as cost:
            status = sent(broker, *arguments, **more)
        assert status is None or status < 500, (arguments[:2], status)
        costs.append(cost)
        if cost.cpu_ms <= CPU_MS and cost.growth <= GROWTH:
            return
    raise AssertionError(f"{arguments[0]} {arguments[1]} cost {costs}")


def alive(broker: Served) -> None:
    """The same process, and it answers."""
    os.kill(broker.at.servers[0].pid, 0)
    assert broker.at.caller("partner").get("/readyz").status == 200


def whose(path: str) -> str:
    """Who gets furthest with an operation."""
    if path.startswith("/openid4vci"):
        return "wallet"
    officers = ("/v1/templates", "/v1/kill", "/v1/subjects", "/v1/invitations/")
    return "officer" if path.startswith(officers) else "partner"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_json_of_90000_levels(operated: Served) -> None:
    for method, path, kind in doors(operated):
        for _name, body in bombs.nested() if SOAK else list(bombs.nested())[::2]:
            whole = body if kind != FORM else _form(body)
            cheap(operated, method, path, whole, whose(path), kind)
    alive(operated)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bodies_as_large_as_they_may_be(operated: Served) -> None:
    """Nothing is quadratic: a full body of any shape is refused, or read, in no time."""
    for method, path, kind in doors(operated):
        for name, body in bombs.at_the_limit():
            if not SOAK and name not in {"wide", "items", "numbered fields"}:
                continue
            whole = body if kind != FORM else _form(body)
            cheap(operated, method, path, whole, whose(path), kind)
    alive(operated)


def _form(body: bytes) -> bytes:
    """Where a form holds JSON or tokens; as much of it as a form may have."""
    quoted = body[:160_000].replace(b'"', b"%22").replace(b"\\", b"%5C")
    fields = (b"vp_token", b"authorization_details", b"client_assertion")
    return b"grant_type=client_credentials&" + b"&".join(
        b"%s=%s" % (name, quoted) for name in fields
    )


@pytest.mark.timeout(600)
def test_a_gibibyte_in_a_request(operated: Served) -> None:
    """No request is unpacked: announced as compressed it is refused, otherwise it is no JSON."""
    bomb = bombs.gzipped()
    assert len(bomb) < 1.1 * MEBIBYTE
    for path in ("/v1/templates", "/access/v1/evaluation", "/oauth/token"):
        for encoding in ("gzip", "deflate", "identity"):
            more = {"Content-Encoding": encoding}
            cheap(operated, "POST", path, bomb[: MEBIBYTE - 1], whose(path), JSON, **more)
    alive(operated)


def _reading(prepare: str, act: str, *arguments: Path) -> tuple[float, float]:
    """CPU milliseconds and bytes of growth of a fresh process that reads a bomb."""
    program = READING.format(prepare=prepare, act=act)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cpu, growth = done.stdout.split()
    return float(cpu), float(growth)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("prepare", "act"),
    [
        pytest.param(
            "from credentials.status import read_status_list\n"
            "from credentials.errors import CredentialError\n"
            "from credentials.jcs import b64url\n"
            "from tests.faults.bombs import zlibbed\n"
            "claim = {'bits': 1, 'lst': b64url(zlibbed())}",
            "try: read_status_list(claim)\nexcept CredentialError: pass\nelse: sys.exit('taken')",
            id="another issuer's status list",
        ),
        pytest.param(
            "from broker.domain.bundle import unpack\n"
            "from broker.domain.errors import BundleDamaged\n"
            "from tests.faults.bombs import zipped\n"
            "data = zipped()",
            "try: unpack(data)\nexcept BundleDamaged: pass\nelse: sys.exit('taken')",
            id="a bundle that is compressed",
        ),
        pytest.param(
            "from broker.domain.bundle import unpack\n"
            "from broker.domain.errors import BundleDamaged\n"
            "from tests.faults.bombs import overlapping\n"
            "data = overlapping()",
            "try: unpack(data)\nexcept BundleDamaged: pass\nelse: sys.exit('taken')",
            id="a bundle of 10,000 overlapping files",
        ),
        pytest.param(
            "from broker.domain.errors import OutgoingError\n"
            "from tests.faults.bombs import gzipped\n"
            "from tests.faults.hostile import HOST, Network, answering, serving\n"
            "stack = serving(answering(gzipped(), headers=['Content-Encoding: gzip']))\n"
            "server = stack.__enter__()\n"
            "client = Network().client()\n"
            "address = f'http://{HOST}:{server.port}/'",
            "try: client.get(address, accept=['application/json'])\n"
            "except OutgoingError as error: assert error.reason == 'too_large', error.reason\n"
            "else: sys.exit('taken')",
            id="another party's answer",
        ),
    ],
)
def test_a_gibibyte_elsewhere(prepare: str, act: str) -> None:
    """Whatever is compressed and comes from others."""
    costs = [_reading(prepare, act) for _ in range(TRIES if SOAK else 1)]
    assert min(cpu for cpu, _ in costs) <= CPU_MS, costs
    assert min(growth for _, growth in costs) <= GROWTH, costs


@pytest.mark.parametrize("bomb", ["zipped", "overlapping"][: 2 if SOAK else 1])
def test_the_command_refuses_a_zip_bomb(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    path.write_bytes(getattr(bombs, bomb)())
    done = subprocess.run(
        [*CONSENT_BROKER, "evidence", "verify", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
