"""A coordinator and two members of a real broker: Flower's strategies, gates, receipts, over HTTP.

Run by the environment of `make federation` for `test_at_broker.py`, which has the broker and its
clock: each line written here is a question to it, and the last one what was seen.
"""

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx  # noqa: TID251 (Flower's own client; httpx2 is not in its environment)
import numpy as np
from flwr.app import Context, Message, RecordDict

from credentials.jws import Signer
from credentials.keys import SoftwareKey
from federation.board import Board, PassedStage, SignedCampaign, read_signed_campaign
from federation.consents import ConsentCache, ConsentIssuer
from federation.errors import FederationError
from federation.flower.batches import in_calls
from federation.flower.broker import (
    BrokerClient,
    BrokerRefused,
    download_lists,
    round_key,
)
from federation.flower.desk import BrokerDesk
from federation.flower.in_process import InProcess
from federation.flower.member import Task, Trained, answer
from federation.flower.models import Checkpoints, Model
from federation.flower.round_values import HandedOn, RoundFailed
from federation.flower.rounds import Rounds
from federation.guard import Before
from federation.opening import Round
from federation.presence import RoundKey
from tests.federation.world import BUNDLE

FIRST: Model = {"weights": np.zeros(2)}


def ask(question: str) -> Any:  # noqa: ANN401 (an answer)
    sys.stdout.write(f"{question}\n")
    sys.stdout.flush()
    return json.loads(sys.stdin.readline())


def now() -> int:
    """The broker's time, which goes on by a second with each look at it."""
    return int(ask("now"))


class AtPort(httpx.BaseTransport):
    """Carries what is meant for the broker's public address to the port where it listens."""

    def __init__(self, port: int, losing: Sequence[str] = ()) -> None:
        self._inner = httpx.HTTPTransport()
        self._port = port
        self._losing = list(losing)
        self._lists: dict[str, bytes] = {}
        self.lost: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(port=self._port)
        if "/status/" in request.url.path:
            return self._list(request)
        if "ended token" in self._losing and request.url.path.endswith("/key"):
            # The broker has forgotten the token: it was rekeyed, or begun anew.
            self._losing.remove("ended token")
            self.lost.append("token")
            request.headers["Authorization"] = "DPoP ended"
        if f"busy {request.url.path.rpartition('/')[2]}" in self._losing:
            # A proxy before the broker has nobody to ask.
            self._losing.remove(f"busy {request.url.path.rpartition('/')[2]}")
            return httpx.Response(503, headers={"Retry-After": "0"}, text="busy")
        answered = self._inner.handle_request(request)
        last = request.url.path.rpartition("/")[2]
        if last in self._losing:
            # The broker did it, and its answer is lost.
            self._losing.remove(last)
            raise httpx.ReadError("lost")
        return answered

    def _list(self, request: httpx.Request) -> httpx.Response:
        """A list; once in a later round the one of before, as a cache on the way would have it."""
        before = self._lists.get(request.url.path)
        if "stale list" in self._losing and before is not None:
            self._losing.remove("stale list")
            self.lost.append("list")
            return httpx.Response(200, content=before)
        answered = self._inner.handle_request(request)
        self._lists[request.url.path] = answered.read()
        return httpx.Response(answered.status_code, content=self._lists[request.url.path])


@dataclass
class Site:
    member: str
    signer: Signer
    client: BrokerClient
    campaign: str
    credentials: Sequence[str]
    board: Board
    cache: ConsentCache
    kept: Before | None = None

    def now(self) -> int:
        return now()

    def bundle(self) -> bytes:
        return BUNDLE

    def passed(self, signed: SignedCampaign) -> PassedStage | None:
        return None

    def consents(self) -> Sequence[str]:
        return self.credentials

    def lists(self, opened_at: int, addresses: Sequence[str]) -> Mapping[str, str]:
        return download_lists(self.client, opened_at, addresses)

    def before(self, signed: SignedCampaign) -> Before:
        return self.kept or Before.first(signed, self.member)

    def keep(self, before: Before) -> None:
        self.kept = before

    def note(self, left_out: Mapping[str, int]) -> None:
        pass

    def round_key(self, opened: Round) -> RoundKey:
        return round_key(self.client, self.campaign, opened)

    def train(self, task: Task, rows: Sequence[int]) -> Trained:
        return Trained({"weights": task.model["weights"] + len(rows)}, {"auc": 0.75})


