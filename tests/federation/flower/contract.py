"""What this project takes for granted of the pinned Flower, tried on the real processes.

Run by the environment of `make federation`, in a process group of its own that `test_contract.py`
stops whole: `contract.py DIRECTORY` prints one JSON object of what it saw.
"""

import http.client
import json
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx  # noqa: TID251 (Flower's own client; httpx2 is not in its environment)
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.version import package_version
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from federation.flower.bundle import Bundle, make_entity_key, read_entity_key, trusted_entities
from federation.flower.control import Control, ControlRefused, Kept
from federation.flower.places import LOOPBACK, Places

APPLICATION = Path(__file__).parent / "application"
LOGIN = tuple(
    f"/v1/control/{name}"
    for name in ("get-login-details", "get-auth-tokens", "refresh-auth-tokens")
)
PATIENCE = 240
"""Seconds for one step: the machine is busy with other tests."""
AROUND = (
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/v1/fleet/x/../../control/list-runs",
    "/v1/fleet//../control/list-runs",
    "//v1/control/list-runs",
)
PROTOBUF = {"content-type": PROTOBUF_MEDIA_TYPE}


def main(directory: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {"version": package_version}
    reports = directory / "reports"
    reports.mkdir()
    private, public = make_entity_key()
    (directory / "entities.yaml").write_bytes(trusted_entities([("board", public)]))
    bundle = Bundle.build(APPLICATION)
    signed = bundle.signed_by(read_entity_key(private), "board", int(time.time()))
    with ExitStack() as stack:
        link, ports = directory / "link", (free_port(), free_port())
        stack.enter_context(superlink(link, ports, reports))
        control = stack.enter_context(_control(link, ports[1]))
        wait("the SuperLink", lambda: answers(control))
        own, outside = (_trusting(link / name) for name in ("loopback.pem", "members.pem"))
        inside, members = f"https://{LOOPBACK}:{ports[1]}", f"https://{LOOPBACK}:{ports[0]}"
        seen |= looked_at_from_outside(inside, own, members, outside)
        seen["members_reach_around"] = around(ports[0], link / "members.pem")
        seen["unregistered"] = unregistered(ports[0], (link / "members.pem").read_bytes())
        seen["hub"] = refused(lambda: control.start(Kept("@others/theirs", ""), {}))
        nodes = {}
        for name in ("a", "b"):
            places = Places.open(directory / name)
            places.make_node_key()
            nodes[name] = control.register(places.node_public_key.read_bytes())
            stack.enter_context(supernode(directory, name, ports[0], link / "members.pem"))
        again = control.register((directory / "b" / "node.pub").read_bytes())
        seen["registered_again"] = again == nodes["b"]
        wait("both SuperNodes", lambda: online(control) == 2)
        control.admit(nodes.values())
        seen |= rounds(control, signed, nodes, directory)
        seen |= unsigned(control, bundle, reports)
    return seen


def rounds(
    control: Control, bundle: Bundle, nodes: dict[str, int], directory: Path
) -> dict[str, Any]:
    """Two rounds of FedAvg; in the second, one of the two members is revoked while it trains."""
    kept = control.put(bundle)
    undeclared = refused(lambda: control.start(kept, {"epochs": 9}))
    run = control.start(kept, {"rounds": 2, "members": 2, "report": "rounds"})
    held = directory / "b" / "reached"
    wait("the second round", lambda: held.exists() or control.run(run).over)
    control.admit([nodes["a"]])
    wait("the end of the run", lambda: control.run(run).over)
    (directory / "b" / "released").touch()
    report = json.loads((directory / "reports" / "rounds").read_text())
    return {"ended": control.run(run).status, "rounds": report, "undeclared": undeclared}


def unsigned(control: Control, bundle: Bundle, reports: Path) -> dict[str, Any]:
    """A bundle that nobody signed, and a run that is stopped."""
    content = bundle.content + b"\0"  # another hash, and the same application
    kept = control.put(Bundle(content))
    run = control.start(kept, {"report": "unsigned"})
    wait("the end of the unsigned run", lambda: control.run(run).over)
    other = control.start(kept, {"members": 9, "report": "stopped"})
    control.stop(other)
    return {
        "unsigned": json.loads((reports / "unsigned").read_text())["rounds"],
        "stopped": control.run(other).status,
        "no_such_run": control.run(other ^ 1).status,
    }


def looked_at_from_outside(
    inside: str, own: httpx.Client, members: str, outside: httpx.Client
) -> dict[str, Any]:
    """Every address that the SuperLink has, asked for without a token and without a key."""
    paths = sorted(own.get(f"{inside}/openapi.json").json()["paths"])

    def answered(client: httpx.Client, base: str, path: str, **headers: str) -> int:
        sent = client.post(base + path, content=b"", headers=PROTOBUF | headers)
        return int(sent.status_code)

    control = [path for path in paths if path.startswith("/v1/control/")]
    fleet = [path for path in paths if path.startswith("/v1/fleet/")]
    return {
        "some_of_each": bool(control) and bool(fleet) and "/v1/runtime/acquire-task" in paths,
        "control_open": [
            (path, headers)
            for path in control
            for headers in ({}, {"authorization": "Bearer wrong"})
            if path not in LOGIN and answered(own, inside, path, **headers) != 401
        ],
        "control_login": [answered(own, inside, path) for path in LOGIN],
        "task_without_secret": answered(own, inside, "/v1/runtime/acquire-task"),
        "members_reach": [
            path for path in paths if path not in fleet and answered(outside, members, path) != 404
        ],
        "members_reach_pages": [
            path
            for path in ("/docs", "/openapi.json", "/health")
            for method in ("GET", "POST")
            if outside.request(method, members + path, content=b"").status_code != 404
        ],
        "fleet_without_a_key": sorted({answered(outside, members, path) for path in fleet}),
        "fleet_by_another_host": answered(
            outside, members, "/v1/fleet/pull-messages", host="a/v1/control/get-login-details?"
        ),
    }


def around(port: int, root: Path) -> list[tuple[str, int]]:
    """Which ways around the members' addresses answer, sent as they are written here."""
    found = []
    for path in AROUND:
        context = ssl.create_default_context(cafile=str(root))
        connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=PATIENCE, context=context)
        connection.request("POST", path, body=b"", headers=PROTOBUF)
        found.append((path, connection.getresponse().status))
        connection.close()
    return [one for one in found if one[1] != 404]


