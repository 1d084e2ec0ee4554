"""The broker of a coordinator's rounds: what `rounds.Desk` asks for, over HTTP."""

from collections.abc import Mapping
from typing import Any, Final

from federation.flower.batches import body_of, in_calls
from federation.flower.broker import BrokerClient, BrokerRefused, said
from federation.flower.campaign_told import closed
from federation.flower.models import Checkpoint
from federation.flower.round_values import HandedOn, LastRound, Opening, RoundNotClosed
from federation.remarks import Remarks

NOT_FOUND: Final = 404
MALFORMED: Final = 400
OF_THE_RECEIPT: Final = frozenset({400, 403, 409, 413, 422})
OF_THE_MODEL: Final = frozenset({400, 409, 413, 422})


class BrokerDesk:
    """The rounds of one campaign at the broker: `rounds.Desk`, by a coordinator's client."""

    def __init__(self, client: BrokerClient, campaign: str) -> None:
        """Work on the campaign of that id (`fc-...`)."""
        self._client = client
        self._path = f"/v1/federation/campaigns/{campaign}"
        self._in_batches = True

    def told(self) -> dict[str, Any]:
        """The campaign as the broker tells it: document, board, members. Raises `BrokerRefused`."""
        told = self._client.get(self._path)
        for name, kind in (("document", dict), ("board", dict), ("members", list), ("stage", str)):
            said(told, name, kind)
        return told

    def last(self) -> LastRound | None:
        """The newest round of the campaign."""
        told = self.told()
        found = told.get("last_round")
        if found is None:
            return None
        stage, state = said(found, "stage", str), said(found, "state", str)
        return LastRound(stage, said(found, "number", int), state, closed(told))

    def open(self, stage: str, number: int, model_in: str) -> Opening:
        """Open a round. Raises `BrokerRefused`, `privacy_budget_spent` among its codes."""
        body = {"stage": stage, "number": number, "model_in": model_in}
        opened = self._client.post(f"{self._path}/rounds", body)
        taking_part = said(opened, "taking_part", list)
        return Opening(said(opened, "opened_at", int), tuple(map(str, taking_part)))

    def receipts(self, stage: str, number: int, given: Mapping[str, HandedOn]) -> dict[str, str]:
        """Hand on receipts; of those that are not taken, by member, why. Raises `BrokerRefused`."""
        refused: dict[str, str] = {}
        calls = in_calls(given)
        while calls:
            some = calls.pop()
            try:
                refused |= self._handed_on(stage, number, some)
            except BrokerRefused as error:
                if error.status not in OF_THE_RECEIPT:
                    raise
                if len(some) > 1:
                    # One of them may be nothing that the broker reads: the others go without it.
                    calls += [{member: one} for member, one in some.items()]
                else:
                    refused |= dict.fromkeys(some, error.told)
        return refused

    def _handed_on(self, stage: str, number: int, some: Mapping[str, HandedOn]) -> dict[str, str]:
        path, body = f"{self._round(stage, number)}/receipts", body_of(some)
        if self._in_batches:
            try:
                told = self._client.post(f"{path}/batch", body)
            except BrokerRefused as error:
                if error.status != NOT_FOUND:
                    raise
                # An older broker; each round that waited for its upgrade would be burnt.
                self._in_batches = False
            else:
                listed = said(told, "refused", list)
                return {said(one, "member", str): said(one, "code", str) for one in listed}
        refused = {}
        for one in body["receipts"]:
            try:
                self._client.post(path, one)
            except BrokerRefused as error:
                if error.status not in OF_THE_RECEIPT:
                    raise
                refused[one["member"]] = error.told
        return refused

    def close(self, checkpoint: Checkpoint) -> None:
        """Say which model came of a round. Raises `RoundNotClosed`, `BrokerRefused`."""
        body = {
            "model_out": checkpoint.model_out,
            "metrics": dict(checkpoint.metrics),
            "epsilon": checkpoint.epsilon,
        }
        path = f"{self._round(checkpoint.stage, checkpoint.number)}/close"
        try:
            self._with_remarks(path, body, Remarks(checkpoint.left_out, checkpoint.notices))
        except BrokerRefused as error:
            if error.status in OF_THE_MODEL:
                raise RoundNotClosed(error.told, error.detail) from None
            raise

    def fail(self, stage: str, number: int, code: str, remarks: Remarks) -> None:
        """Give a round up. Raises `BrokerRefused`."""
        self._with_remarks(f"{self._round(stage, number)}/fail", {"code": code}, remarks)

    def _with_remarks(self, path: str, body: dict[str, Any], remarks: Remarks) -> None:
        """Send a body with what is remarked of members, where there is any."""
        told = {"left_out": dict(remarks.left_out), "notices": dict(remarks.notices)}
        more = {name: said for name, said in told.items() if said}
        try:
            self._client.post(path, body | more)
        except BrokerRefused as error:
            if not more or error.status != MALFORMED:
                raise
            # An older broker takes no remarks; no round is to be lost for them.
            self._client.post(path, body)

    def _round(self, stage: str, number: int) -> str:
        return f"{self._path}/rounds/{stage}/{number}"
