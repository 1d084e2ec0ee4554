"""The coordinator's part: rounds, one after the other, each opened, checked, kept and closed.

A round, in this order; whatever ends this process between two steps, `Rounds.go_on` finds it:

1. The broker opens it (`Desk.open`): the time from which on lists count, and who takes part.
2. Each of them is sent the signed campaign, the announcement and the model.
3. Each reply is looked at: its receipt verifies under the member's registered key, is of this
   round and these models, its leaves are those it covers; the update fits the model; its weight is
   the bucket of rows that the receipt covers. What fails counts for nothing (`Told.left_out`).
4. The broker takes its receipt (`Desk.receipt`): one that it refuses counts for nothing either.
5. Too few are left: the round has failed (`Desk.fail`), its number is used up, no model changes.
6. The updates are aggregated by one of Flower's strategies (`strategy.strategy_of`).
7. The model is kept on disk (`models.Checkpoints`), and then the round is closed. Where the broker
   refuses that for good, the model is discarded and the round has failed (`RoundNotClosed`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from federation.board import SignedCampaign
from federation.errors import FederationError, Malformed
from federation.flower.models import (
    Checkpoint,
    Checkpoints,
    Model,
    misfit,
    model_hash,
    of_record,
    to_record,
)
from federation.flower.replies import decimals, metrics_fault, updates, whole
from federation.flower.strategy import ARRAYS, WEIGHT, Chosen, strategy_of, weight_of
from federation.privacy import epsilon_after
from federation.receipt import Asked, check_leaves, read_receipt


class RoundFailed(FederationError):
    """Fewer members than a round takes gave an update that counts; `left_out` says why."""

    code = "round_failed"

    def __init__(self, number: int, left_out: Mapping[str, str]) -> None:
        """Name the round and what became of its members."""
        self.left_out = dict(left_out)
        told = ", ".join(f"{member}: {why}" for member, why in sorted(left_out.items()))
        super().__init__(f"round {number} had too few updates that count ({told})")


class ReceiptNotTaken(FederationError):
    """The broker refuses a member's receipt; `told` is its code."""

    code = "receipt_not_taken"

    def __init__(self, told: str) -> None:
        """Keep the broker's code."""
        self.told = told
        super().__init__(f"the broker does not take the receipt: {told}")


class RoundNotClosed(FederationError):
    """The broker refuses the model of a round, and would each time; `told` is its code."""

    code = "round_not_closed"

    def __init__(self, told: str, detail: str = "") -> None:
        """Keep the broker's code."""
        self.told = told
        super().__init__(f"the broker does not close the round: {told} {detail}".rstrip())


@dataclass(frozen=True)
class Opening:
    """A round as the broker opened it; `opened_at` is Unix seconds."""

    opened_at: int
    taking_part: tuple[str, ...]


@dataclass(frozen=True)
class LastRound:
    """The newest round at the broker; its state is `open`, `closed` or `failed`."""

    stage: str
    number: int
    state: str


class Desk(Protocol):
    """The broker, as far as rounds need it. Repeating a call answers as the first time."""

    def last(self) -> LastRound | None:
        """The newest round of the campaign."""

    def open(self, stage: str, number: int, model_in: str) -> Opening:
        """Open a round that begins with a model. Raises what it refuses."""

    def receipt(self, stage: str, number: int, member: str, token: str, leaves: bytes) -> None:
        """Hand on a member's receipt and its leaves. Raises `ReceiptNotTaken`."""

    def close(self, checkpoint: Checkpoint) -> None:
        """Say which model came of it. Raises `RoundNotClosed`."""

    def fail(self, stage: str, number: int, code: str) -> None:
        """Give a round up."""


@dataclass(frozen=True)
class Told:
    """What came of a round: the model, whose updates are in it, and why others' are not."""

    checkpoint: Checkpoint
    left_out: Mapping[str, str]