def unregistered(port: int, root: bytes) -> dict[str, str]:
    """A node whose key nobody registered, by the very calls of a SuperNode."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    client = FleetHttpClient.from_server_address(
        server_address=f"{LOOPBACK}:{port}",
        insecure=False,
        root_certificates=root,
        interceptors=[NodeAuthHttpInterceptor(key, public)],
    )
    named = public_key_to_bytes(public)
    return {
        "register": refused(
            lambda: client.RegisterNode(RegisterNodeFleetRequest(public_key=named))
        ),
        "activate": refused(
            lambda: client.ActivateNode(
                ActivateNodeRequest(public_key=named, heartbeat_interval=30)
            )
        ),
    }


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except ControlRefused:
        return "refused"
    except httpx.HTTPStatusError as error:
        return "refused" if 400 <= error.response.status_code < 500 else str(error)
    return "done"


def answers(control: Control) -> bool:
    try:
        control.nodes()
    except ControlRefused:
        return False
    return True


def online(control: Control) -> int:
    return sum(node.status == "online" for node in control.nodes())


@contextmanager
def superlink(directory: Path, ports: tuple[int, int], reports: Path) -> Iterator[None]:
    yield from launched(
        directory,
        *("superlink", "--host", LOOPBACK, "--self-signed", LOOPBACK),
        *("--port", str(ports[0]), "--control-port", str(ports[1])),
        *("--environment", f"REPORTS={reports}"),
    )


@contextmanager
def supernode(directory: Path, name: str, port: int, root: Path) -> Iterator[None]:
    held = ["HELD_ROUND=2", f"HELD_IN={directory / name}"] if name == "b" else []
    yield from launched(
        directory / name,
        *("supernode", "--superlink", f"{LOOPBACK}:{port}", "--root-certificates", str(root)),
        *("--trusted-entities", str(directory / "entities.yaml"), "--port", str(free_port())),
        *(part for one in held for part in ("--environment", one)),
    )


def launched(directory: Path, *arguments: str) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "federation.flower", *arguments]
    command += ["--directory", str(directory)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _control(link: Path, port: int) -> Control:
    token, root = link / "control.token", link / "loopback.pem"
    wait("the SuperLink's files", lambda: token.exists() and root.exists())
    return Control(port, token.read_text(), root.read_bytes())


def _trusting(root: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(root))
    return httpx.Client(verify=context, timeout=PATIENCE, trust_env=False)


def free_port() -> int:
    """Pick a port below those that the system gives to whoever asks for any: nobody takes it."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


def wait(what: str, come: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not come():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come within {PATIENCE} s")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
