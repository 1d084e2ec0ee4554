"""A member's `Site` out of its files: what is refused before anything is trained.

Run by the environment of `make federation` for `test_at_member.py`: prints one JSON object.
"""

import base64
import json
import os
import sys
import threading
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx  # noqa: TID251 (Flower's own client; httpx2 is not in its environment)
import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from credentials.keys import SoftwareKey
from federation.board import SignedCampaign
from federation.errors import FederationError
from federation.flower import site as site_module
from federation.flower.broker import BrokerClient
from federation.flower.events import Changes, Events
from federation.flower.in_process import InProcess
from federation.flower.member import Task, Trained
from federation.flower.member_up import ask_broker, cure
from federation.flower.models import kept_model, model_bytes, model_hash
from federation.flower.settings import MEMBER, MemberHome
from federation.flower.site import NAMED, FileSite, take_part
from federation.flower.strategy import CONFIG
from federation.guard import Before
from federation.privacy import Spent, Step
from tests.federation.world import Broker

PLACE = Path(sys.argv[1])
sys.path.insert(0, str(Path(__file__).parents[3] / "dev" / "federation" / "application"))

from churn.training import count_rows  # noqa: E402 (as Flower would find it)

ROW = "1,2,3,4,5,0\n"


def settle() -> None:
    """The files of a member."""
    (PLACE / "member.toml").write_text(MEMBER)
    os.environ[NAMED] = str(PLACE / "member.toml")
    keys = [SoftwareKey.generate() for _ in range(3)]
    board = {"keys": [one.public_jwk() for one in keys], "threshold": 2}
    (PLACE / "board.json").write_text(json.dumps(board))
    (PLACE / "trust.json").write_text(json.dumps({"roots": [_base64(Broker().root)]}))
    (PLACE / "state").mkdir(exist_ok=True)
    receipts = PLACE / "state" / "receipt.jwk"
    receipts.write_text(json.dumps(keys[0].private_jwk()))
    receipts.chmod(0o600)


def message() -> Message:
    told = RecordDict({CONFIG: ConfigRecord({"stage": "pilot", "server-round": 1})})
    made = Message(told, dst_node_id=1, message_type="train")
    made.metadata.__dict__["_message_id"] = "1"
    return made


def never(_task: Task, _rows: object, _data: Path) -> Trained:
    raise AssertionError("it trained")


def site() -> FileSite:
    return FileSite.of(message(), never, count_rows, PLACE)


def code_of(act: Any) -> str:  # noqa: ANN401
    """How it is refused, "" where it is not."""
    try:
        act()
    except FederationError as error:
        return error.code
    except ValueError:
        return "ValueError"
    return ""


def places() -> dict[str, str]:
    """Each line of consents is one row's, and no row is passed over."""
    found = {}
    for name, rows, consents in (
        ("alike", ROW * 3, "a\n\nc\n"),
        ("more rows", ROW * 4, "a\n\nc\n"),
        ("fewer rows", ROW * 2, "a\n\nc\n"),
        ("a blank row", ROW + "\n" + ROW, "a\n\nc\n"),
        ("a comment", ROW + "#" + ROW + ROW, "a\n\nc\n"),
        ("a comment behind", ROW + "1,2,3,4,5,0 # gone\n" + ROW, "a\n\nc\n"),
    ):
        (PLACE / "rows").write_text(rows)
        (PLACE / "consents.txt").write_text(consents)
        found[name] = code_of(site().consents)
    return found


def brokers() -> dict[str, str]:
    """What is no token of a broker's, and a key that cannot be read, end nothing."""
    found = {}
    for name, told in (
        ("a portal", httpx.Response(200, text="<html>log in")),
        ("half a token", httpx.Response(200, json={"access_token": "t"})),
        ("no number", httpx.Response(200, json={"access_token": "t", "expires_in": "soon"})),
    ):
        with BrokerClient(
            "https://broker.example",
            "p-0",
            SoftwareKey.generate(),
            now=lambda: 1,
            carrier=httpx.MockTransport(lambda _, told=told: told),
        ) as client:
            found[name] = code_of(client.log_in)
    shown = StringIO()
    home = MemberHome.read(PLACE / "member.toml")
    ask_broker(home, Changes(Events(as_json=True, output=shown)))
    told = json.loads(shown.getvalue())
    found["no key"] = f"{told['event']} {'client_key' in told['hint']}"
    return found


