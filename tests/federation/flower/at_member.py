"""A member's `Site` out of its files: what is refused before anything is trained.

Run by the environment of `make federation` for `test_at_member.py`: prints one JSON object.
"""

import base64
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import httpx  # noqa: TID251 (Flower's own client; httpx2 is not in its environment)
import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict

from credentials.keys import SoftwareKey
from federation.board import SignedCampaign
from federation.errors import FederationError
from federation.flower import refusals
from federation.flower.broker import BrokerClient, BrokerRefused
from federation.flower.desk import BrokerDesk
from federation.flower.events import Changes, Events
from federation.flower.in_process import InProcess
from federation.flower.keeping import Keeping
from federation.flower.member import Task, Trained
from federation.flower.member_up import ask_broker, check_lines, cure
from federation.flower.models import kept_model, model_bytes, model_hash
from federation.flower.places import write_private
from federation.flower.round_values import HandedOn
from federation.flower.settings import MEMBER, MemberHome
from federation.flower.site import NAMED, FileSite, take_part
from federation.flower.strategy import CONFIG
from federation.guard import Before
from federation.privacy import RowPrivacy, Spent, Step, after_round
from tests.federation.world import Broker

PLACE = Path(sys.argv[1])
sys.path.insert(0, str(Path(__file__).parents[3] / "dev" / "federation" / "application"))

from churn.training import count_rows  # noqa: E402 (as Flower would find it)

PRIVACY = RowPrivacy(
    epsilon="8",
    delta="0.00001",
    noise_multiplier="2",
    clip_norm="1",
    sampling_rate="0.5",
    steps_per_round=3,
)
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


def business_lines() -> dict[str, Any]:
    """What a member says of its rows' business lines, and what is wrong with it."""
    found: dict[str, Any] = {"not said": site().business_lines()}
    (PLACE / "member.toml").write_text(MEMBER.replace("# lines =", "lines ="))
    found["no file"] = code_of(site().business_lines)
    for name, told in (
        ("said", "retail\n\ncredit-cards\n"),
        ("carriage returns", "retail\r\n\r\ncredit-cards\r\n"),
        ("capital letters", "retail\nRetail\n"),
        ("spaces", "retail\nretail \n"),
        ("a comment", "# lines\nretail\n"),
        ("no letters", "retail\n零售\n"),
        ("too long", "r" * 33 + "\n"),
        ("nothing", ""),
    ):
        (PLACE / "lines.txt").write_text(told, newline="")
        found[name] = code_of(site().business_lines) or site().business_lines()
    (PLACE / "lines.txt").write_text("retail\nRetail\n")
    made = site()
    code_of(made.business_lines)
    found["hint"] = made.hint.partition("lines.txt, ")[2].partition(":")[0]
    (PLACE / "lines.txt").write_text("retail\n\n")
    home = MemberHome.read(PLACE / "member.toml")
    found["at the start"] = [code_of(partial(check_lines, home, rows)) for rows in (1, 2, 3)]
    (PLACE / "lines.txt").write_bytes(b"\xff\n")
    found["no text"] = code_of(site().business_lines)
    (PLACE / "member.toml").write_text(MEMBER)
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
    found |= no_brokers()
    shown = StringIO()
    home = MemberHome.read(PLACE / "member.toml")
    ask_broker(home, Changes(Events(as_json=True, output=shown)))
    told = json.loads(shown.getvalue())
    found["no key"] = f"{told['event']} {'client_key' in told['hint']}"
    return found


def no_brokers() -> dict[str, str]:
    """What stands between answers in the broker's stead, after the token: refused as malformed."""
    found = {}
    for name, told in (
        ("a page", httpx.Response(200, text="<html>log in")),
        ("a list", httpx.Response(200, json=[])),
        ("nothing in it", httpx.Response(200, json={})),
        ("strange", httpx.Response(200, json={"opened_at": True, "refused": [1]})),
    ):
        with client_of(partial(always, told)) as client:
            desk = BrokerDesk(client, "fc-1")
            given = {"p-0": HandedOn("t", b"")}
            told_each = {
                told_of(desk.last),
                told_of(partial(desk.open, "pilot", 1, "m")),
                told_of(partial(desk.receipts, "pilot", 1, given)),
            }
            found[name] = " ".join(told_each)
    return found


