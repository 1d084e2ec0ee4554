"""The coordinator's part: rounds, one after the other, each opened, checked, kept and closed.

A round, in this order; whatever ends this process between two steps, `Rounds.go_on` finds it:

1. The broker opens it (`Desk.open`): the time from which on lists count, and who takes part.
2. Each of them is sent the signed campaign, the announcement and the model.
3. Each reply is looked at: its receipt verifies under the member's registered key, is of this
   round and these models, its leaves are those it covers; the update fits the model; its weight is
   the bucket of rows that the receipt covers; masked ones tell the same metrics. What fails counts
   for nothing (`Told.left_out`). Of those that count it is noticed which lie far out
   (`distances`), except under masks.
4. The broker takes their receipts (`Desk.receipts`), all in one call: one that it refuses counts
   for nothing either.
5. Too few are left: the round has failed (`Desk.fail`), its number is used up, no model changes.
   Where the board signed spare rounds, one of those takes its place.
6. The updates are aggregated by one of Flower's strategies (`strategy.strategy_of`), or, masked,
   by `secure.Secure`, whose first steps come before 2.
7. The model is kept on disk (`models.Checkpoints`), and then the round is closed. Where the broker
   refuses that for good, the model is discarded and the round has failed (`RoundNotClosed`).

With 5 and 7 the broker is told who was left out and why, and who was noticed (`remarks`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from federation.board import SignedCampaign
from federation.errors import MaskingFailed
from federation.flower.distances import distances
from federation.flower.models import (
    Checkpoint,
    Checkpoints,
    Model,
    misfit,
    model_hash,
    of_record,
    to_record,
)
from federation.flower.replies import Due, decimals, fault_of, updates
from federation.flower.round_values import (
    Desk,
    HandedOn,
    Made,
    Opening,
    RoundFailed,
    RoundNotClosed,
    Told,
)
from federation.flower.secure import Secure
from federation.flower.secure_member import SECURE
from federation.flower.strategy import Chosen, strategy_of
from federation.privacy import epsilon_after
from federation.receipt import Asked
from federation.remarks import Remarks, far_out
from federation.secure_keys import Of


@dataclass
class Rounds:
    """The rounds of one stage of a campaign.

    `document` is the signed campaign as the members read it; `nodes` are Flower's ids, and `keys`
    the receipt keys (JWK), by member; `patience` is how many seconds a round waits for replies.
    `more` goes along to the members beside the announcement; `tell` hears of each closed round.
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
    more: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[Told], None] = lambda _: None

    def go_on(self, grid: Grid, first: Model) -> Model:
        """Run what is left of the stage, from the last model kept in it, else from `first`.

        That is until as many rounds gave a model as the board asks for, or no number is left.

        Raises `RoundFailed`, `RoundNotClosed`, `CheckpointBroken`, and whatever the broker refuses.
        """
        following, closed = self._next()
        kept = self.checkpoints.last()
        begins = kept is None or kept.stage != self.stage
        model = first if kept is None or begins else self.checkpoints.model(kept)
        campaign = self.signed.campaign
        for number in range(following, campaign.highest_number + 1):
            if closed >= campaign.rounds:
                break
            closed += 1
            model = self._round(grid, number, model, closed)
        return model

    def _next(self) -> tuple[int, int]:
        """The number of the stage's next round, and how many of it gave a model."""
        last, kept = self.desk.last(), self.checkpoints.last()
        if last is not None:
            self.checkpoints.count(last.stage, last.number)
        if last is None or last.stage != self.stage:
            return 1, 0
        closed = last.closed
        ours = kept is not None and (kept.stage, kept.number) == (last.stage, last.number)
        if ours and kept is not None and last.state == "failed":
            # Given up at the broker meanwhile: the next round begins with the model before.
            self.checkpoints.discard(kept)
        if last.state == "open":
            # The process before this one ended in it: after its model was kept, or before.
            if ours and kept is not None:
                with suppress(RoundNotClosed):
                    self._close(kept)
                    closed += 1
            else:
                self.desk.fail(last.stage, last.number, "interrupted", Remarks())
        return last.number + 1, closed

    def _close(self, checkpoint: Checkpoint) -> None:
        """Close a round, or give it up where the broker never will: else nothing went on."""
        try:
            self.desk.close(checkpoint)
        except RoundNotClosed:
            # In this order: what is kept of a failed round would be gone on from.
            self.checkpoints.discard(checkpoint)
            told = Remarks(checkpoint.left_out, checkpoint.notices)
            self.desk.fail(checkpoint.stage, checkpoint.number, "close_refused", told)
            raise

    def _round(self, grid: Grid, number: int, model: Model, closed: int) -> Model:
        """A round; `closed` of the stage gave a model once this one has."""
        model_in = model_hash(model)
        opening = self.desk.open(self.stage, number, model_in)
        self.checkpoints.count(self.stage, number)
        if len(self._reached(opening)) < self.signed.campaign.minimum_members:
            missing = set(opening.taking_part) - set(self._reached(opening))
            raise self._given_up(number, "no_node", dict.fromkeys(missing, "no_node"))
        made = self._made(grid, opening, number, model)
        after = made.model
        if misfit(after, model):
            # Each update was finite; their sum need not be, and no later round could mend it.
            why = {**made.left_out, **dict.fromkeys(made.counted, "sum_not_finite")}
            raise self._given_up(number, "model_not_finite", why, made.far)
        remarks = Remarks.of(made.left_out, opening.taking_part, made.far)
        checkpoint = Checkpoint(
            campaign=self.signed.campaign_hash,
            stage=self.stage,
            number=number,
            model_in=model_in,
            model_out=model_hash(after),
            members=tuple(sorted(made.counted)),
            metrics=decimals(made.metrics),
            epsilon=self._epsilon(),
            left_out=remarks.left_out,
            notices=remarks.notices,
        )
        self.checkpoints.keep(checkpoint, after)
        self._close(checkpoint)
        self.told.append(Told(checkpoint, made.left_out, closed))
        self.tell(self.told[-1])
        return after

    def _made(self, grid: Grid, opening: Opening, number: int, model: Model) -> Made:
        """Steps 2 to 6 of the module. Raises `RoundFailed`."""
        campaign = self.signed.campaign
        strategy = strategy_of(campaign.aggregation, len(self._reached(opening)))
        sent = self._messages(grid, strategy, opening, number, model)
        secure, first = self._secure(grid, opening, number), self._left_at_first(opening)
        left_out = {member: why for member, why in first.items() if why != "no_answer"}
        try:
            if secure is not None:
                secure.agree()
                sent = _with_shares(secure, sent)
                first |= secure.out
            left_out = first
            replies = grid.send_and_receive(sent, timeout=self.patience)
            counted = self._looked_at(replies, number, model, left_out, secure)
            if len(counted) < campaign.minimum_members:
                raise self._given_up(number, "too_few_updates", left_out)
            if secure is not None:
                after, metrics = secure.opened(counted, model)
                return Made(counted, left_out | secure.out, after, metrics)
        except MaskingFailed as error:
            out = {} if secure is None else secure.out
            raise self._given_up(number, error.code, left_out | out) from error
        given = [counted[member] for member in sorted(counted)]
        far = far_out(distances(counted, model))
        made, metrics = strategy.aggregate_train(number, updates(given))
        return Made(counted, left_out, of_record(made), metrics, far)

    def _given_up(
        self, number: int, code: str, left_out: Mapping[str, str], far: Iterable[str] = ()
    ) -> RoundFailed:
        why = {member: told for member, told in left_out.items() if told}
        self.desk.fail(self.stage, number, code, Remarks.of(why, self.signed.campaign.members, far))
        return RoundFailed(number, why)

    def _secure(self, grid: Grid, opening: Opening, number: int) -> Secure | None:
        if not self.signed.campaign.aggregation.secure:
            return None
        reached = self._reached(opening)
        return Secure(
            self.signed,
            Of(self.signed.campaign_hash, self.stage, number),
            len(set(opening.taking_part)),
            {member: self.nodes[member] for member in reached},
            {member: self.keys[member] for member in reached},
            ConfigRecord({**self._announced(opening), "server-round": number}),
            lambda messages, seconds: grid.send_and_receive(messages, timeout=seconds),
            self.patience,
        )

    def _reached(self, opening: Opening) -> list[str]:
        """Who of a round has a node here: one who was admitted since this process began has not."""
        return [member for member in opening.taking_part if member in self.nodes]

    def _left_at_first(self, opening: Opening) -> dict[str, str]:
        reached = self._reached(opening)
        return {one: "no_answer" if one in reached else "no_node" for one in opening.taking_part}

    def _looked_at(
        self,
        replies: Iterable[Message],
        number: int,
        model: Model,
        left_out: dict[str, str],
        secure: Secure | None,
    ) -> dict[str, Message]:
        """The replies that count, by member; `left_out` says why the others' do not: steps 3, 4."""
        given = {node: member for member, node in self.nodes.items()}
        counted: dict[str, Message] = {}
        for reply in replies:
            member = given.get(reply.metadata.src_node_id, "")
            if left_out.get(member) != "no_answer":
                continue  # a stranger's, or a second one
            size = None if secure is None or reply.has_error() else secure.size(model, reply)
            of = Asked(self.signed.campaign_hash, self.stage, number, member)
            due = Due(self.signed.campaign, of, self.keys[member], model, size)
            fault = fault_of(reply, due)
            if fault:
                left_out[member] = fault
            else:
                del left_out[member]
                counted[member] = reply
        if secure is not None:
            counted = secure.alike(counted)
            left_out |= secure.out
        refused = self._refused(counted, number)
        left_out |= {one: f"broker_{why}" for one, why in refused.items()}
        return {one: reply for one, reply in counted.items() if one not in refused}

    def _messages(
        self, grid: Grid, strategy: Strategy, opening: Opening, number: int, model: Model
    ) -> Sequence[Message]:
        config = ConfigRecord(self._announced(opening))
        chosen = Chosen(grid, [self.nodes[member] for member in self._reached(opening)])
        return list(strategy.configure_train(number, to_record(model), config, chosen))

    def _announced(self, opening: Opening) -> dict[str, Any]:
        return {
            **self.more,
            "campaign": self.document,
            "stage": self.stage,
            "opened-at": opening.opened_at,
            "taking-part": list(opening.taking_part),
        }

    def _refused(self, counted: Mapping[str, Message], number: int) -> Mapping[str, str]:
        """Whose receipts the broker does not take, and why: step 4."""
        shown = {member: reply.content["receipt"] for member, reply in counted.items()}
        given = {one: HandedOn(each["token"], each["leaves"]) for one, each in shown.items()}
        return self.desk.receipts(self.stage, number, given)

    def _epsilon(self) -> str | None:
        """Of all rounds opened, the pilot's and those that failed too, as the broker counts."""
        privacy = self.signed.campaign.privacy
        if privacy is None:
            return None
        return str(epsilon_after(privacy, sum(self.checkpoints.opened().values())))


def _with_shares(secure: Secure, sent: Sequence[Message]) -> list[Message]:
    """The messages to those who are left in a secure aggregation, with what others sealed."""
    member_of = {secure.nodes[member]: member for member in secure.sealed}
    left = [one for one in sent if one.metadata.dst_node_id in member_of]
    for message in left:
        # Strategies give one content to all.
        shares = secure.train(member_of[message.metadata.dst_node_id])
        message.content = RecordDict({**message.content, SECURE: shares})
    return left
