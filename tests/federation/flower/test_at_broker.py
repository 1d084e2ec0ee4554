"""A broker with real consents, and Flower's strategies in another environment, over HTTP."""

import base64
import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from broker.usecases import federation_member as members
from broker.usecases.coordinator import add_coordinator
from broker.usecases.partner import replace_partner_key
from tests.broker.flow_world import PUBLIC_URL, World, world
from tests.broker.training import Training, training
from tests.programs import ROOT, missing

PYTHON = ROOT / ".venv-federation" / "bin" / "python"


@contextlib.contextmanager
def served(made: World) -> Iterator[int]:
    """The broker on a port of its own; its clock stays this process's."""
    server = uvicorn.Server(
        uvicorn.Config(made.http.app, port=0, lifespan="off", ws="none", log_level="error")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def given(at: Training, port: int) -> dict[str, Any]:
    """What the other process is told, the private keys of its clients among it."""
    ctx = at.world.ctx
    coordinator = add_coordinator(ctx, "demo", name="another environment")
    return {
        "port": port,
        "base": PUBLIC_URL,
        "campaign": at.campaign,
        "anchors": [base64.b64encode(one).decode() for one in ctx.keys.anchors()],
        "coordinator": {"id": coordinator.client_id, "key": dict(coordinator.private_jwk)},
        "members": [
            {
                "id": one.partner,
                "key": dict(replace_partner_key(ctx, "demo", one.partner).private_jwk),
                "receipts": one.key.private_jwk(),
                "credentials": list(one.credentials.values()),
            }
            for one in at.members.values()
        ],
    }


def test_rounds_of_real_consents_over_http(tmp_path: Path) -> None:
    """Two models, a customer who withdraws between them, and a member revoked in mid-round.

    The first answers to opening, to a receipt and to closing are lost on the way, and asked for
    again.
    """
    if not PYTHON.exists():
        missing(".venv-federation is not there, needed to run Flower (make federation)")
    with world(tmp_path / "home") as made, served(made) as port:
        other = made.second_partner()
        at = training(made, made.partner, other, minimum_members=2, rounds=4)
        mine = [at.consent(made.partner, f"crm-{number}") for number in range(5)]
        for number in range(3):
            at.consent(other, f"other-{number}")
        seen = told_by_the_other(at, port, tmp_path, withdrawn=mine[0])

        # Each member's token was refused once, and its list once of before: both are asked anew.
        assert seen["lost"] == [["token", "list"]] * 2
        names = sorted([made.partner, other])
        each = [sorted(seen["answered"][start : start + 2]) for start in (0, 2, 4)]
        assert each == [names] * 3
        # 5 and 3 rows, which weigh by their bucket, so the same; then 3 (one more than who
        # withdrew is left out) and 3.
        assert seen["weights"] == [(5 + 3) / 2, (5 + 3) / 2 + 3]
        revoked = seen["answered"][-1]
        assert seen["failed"] == {revoked: "broker_member_not_admitted"}
        assert seen["again"] == "409 too_few_members"
        assert seen["not_a_member"].startswith("4")
        assert seen["by_a_member"].startswith("403")
        assert seen["calls"] == [["p-0"], ["p-1"], ["p-2", "p-3"]]
        found = at.call("GET", "").json()
        assert (found["last_round"]["number"], found["last_round"]["state"]) == (3, "failed")
        # Why, the broker knows too.
        assert found["last_round"]["left_out"] == seen["failed"]
        assert found["last_accepted"]["model_out"] == seen["models"][1]
        models = made.api("GET", "/v1/federation/models", made.officer).json()["models"]
        assert [one["id"] for one in models][1:] == seen["models"]
        assert [one["metrics"] for one in models][1:] == [{"auc": "0.75"}] * 2
        assert len(made.logged("training.receipt")) == 5
        assert len(made.logged("training.round_opened")) == 3


def told_by_the_other(at: Training, port: int, place: Path, *, withdrawn: str) -> dict[str, Any]:
    """Answer the other process until it says what it saw."""
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name("at_broker.py"), place / "models"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "FLWR_TELEMETRY_ENABLED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    made, to_say = at.world, json.dumps(given(at, port))
    try:
        while True:
            process.stdin.write(f"{to_say}\n")
            process.stdin.flush()
            question, _, rest = process.stdout.readline().rstrip("\n").partition(" ")
            if question == "seen":
                seen: dict[str, Any] = json.loads(rest)
                return seen
            if question == "withdraw":
                answer = made.withdrawal(withdrawn, made.officer, json={})
                assert answer.status_code == 200, answer.text
            elif question == "revoke":
                members.revoke_member(made.ctx, "demo", rest)
            else:
                assert question == "now", (place / "log").read_text()[-4_000:]
            made.advance(1)
            to_say = str(made.time[0])
    finally:
        process.kill()
        process.communicate()
