"""What a run's settings may say, fused as a SuperNode fuses them; what else they say is refused.

Run by the environment of `make federation` for `test_run_settings.py`: prints one JSON object.
"""

import base64
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.config import get_fused_config_from_fab
from flwr.serverapp import Grid

from credentials.keys import SoftwareKey
from federation.campaign import bundle_hash, parameters_hash
from federation.flower.bundle import Bundle
from federation.flower.in_process import InProcess
from federation.flower.member import Task, Trained
from federation.flower.models import to_record
from federation.flower.run_settings import Settings, settings_of
from federation.flower.serving import NAMED as COORDINATOR_NAMED
from federation.flower.serving import run_stage
from federation.flower.settings import COORDINATOR, MEMBER, SettingsWrong
from federation.flower.site import NAMED, take_part
from federation.flower.strategy import ARRAYS, CONFIG
from tests.federation.flower.training import APPLICATION, BROKER, FIRST, World
from tests.federation.world import BOARD_KEYS

PLACE = Path(sys.argv[1])
PARAMETERS: dict[str, Any] = {"local_epochs": 2, "rate": "0.05", "layers": {"width": 8, "on": True}}
DECLARED = """
campaign = ""
local_epochs = 1
rate = "0.1"
temperature = 0.5
layers.width = 4
layers.on = false
"""


def declaring() -> Bundle:
    """An application that declares settings: some are parameters of the campaign, one is not."""
    place = PLACE / "declaring"
    shutil.copytree(APPLICATION, place)
    project = place / "pyproject.toml"
    project.write_text(project.read_text() + DECLARED)
    return Bundle.build(place)


BUNDLE = declaring()
CHANGES: Mapping[str, object] = {
    "bundle_hash": bundle_hash(BUNDLE.content),
    "parameters": PARAMETERS,
    "parameters_hash": parameters_hash(PARAMETERS),
}
USUAL = settings_of(BUNDLE.content, PARAMETERS, "fc-1")


def fused(overrides: Settings) -> Settings:
    """What a ClientApp reads of a run that was started with these, by the SuperNode's own call."""
    run = SimpleNamespace(override_config=overrides)
    found: Settings = get_fused_config_from_fab(BUNDLE.content, run)
    return found


RUNS: dict[str, Settings] = {
    "as a coordinator starts it": fused(USUAL),
    "no settings": {},
    "the bundle's own values of parameters": fused({}),
    "another value": fused(USUAL | {"local_epochs": 3}),
    "another type": fused(USUAL | {"local_epochs": 2.0}),
    "one for true": fused(USUAL | {"layers.on": 1}),
    "inside an object": fused(USUAL | {"layers.width": 16}),
    "an object's own name": {"layers": 8},
    "what no parameter is": fused(USUAL | {"temperature": 0.7}),
    "another type of it": fused(USUAL | {"members": True}),
    "no campaign's id": fused(USUAL | {"campaign": "rate=9"}),
    "what nobody declares": dict(fused(USUAL)) | {"more": 1},
}


def at_members() -> dict[str, str]:
    """One of four members has each of these settings: why it takes no part."""
    found = {}
    for name, settings in RUNS.items():
        world = World(4, 1, CHANGES, method="fedavg")
        for site in world.sites.values():
            site.held = BUNDLE.content
        world.settings["p-3"] = settings
        found[name] = world.run()[1].told[0].left_out.get("p-3", "")
    return found


def never(_task: Task, _rows: Sequence[int], _data: Path) -> Trained:
    raise AssertionError("it trained")


def count_rows(_data: Path) -> int:
    return 1


def at_a_member_of_files() -> dict[str, Any]:
    """The same by `take_part`: its answer, and what is told to the member."""
    now = int(time.time())
    times = {"valid_from": now - 60, "valid_until": now + 3_600}
    world = World(4, 1, {**CHANGES, **times}, method="fedavg")
    (PLACE / "member.toml").write_text(MEMBER.replace('"p-..."', '"p-0"'))
    os.environ[NAMED] = str(PLACE / "member.toml")
    board = {"keys": [one.public_jwk() for one in BOARD_KEYS], "threshold": 2}
    (PLACE / "board.json").write_text(json.dumps(board))
    roots = [base64.b64encode(BROKER.root).decode()]
    (PLACE / "trust.json").write_text(json.dumps({"roots": roots}))
    (PLACE / "consents.txt").write_text("\n\n")
    for name in ("state", "bundles"):
        (PLACE / name).mkdir()
    key = PLACE / "state" / "receipt.jwk"
    key.write_text(json.dumps(SoftwareKey.generate().private_jwk()))
    key.chmod(0o600)
    (PLACE / "bundles" / "application.fab").write_bytes(BUNDLE.content)
    running = PLACE / "running"
    with zipfile.ZipFile(PLACE / "bundles" / "application.fab") as files:
        files.extractall(running)
    told = {
        "campaign": world.document,
        "stage": "pilot",
        "server-round": 1,
        "opened-at": now,
        "taking-part": list(world.sites),
    }
    found: dict[str, Any] = {}
    for name in ("another value", "what no parameter is", "as a coordinator starts it"):
        context = Context(1, 1, {}, RecordDict(), dict(RUNS[name]))
        message = Message(
            RecordDict({CONFIG: ConfigRecord(told), ARRAYS: to_record(FIRST)}),
            dst_node_id=1,
            message_type="train",
        )
        message.metadata.__dict__["_message_id"] = "1"
        reply = take_part(message, never, count_rows, running, context)
        event = json.loads((PLACE / "state" / "events.jsonl").read_text().splitlines()[-1])
        found[name] = [reply.content["refused"]["code"], event["code"], event["hint"]]
    return found


def at_a_coordinator() -> dict[str, Any]:
    """A run whose campaign is a path: what is said, and whether a folder was made of it."""
    place = PLACE / "coordinator"
    place.mkdir()
    (place / "coordinator.toml").write_text(COORDINATOR)
    os.environ[COORDINATOR_NAMED] = str(place / "coordinator.toml")
    context = Context(1, 1, {}, RecordDict(), {"campaign": "../../../outside"})
    try:
        run_stage(cast("Grid", None), context, FIRST)
    except SettingsWrong as error:
        return {"why": str(error), "made": (PLACE / "outside").exists()}
    return {}


if __name__ == "__main__":
    InProcess({})  # messages can be made
    sys.stdout.write(
        json.dumps(
            {
                "started with": USUAL,
                "a parameter of that name": settings_of(
                    BUNDLE.content, PARAMETERS | {"campaign": "../../../outside"}, "fc-1"
                )["campaign"],
                "coordinator": at_a_coordinator(),
                "read": dict(RUNS["as a coordinator starts it"]),
                "members": at_members(),
                "files": at_a_member_of_files(),
            }
        )
    )
