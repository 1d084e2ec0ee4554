"""Somebody with the coordinator's machine, who runs the campaign with a parameter of its own.

Run by the environment of `make federation` for `test_up.py`, with the coordinator's settings file:
starts its SuperLink without the coordinator, and a run of the board's application by the control
token. Prints how the run ended.
"""

import json
import sys
import time
from pathlib import Path

from federation.flower.bundle import Bundle
from federation.flower.control import Control, ControlRefused
from federation.flower.events import Events
from federation.flower.places import Places
from federation.flower.settings import CoordinatorHome
from federation.flower.up import superlink

SECONDS = 300
STEPS = 16


def control_of(home: CoordinatorHome) -> Control:
    places = Places.open(home.link)
    root = (places.directory / "loopback.pem").read_bytes()
    return Control(home.control_port, places.control_token.read_text(), root)


def online(home: CoordinatorHome) -> set[int]:
    """The nodes that take part and are there; none while the SuperLink starts."""
    try:
        with control_of(home) as control:
            return {one.id for one in control.nodes() if one.status == "online"}
    except (ControlRefused, OSError):
        return set()


def run_by_itself(home: CoordinatorHome) -> str:
    until = time.monotonic() + SECONDS
    admitted = set(json.loads(Places(home.link).admitted.read_bytes()))
    while not admitted <= online(home):
        if time.monotonic() > until:
            raise TimeoutError("the members do not come back")
        time.sleep(0.5)
    [file] = home.bundles.glob("*.fab")
    [campaign] = [one.name for one in (home.state / "campaigns").iterdir()]
    with control_of(home) as control:
        kept = control.put(Bundle.read(file))
        run = control.start(kept, {"campaign": campaign, "steps": STEPS})
        while not control.run(run).over:
            if time.monotonic() > until:
                raise TimeoutError("its run does not end")
            time.sleep(0.5)
        return control.run(run).status


if __name__ == "__main__":
    settings = CoordinatorHome.read(Path(sys.argv[1]))
    link = superlink(settings, Events(as_json=True, output=sys.stderr))
    link.look()
    try:
        status = run_by_itself(settings)
    finally:
        link.stop()
    sys.stdout.write(json.dumps({"status": status}))
