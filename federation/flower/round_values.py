"""What rounds are made of: the broker as far as they need it, what it says, what came of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flwr.app import Message

from federation.errors import FederationError
from federation.flower.models import Checkpoint, Model
from federation.remarks import Remarks


class RoundFailed(FederationError):
    """Fewer members than a round takes gave an update that counts; `left_out` says why."""

    code = "round_failed"

    def __init__(self, number: int, left_out: Mapping[str, str]) -> None:
        """Name the round and what became of its members."""
        self.left_out = dict(left_out)
        told = ", ".join(f"{member}: {why}" for member, why in sorted(left_out.items()))
        super().__init__(f"round {number} had too few updates that count ({told})")


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
    """The newest round at the broker; its state is `open`, `closed` or `failed`.

    `closed` is how many rounds of the campaign's stage gave a model.
    """

    stage: str
    number: int
    state: str
    closed: int


@dataclass(frozen=True)
class HandedOn:
    """A member's receipt, and its leaves one after the other."""

    token: str
    leaves: bytes


class Desk(Protocol):
    """The broker, as far as rounds need it. Repeating a call answers as the first time."""

    def last(self) -> LastRound | None:
        """The newest round of the campaign."""

    def open(self, stage: str, number: int, model_in: str) -> Opening:
        """Open a round that begins with a model. Raises what it refuses."""

    def receipts(self, stage: str, number: int, given: Mapping[str, HandedOn]) -> Mapping[str, str]:
        """Hand on receipts by member; of those that are not taken, by member, the broker's code."""

    def close(self, checkpoint: Checkpoint) -> None:
        """Say which model came of it, and of which members what. Raises `RoundNotClosed`."""

    def fail(self, stage: str, number: int, code: str, remarks: Remarks) -> None:
        """Give a round up, and say what there is to say of its members."""


@dataclass(frozen=True)
class Told:
    """What came of a round: the model, whose updates are in it, and why others' are not.

    `left_out` says it in full; what the broker is told is in the checkpoint. `closed` is how many
    rounds of the stage gave one, this one too.
    """

    checkpoint: Checkpoint
    left_out: Mapping[str, str]
    closed: int


@dataclass(frozen=True)
class Made:
    """What came of members' replies: those that count, why others do not, model and metrics.

    `far` are the members whose updates lie far out, which is noticed and no more.
    """

    counted: Mapping[str, Message]
    left_out: dict[str, str]
    model: Model
    metrics: Mapping[str, Any] | None
    far: frozenset[str] = frozenset()