def kept_once() -> dict[str, Any]:
    """Two answers of one campaign go one after the other, and a round is kept once."""
    signed = cast("SignedCampaign", SimpleNamespace(campaign_hash="0" * 43))
    first, second = site(), site()
    begun = first.before(signed)
    seen: list[Before] = []
    other = threading.Thread(target=lambda: seen.append(second.before(signed)), daemon=True)
    other.start()
    other.join(0.3)
    waits = other.is_alive()
    now = replace(begun, stage="pilot", number=2, opened_at=1)
    first.keep(now)
    first.close()
    other.join(60)
    # The second one has it now; a third waits, as long as it is told to.
    waited = site_module.WAIT_SECONDS
    vars(site_module).update(WAIT_SECONDS=0)
    third = site()
    held = code_of(lambda: third.before(signed))
    third.close()
    vars(site_module).update(WAIT_SECONDS=waited)
    told = {
        "waits": waits,
        "not for ever": held,
        "sees": [one == now for one in seen],
        "again": code_of(lambda: second.keep(now)),
        "earlier": code_of(lambda: second.keep(replace(now, number=1))),
        "later": code_of(lambda: second.keep(replace(now, stage="consortium", number=1))),
    }
    second.close()
    return told


def done_anew() -> dict[str, Any]:
    """A campaign that does another's rounds anew goes on with what the member kept of that."""
    old, new, strange = ("A" * 43, "E" * 43, "I" * 43)
    follows = f'[follows]\n"{new}" = "{old}"\n"{strange}" = "{"M" * 43}"\n'
    (PLACE / "member.toml").write_text(MEMBER + follows)

    def before(campaign: str) -> Before:
        made = site()
        try:
            return made.before(cast("SignedCampaign", SimpleNamespace(campaign_hash=campaign)))
        finally:
            made.close()

    spent = Spent().after(Step(0.5, 2.0), 3)
    kept = replace(before(old), stage="pilot", number=2, opened_at=1, spent=spent)
    site().keep(replace(kept, out=frozenset({"gone"})))
    begun = before(new)
    not_kept = code_of(lambda: before(strange))
    site().keep(
        replace(begun, stage="pilot", number=1, opened_at=2, spent=spent.after(Step(1.0, 1.0)))
    )
    (PLACE / "member.toml").write_text(MEMBER)
    return {
        "begins": [begun.campaign == new, begun.stage, begun.number, begun.opened_at],
        "spent": begun.spent == spent,
        "out": sorted(begun.out),
        "then its own": before(new).spent != spent,
        "others begin": before("Q" * 43).spent == Spent(),
        "not kept": not_kept,
    }


def kept_models() -> dict[str, str]:
    """A model by its hash, of any campaign, and nothing else."""
    model = {"weights": np.ones(2)}
    place = PLACE / "models" / "one"
    place.mkdir(parents=True)
    (place / "pilot-000001.safetensors").write_bytes(model_bytes(model))
    found = kept_model(PLACE / "models", model_hash(model))
    return {
        "found": str(model_hash(found) == model_hash(model)),
        "another": code_of(lambda: kept_model(PLACE / "models", "U" * 43)),
    }


def cures() -> dict[str, str]:
    """What the end of a SuperNode's log says to do, by what Flower writes there."""
    said = {
        "lost": "[code: 2004] Failed to activate SuperNode.",
        "not admitted": "httpx.HTTPStatusError: Client error '401 Unauthorized' for url",
        "nobody there": "httpx.ConnectError: [Errno 111] Connection refused",
        "strange": "KeyError",
    }
    return {name: " ".join(cure(log).split()[:4]) for name, log in said.items()}


def unusable() -> dict[str, Any]:
    """Files that cannot be used are an answer and an event, and no error of Flower's."""
    found: dict[str, Any] = {}
    for name in ("board.json", "trust.json", "state/receipt.jwk", "member.toml"):
        file = PLACE / name
        kept = file.read_bytes()
        file.write_bytes(b"[]")
        reply = take_part(message(), never, count_rows, PLACE)
        file.write_bytes(kept)
        found[name] = reply.content["refused"]["code"]
    told = [json.loads(line) for line in (PLACE / "state" / "events.jsonl").open()]
    found["told"] = [Path(one["hint"].split()[0].rstrip(":")).name for one in told]
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    InProcess({})  # messages can be made
    settle()
    sys.stdout.write(
        json.dumps(
            {
                "places": places(),
                "brokers": brokers(),
                "kept": kept_once(),
                "anew": done_anew(),
                "models": kept_models(),
                "cures": cures(),
                "unusable": unusable(),
            }
        )
    )