def older_broker() -> dict[str, Any]:
    """One that takes no receipts in batches takes them one by one; one with none says so."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/batch"):
            seen.append("batch")
            return httpx.Response(404, json={"code": "not_found"})
        member = json.loads(request.content)["member"]
        seen.append(member)
        if member == "p-1":
            return httpx.Response(409, json={"code": "member_not_admitted"})
        return httpx.Response(200, json={})

    given = {f"p-{number}": HandedOn("t", b"") for number in range(3)}
    with client_of(answer) as client:
        desk = BrokerDesk(client, "fc-1")
        refused = [desk.receipts("pilot", number, given) for number in (1, 2)]
    with client_of(lambda _: httpx.Response(404, json={"code": "not_found"})) as client:
        none = told_of(partial(BrokerDesk(client, "fc-1").receipts, "pilot", 1, given))
    return {"refused": refused, "seen": seen, "none": none}


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> BrokerClient:
    """A member's client of a broker that gives a token and then answers so."""

    def carried(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
        return answer(request)

    return BrokerClient(
        "https://broker.example",
        "p-0",
        SoftwareKey.generate(),
        now=lambda: 1,
        carrier=httpx.MockTransport(carried),
    )


def always(told: httpx.Response, _: httpx.Request) -> httpx.Response:
    return told


def told_of(act: Callable[[], object]) -> str:
    """The broker's code, as far as it was refused."""
    try:
        act()
    except BrokerRefused as error:
        return error.told
    return "done"


def kept_once() -> dict[str, Any]:
    """Two answers of one campaign go one after the other, and a round is kept once."""
    first, second = site(), site()
    begun = first.before(signed("0" * 43))
    seen: list[Before] = []
    begins = threading.Event()

    def again() -> None:
        begins.set()
        seen.append(second.before(signed("0" * 43)))

    other = threading.Thread(target=again, daemon=True)
    other.start()
    begins.wait(60)
    other.join(0.3)
    waits = other.is_alive()
    now = replace(begun, stage="pilot", number=2, opened_at=1)
    first.keep(now)
    first.close()
    other.join(60)
    # The second one has it now; a third does not wait for it.
    held = code_of(lambda: hurried().begin(signed("0" * 43)))
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


def a_child_left() -> str:
    """What training forked has the lock's file open, and lives on: the next answer goes on."""
    first = site()
    first.before(signed("c" * 42 + "A"))
    child = os.fork()
    if not child:
        signal.pause()
    try:
        first.close()
        return code_of(lambda: hurried().begin(signed("c" * 42 + "A")))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def signed(campaign: str) -> SignedCampaign:
    """As far as what is kept asks."""
    return cast("SignedCampaign", SimpleNamespace(campaign_hash=campaign))


def hurried() -> Keeping:
    """An answer that waits for no other."""
    return Keeping(MemberHome.read(PLACE / "member.toml"), 0)


def follow(**lines: str) -> None:
    """The member's settings, with what follows what: of each campaign the first letter."""
    told = [f'"{new * 43}" = "{old * 43}"\n' for new, old in lines.items()]
    (PLACE / "member.toml").write_text(MEMBER + "[follows]\n" + "".join(told))


def rounds(campaign: str, most: int = 99) -> int:
    """Rounds of a campaign, each kept, until the budget that the member says is spent."""
    for done in range(most):
        made = site()
        try:
            before = made.before(signed(campaign * 43))
            spent = after_round(PRIVACY, before.spent)
            if spent is None:
                return done
            number, opened_at = before.number + 1, before.opened_at + 1
            now = replace(before, stage="pilot", number=number, opened_at=opened_at)
            made.keep(replace(now, spent=spent))
        finally:
            made.close()
    return most


def done_anew() -> dict[str, Any]:
    """A campaign that does another's rounds anew goes on with what the member kept of that."""
    follow(E="A", I="M")

    def before(campaign: str) -> Before:
        made = site()
        try:
            return made.before(signed(campaign * 43))
        finally:
            made.close()

    spent = Spent().after(Step(0.5, 2.0), 3)
    kept = replace(before("A"), stage="pilot", number=2, opened_at=1, spent=spent)
    site().keep(replace(kept, out=frozenset({"gone"})))
    begun = before("E")
    not_kept = code_of(lambda: before("I"))
    rounds("E", 1)
    (PLACE / "member.toml").write_text(MEMBER)
    return {
        "begins": [begun.campaign == "E" * 43, begun.stage, begun.number, begun.opened_at],
        "spent": begun.spent == spent,
        "out": sorted(begun.out),
        "then its own": before("E").spent != spent,
        "others begin": before("Q").spent == Spent(),
        "not kept": not_kept,
    }


def spent_once() -> dict[str, Any]:
    """However campaigns follow each other, their rounds are as many as one budget pays for."""
    (PLACE / "member.toml").write_text(MEMBER)
    alone = rounds("U")
    first = rounds("Y", 1)
    follow(c="Y", g="Y")
    # It may have to be begun anew: nothing is marked before anything is spent.
    made = site()
    begun = made.before(signed("c" * 43))
    held = code_of(lambda: hurried().begin(signed("Y" * 43)))
    made.close()
    goes_on = rounds("Y", 1)
    rest = rounds("c")
    found = {
        "under way": held,
        "begun alone": begun.number == 0,
        "rounds": first + goes_on + rest == alone,
        "it goes on": code_of(lambda: rounds("Y")),
        "a second one": code_of(lambda: rounds("g")),
    }
    # Ended between the two files: what follows is the only one that may.
    rounds("k", 1)
    follow(o="k", s="k")
    made = site()
    into = made.before(signed("o" * 43))
    with patch("federation.flower.keeping.write_private", one_alone()), suppress(Crash):
        made.keep(replace(into, stage="pilot", number=1, opened_at=9))
    made.close()
    found["ended between"] = [code_of(partial(rounds, one, 1)) for one in ("k", "s", "o")]
    # The line is written when the campaign has begun.
    rounds("w", 1)
    follow(w="k")
    found["too late"] = code_of(lambda: rounds("w", 1))
    (PLACE / "member.toml").write_text(MEMBER)
    return found


class Crash(Exception):
    """Whatever ends a process."""


def one_alone() -> Callable[[Path, bytes], None]:
    """Writes one file, and ends at the second one."""
    left = [write_private]

    def write(file: Path, data: bytes) -> None:
        if not left:
            raise Crash
        left.pop()(file, data)

    return write


def told_why() -> bool:
    """What is wrong with the settings of a campaign is told to the member, with its cure."""
    follow(I="M")
    made, told = site(), ""
    try:
        made.before(signed("I" * 43))
    except FederationError as error:
        told = refusals.cure_of(error)
    made.close()
    (PLACE / "member.toml").write_text(MEMBER)
    return "[follows]" in told


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
        "lost or never registered": "[code: 2004] Failed to activate SuperNode.",
        "not admitted": "httpx.HTTPStatusError: Client error '401 Unauthorized' for url",
        "nobody there": "httpx.ConnectError: [Errno 111] Connection refused",
        "strange": "KeyError",
    }
    told = {name: " ".join(cure(log).split()[:4]) for name, log in said.items()}
    both = cure(said["lost or never registered"])
    return told | {"both": str("member add" in both and "same keys" in both)}


def unusable() -> dict[str, Any]:
    """Files that cannot be used are an answer and an event, and no error of Flower's."""
    found: dict[str, Any] = {}
    for name in ("board.json", "trust.json", "state/receipt.jwk", "member.toml"):
        file = PLACE / name
        kept = file.read_bytes()
        file.write_bytes(b"[]")
        reply = take_part(message(), never, count_rows, PLACE, Context(1, 1, {}, RecordDict(), {}))
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
                "lines": business_lines(),
                "brokers": brokers(),
                "older": older_broker(),
                "kept": kept_once(),
                "child": a_child_left(),
                "anew": done_anew(),
                "once": spent_once(),
                "why": told_why(),
                "models": kept_models(),
                "cures": cures(),
                "unusable": unusable(),
            }
        )
    )