@dataclass
class Rounds:
    """The rounds of one stage of a campaign.

    `document` is the signed campaign as the members read it; `nodes` are Flower's ids, and `keys`
    the receipt keys (JWK), by member; `patience` is how many seconds a round waits for replies.
    """

    signed: SignedCampaign
    document: bytes
    stage: str
    desk: Desk
    checkpoints: Checkpoints
    nodes: Mapping[str, int]
    keys: Mapping[str, Mapping[str, Any]]
    patience: float = 120
    told: list[Told] = field(default_factory=list)

    def go_on(self, grid: Grid, first: Model) -> Model:
        """Run what is left of the stage, from the last model that was kept, else from `first`.

        Raises `RoundFailed`, `RoundNotClosed`, `CheckpointBroken`, and whatever the broker refuses.
        """
        following = self._next()
        kept = self.checkpoints.last()
        model = first if kept is None else self.checkpoints.model(kept)
        for number in range(following, self.signed.campaign.rounds + 1):
            model = self._round(grid, number, model)
        return model

    def _next(self) -> int:
        last, kept = self.desk.last(), self.checkpoints.last()
        if last is not None:
            self.checkpoints.count(last.stage, last.number)
        if last is None or last.stage != self.stage:
            return 1
        ours = kept is not None and (kept.stage, kept.number) == (last.stage, last.number)
        if ours and kept is not None and last.state == "failed":
            # Given up at the broker meanwhile: the next round begins with the model before.
            self.checkpoints.discard(kept)
        if last.state == "open":
            # The process before this one ended in it: after its model was kept, or before.
            if ours and kept is not None:
                with suppress(RoundNotClosed):
                    self._close(kept)
            else:
                self.desk.fail(last.stage, last.number, "interrupted")
        return last.number + 1

    def _close(self, checkpoint: Checkpoint) -> None:
        """Close a round, or give it up where the broker never will: else nothing went on."""
        try:
            self.desk.close(checkpoint)
        except RoundNotClosed:
            # In this order: what is kept of a failed round would be gone on from.
            self.checkpoints.discard(checkpoint)
            self.desk.fail(checkpoint.stage, checkpoint.number, "close_refused")
            raise

    def _round(self, grid: Grid, number: int, model: Model) -> Model:
        campaign, model_in = self.signed.campaign, model_hash(model)
        opening = self.desk.open(self.stage, number, model_in)
        self.checkpoints.count(self.stage, number)
        if len(self._reached(opening)) < campaign.minimum_members:
            self.desk.fail(self.stage, number, "no_node")
            missing = set(opening.taking_part) - set(self._reached(opening))
            raise RoundFailed(number, dict.fromkeys(missing, "no_node"))
        strategy = strategy_of(campaign.aggregation, len(self._reached(opening)))
        sent = self._messages(grid, strategy, opening, number, model)
        replies = grid.send_and_receive(sent, timeout=self.patience)
        counted, left_out = self._looked_at(replies, opening, number, model)
        if len(counted) < campaign.minimum_members:
            self.desk.fail(self.stage, number, "too_few_updates")
            raise RoundFailed(number, left_out)
        made, metrics = strategy.aggregate_train(
            number, updates([counted[member] for member in sorted(counted)])
        )
        after = of_record(made)
        if misfit(after, model):
            # Each update was finite; their sum need not be, and no later round could mend it.
            self.desk.fail(self.stage, number, "model_not_finite")
            raise RoundFailed(number, left_out | dict.fromkeys(counted, "sum_not_finite"))
        checkpoint = Checkpoint(
            campaign=self.signed.campaign_hash,
            stage=self.stage,
            number=number,
            model_in=model_in,
            model_out=model_hash(after),
            members=tuple(sorted(counted)),
            metrics=decimals(metrics),
            epsilon=self._epsilon(),
        )
        self.checkpoints.keep(checkpoint, after)
        self._close(checkpoint)
        self.told.append(Told(checkpoint, left_out))
        return after

    def _reached(self, opening: Opening) -> list[str]:
        """Who of a round has a node here: one who was admitted since this process began has not."""
        return [member for member in opening.taking_part if member in self.nodes]

    def _left_at_first(self, opening: Opening) -> dict[str, str]:
        reached = self._reached(opening)
        return {one: "no_answer" if one in reached else "no_node" for one in opening.taking_part}

    def _looked_at(
        self, replies: Iterable[Message], opening: Opening, number: int, model: Model
    ) -> tuple[dict[str, Message], dict[str, str]]:
        """The replies that count, by member, and why the other members' do not: steps 3 and 4."""
        given = {node: member for member, node in self.nodes.items()}
        counted: dict[str, Message] = {}
        left_out = self._left_at_first(opening)
        for reply in replies:
            member = given.get(reply.metadata.src_node_id, "")
            if left_out.get(member) != "no_answer":
                continue  # a stranger's, or a second one
            fault = self._fault(reply, member, number, model)
            left_out[member] = fault or self._handed_on(reply, member, number)
            if not left_out[member]:
                counted[member] = reply
        return counted, {member: why for member, why in left_out.items() if why}

    def _messages(
        self, grid: Grid, strategy: Strategy, opening: Opening, number: int, model: Model
    ) -> Sequence[Message]:
        config = ConfigRecord(
            {
                "campaign": self.document,
                "stage": self.stage,
                "opened-at": opening.opened_at,
                "taking-part": list(opening.taking_part),
            }
        )
        chosen = Chosen(grid, [self.nodes[member] for member in self._reached(opening)])
        return list(strategy.configure_train(number, to_record(model), config, chosen))

    def _fault(self, reply: Message, member: str, number: int, model: Model) -> str:
        """Why a reply counts for nothing, "" where it counts: step 3 of the module."""
        if reply.has_error():
            return f"flower_error_{reply.error.code}"
        content = reply.content
        if "refused" in content:
            return f"refused_{content['refused'].get('code', '')}"[:64]
        shown, metrics = content.get("receipt"), content.get("metrics")
        if not whole(content, shown, metrics):
            return "not_whole"
        try:
            update = of_record(content[ARRAYS])
        except Malformed as error:
            return error.code
        fault = misfit(update, model)
        if fault:
            return fault
        asked = Asked(
            self.signed.campaign_hash,
            self.stage,
            number,
            member,
            model_in=model_hash(model),
            model_out=model_hash(update),
        )
        try:
            receipt = read_receipt(shown["token"], self.keys[member], asked)
            check_leaves(receipt, shown["leaves"])
        except FederationError as error:
            return error.code
        fault = metrics_fault(metrics)
        if fault:
            return fault
        due = weight_of(self.signed.campaign, receipt.bucket)
        return "" if metrics[WEIGHT] == due > 0 else "weight_without_rows"

    def _handed_on(self, reply: Message, member: str, number: int) -> str:
        """Why the broker does not take a receipt, "" where it does: step 4."""
        shown = reply.content["receipt"]
        try:
            self.desk.receipt(self.stage, number, member, shown["token"], shown["leaves"])
        except ReceiptNotTaken as error:
            return f"broker_{error.told}"
        return ""

    def _epsilon(self) -> str | None:
        """Of all rounds opened, the pilot's and those that failed too, as the broker counts."""
        privacy = self.signed.campaign.privacy
        if privacy is None:
            return None
        return str(epsilon_after(privacy, sum(self.checkpoints.opened().values())))