def main(given: dict[str, Any], directory: Path) -> dict[str, Any]:
    carriers: list[AtPort] = []

    def client(told: dict[str, Any], *losing: str) -> BrokerClient:
        key = SoftwareKey.from_private_jwk(told["key"])
        carrier = AtPort(given["port"], losing)
        carriers.append(carrier)
        return BrokerClient(given["base"], told["id"], key, now=now, carrier=carrier)

    desk = BrokerDesk(
        client(
            given["coordinator"], "token", "rounds", "batch", "close", "busy token", "busy close"
        ),
        given["campaign"],
    )
    told = desk.told()
    board = Board.of(told["board"]["keys"], told["board"]["threshold"])
    document = json.dumps(told["document"]).encode()
    signed = read_signed_campaign(document, board)
    anchors = tuple(base64.b64decode(one) for one in given["anchors"])
    issuer = ConsentIssuer(anchors, given["base"], f"{given['base']}/vct/consent/1")
    sites = {
        one["id"]: Site(
            one["id"],
            SoftwareKey.from_private_jwk(one["receipts"]),
            client(one, "ended token", "stale list"),
            given["campaign"],
            one["credentials"],
            board,
            ConsentCache(issuer),
        )
        for one in given["members"]
    }
    nodes = {name: number for number, name in enumerate(sorted(sites), start=2)}

    def rounds() -> Rounds:
        return Rounds(
            signed,
            document,
            "consortium",
            desk,
            Checkpoints(directory, signed.campaign_hash),
            nodes,
            {one["member"]: one["receipt_key"] for one in told["members"]},
        )

    answered: list[str] = []
    contexts = {name: Context(1, 1, {}, RecordDict(), {}) for name in sites}

    def node(name: str, message: Message) -> Message:
        reply = answer(message, sites[name], contexts[name])
        answered.append(name)
        if len(answered) == 2:
            ask("withdraw")
        if len(answered) == 6:
            ask(f"revoke {name}")
        return reply

    grid = InProcess({number: partial(node, name) for name, number in nodes.items()})
    running, failed = rounds(), {}
    try:
        running.go_on(grid, FIRST)
    except RoundFailed as error:
        failed = error.left_out
    return {
        "models": [one.checkpoint.model_out for one in running.told],
        "weights": [
            float(running.checkpoints.model(one.checkpoint)["weights"][0]) for one in running.told
        ],
        "failed": failed,
        "answered": answered,
        "lost": [carrier.lost for carrier in carriers if carrier.lost],
        "again": _code(lambda: rounds().go_on(grid, FIRST)),
        "not_a_member": _code(lambda: desk.open("pilot", 1, running.told[0].checkpoint.model_out)),
        "calls": [
            sorted(one)
            for one in in_calls(
                {f"p-{at}": HandedOn("", bytes(size)) for at, size in enumerate((1, 400_000, 1, 1))}
            )
        ],
        "by_a_member": _code(
            lambda: BrokerDesk(client(given["members"][0]), given["campaign"]).open(
                "consortium", 9, running.told[0].checkpoint.model_out
            )
        ),
    }


def _code(call: Any) -> str:  # noqa: ANN401
    try:
        call()
    except BrokerRefused as error:
        return f"{error.status} {error.told}"
    except FederationError as error:
        return error.code
    return "done"


if __name__ == "__main__":
    seen = main(json.loads(sys.stdin.readline()), Path(sys.argv[1]))
    sys.stdout.write(f"seen {json.dumps(seen)}\n")
