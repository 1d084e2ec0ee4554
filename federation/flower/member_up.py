"""A member, supervised: its keys, its checks, its SuperNode, and what its applications did.

All that can be wrong on this machine is found before the SuperNode starts. That the operator has
yet to admit it is not: it asks again until it is let in.
"""

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from credentials.keys import SoftwareKey
from federation.errors import FederationError
from federation.flower.broker import BrokerClient, BrokerRefused
from federation.flower.bundle import Bundle
from federation.flower.events import Changes, Events, Tail
from federation.flower.places import Places, write_private
from federation.flower.settings import MemberHome, SettingsWrong, read_key
from federation.flower.site import NAMED
from federation.flower.supervised import Supervised, until_told
from federation.flower.warm import WarmCache

TURN_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 60.0
UNAUTHORIZED: Final = frozenset({400, 401, 403})
REFUSED: Final = (
    *("401", "403", "Unauthorized", "PERMISSION", "not registered", "NODE_"),
    "Failed to activate SuperNode",
)
UNREACHABLE: Final = ("ConnectError", "Connection refused", "ConnectTimeout", "unreachable")
UNTRUSTED: Final = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed")


def run_member(file: Path, *, as_json: bool) -> int:
    """Run until told to stop. Raises `SettingsWrong` before anything is started."""
    events = Events(as_json=as_json)
    home = MemberHome.read(file)
    places = Places.open(home.state)
    make_keys(home, places, events)
    check(home, events)
    node = supernode(home, events)
    tail, changes = Tail(home.events), Changes(events)
    checked = -CHECK_SECONDS

    def turn() -> None:
        nonlocal checked
        for event in tail.new():
            events.tell(event.pop("event"), **event)
        if time.monotonic() - checked >= CHECK_SECONDS:
            checked = time.monotonic()
            ask_broker(home, changes)

    try:
        until_told(node.look, turn, events, seconds=TURN_SECONDS)
    finally:
        node.stop()
    events.tell("stopped")
    return 0


def make_keys(home: MemberHome, places: Places, events: Events) -> None:
    """Make the node's key and that of receipts, once, and say what the operator needs."""
    if places.node_key.exists() and home.receipt_key.exists():
        return
    places.make_node_key()
    if not home.receipt_key.exists():
        key = SoftwareKey.generate()
        public = json.dumps(key.public_jwk()).encode()
        # The public one first: with the private one the pair is there.
        write_private(home.receipt_public_key, public)
        write_private(home.receipt_key, json.dumps(key.private_jwk()).encode())
    events.tell(
        "keys_made",
        node=str(places.node_public_key),
        receipts=str(home.receipt_public_key),
        member=home.member,
    )


def check(home: MemberHome, events: Events) -> None:
    """Look at all that lies on this machine. Raises `SettingsWrong` for what cannot be used."""
    home.decides()
    home.signer()
    read_key(home.client_key)
    for name, file in (
        ("rows", home.rows),
        ("root_certificates", home.root_certificates),
        ("trusted_entities", home.trusted_entities),
    ):
        if not file.exists():
            raise SettingsWrong(f"{name}: there is no {file}; {FROM[name]}")
    if not [one for one in _bundles(home) if one.signatures]:
        raise SettingsWrong(
            f"bundles: there is no signed application in {home.bundles}: put the .fab and its "
            ".fab.signatures there, as the board gives them out"
        )
    cache, credentials = WarmCache(home), home.credentials()
    refused = cache.learn([one for one in credentials if one], int(time.time()))
    if not cache.consents:
        raise SettingsWrong(
            f"consents: none of {len(credentials)} in {home.consents} verifies "
            f"({dict(refused) or 'it is empty'}): is trust the broker's, and broker its address "
            f"({home.broker})?"
        )
    check_lines(home, len(credentials))
    facts = {"rows": len(credentials), "consents": len(cache.consents)}
    events.tell("checked", member=home.member, **facts, refused=refused.total(), why=dict(refused))


def check_lines(home: MemberHome, rows: int) -> None:
    """Check that each row has its business line, where lines are named. Raises `SettingsWrong`."""
    lines = home.business_lines()
    if lines is not None and len(lines) != rows:
        raise SettingsWrong(
            f"lines: {len(lines)} in {home.lines}, and {rows} in {home.consents}: one for each "
            "row, in the rows' order, an empty one for a row of no business line"
        )


FROM: Final = {
    "rows": "it is your data, as the application reads it",
    "root_certificates": "the coordinator hands it out (state/link/members.pem there)",
    "trusted_entities": "the board hands it out: names and OpenSSH Ed25519 keys",
}


def ask_broker(home: MemberHome, changes: Changes) -> None:
    """Whether the broker knows this member; rounds need its keys and lists."""
    try:
        key = read_key(home.client_key)
        with BrokerClient(home.broker, home.member, key, now=lambda: int(time.time())) as client:
            client.log_in()
    except FederationError as error:
        hint = "is it running, is `broker` its address?"
        if isinstance(error, SettingsWrong) or (
            isinstance(error, BrokerRefused) and error.status in UNAUTHORIZED
        ):
            hint = "is `member` your client id and client_key its key?"
        changes.tell("broker", "broker_silent", why=str(error), hint=hint)
        return
    changes.tell("broker", "broker_answers")


def supernode(home: MemberHome, events: Events) -> Supervised:
    """The SuperNode with its SuperExec, supervised."""
    command = [sys.executable, "-m", "federation.flower", "supernode"]
    command += ["--directory", str(home.state), "--superlink", home.superlink]
    command += ["--root-certificates", str(home.root_certificates)]
    command += ["--trusted-entities", str(home.trusted_entities), "--port", str(home.port)]
    command += ["--environment", f"{NAMED}={home.file}"]
    log = home.state / "supernode.log"
    return Supervised("SuperNode", command, os.environ, log, events, hint=cure)


def cure(log: str) -> str:
    """What the end of a SuperNode's log says to do."""
    if any(word in log for word in UNTRUSTED):
        return "the coordinator's certificate is not in root_certificates: ask for the file anew"
    if any(word in log for word in UNREACHABLE):
        return "no coordinator answers: is `superlink` its address, does it run?"
    if any(word in log for word in REFUSED):
        # Flower says the same of a key that was never registered and of one that it takes to run.
        return (
            "the coordinator does not let this node in: the operator registers the two public "
            "keys (federation member add) and admits you (federation member admit). One that was "
            "lost is let in a minute later; where it is not, another one runs with the same keys"
        )
    return ""


def _bundles(home: MemberHome) -> Iterable[Bundle]:
    return [Bundle.read(file) for file in sorted(home.bundles.glob("*.fab"))]
