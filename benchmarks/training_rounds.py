"""The broker's share of a round of federated training: 100 members, in process, against ES256.

Opening, each member's key, the receipts in one call, each with its 66 leaves, closing: processor
time of this thread, on SQLite, without HTTP. What members do is not counted. 50 ms were asked where
an ES256 verification takes 67 us, so 746 of these.
"""

import asyncio
import itertools
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from benchmarks.figure import Figure, ratio_at_most
from benchmarks.probe import interleaved, verification
from benchmarks.seeding import new_partner
from broker.store.acting import acting_for_all
from broker.usecases import model_version, training_opening, training_receipt, training_round
from broker.usecases.training_receipt import RefusedReceipt, Sent
from credentials.jcs import b64url
from federation.presence import RoundKey
from federation.receipt import UsedList
from tests.broker.flow_world import world
from tests.broker.training import BEGAN, Training, invented, training

MEMBERS, ROUNDS = 100, 5
STAGE, TENANT = "consortium", "demo"
HELD = 746
"""So many verifications a round, which is 50 ms; 584 to 645 under load 7 to 9 (2026-11-28)."""


def run() -> list[Figure]:
    """Measure rounds of 100 members."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with _consortium() as at:
        rounds = _Rounds(at)
        taken = interleaved({"signature": verification(), "round": rounds.one}, rounds=ROUNDS)
    return [
        Figure(
            name="training_rounds: the broker's share of a round of 100 members, in verifications",
            value=1e3 * taken["round"],
            unit="ms",
            probe=1e3 * taken["signature"],
            bound=ratio_at_most(HELD),
        )
    ]


@contextmanager
def _consortium() -> Iterator[Training]:
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        acting_for_all(),
        world(Path(folder) / "home") as broker,
    ):
        more = [new_partner(broker.ctx, f"Member {number}") for number in range(MEMBERS - 1)]
        yield training(broker, broker.partner, *more, minimum_members=MEMBERS, rounds=100)


class _Rounds:
    """Rounds one after the other; what members do in them is not counted."""

    def __init__(self, at: Training) -> None:
        self._at, self._before = at, BEGAN
        self._numbers = itertools.count(1)
        self._loop = asyncio.Runner()

    def one(self) -> float:
        """A round; the broker's seconds."""
        at, number = self._at, next(self._numbers)
        ctx, where = at.world.ctx, (TENANT, at.campaign)
        start = time.thread_time()
        opened = training_opening.open_round(
            ctx, *where, stage=STAGE, number=number, model_in=self._before
        )
        names = tuple(at.members)
        keys = self._loop.run(self._keys(names, number))
        spent = time.thread_time() - start
        at.world.time[0] = opened.row.opened_at
        shown = at.call("GET", "").json()["last_round"]
        used = (UsedList(shown["lists"][0], BEGAN, shown["opened_at"]),)
        sent = [invented(at, shown, name, keys[name], lists=used) for name in names]
        model = b64url(number.to_bytes(32))
        start = time.thread_time()
        receipts = [Sent(told["member"], told["receipt"], told["leaves"]) for told in sent]
        answered = training_receipt.accept_receipts(ctx, *where, STAGE, number, receipts)
        model_version.close_round(
            ctx, *where, STAGE, number, model_out=model, metrics={"auc": "0.9"}, epsilon=None
        )
        spent += time.thread_time() - start
        self._before = model
        if any(isinstance(one, RefusedReceipt) for one in answered):
            raise AssertionError("a receipt was refused: this measures no round")
        return spent

    async def _keys(self, names: Iterable[str], number: int) -> dict[str, RoundKey]:
        where = (self._at.world.ctx, TENANT, self._at.campaign, STAGE, number)
        return {name: (await training_round.round_key(*where, name)).key for name in names}
