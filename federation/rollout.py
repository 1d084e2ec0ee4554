"""How far a model may go: one business line first (`pilot`), then everybody (`consortium`).

A stage of all business lines has no member `business_line`, not a null one: each campaign has one
spelling, and those that were signed before there were lines keep their hash.

A stage is left for the next when its gates hold: each metric on its side of its bound, and enough
approvals by the board. `shut_gates` says by name what does not hold; nothing shut is the permit.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self

from federation import reading
from federation.errors import CampaignInvalid, Malformed

STAGES: Final = ("pilot", "consortium")
RELATIONS: Final = ("at_least", "at_most")
MOST_GATES: Final = 32
_GATE: Final = frozenset({"metric", "relation", "bound"})
BUSINESS_LINE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
"""What a business line is called, by the board and by each member: `retail`, `credit-cards`."""
_STAGE: Final = frozenset({"stage", "members", "gates", "approvals"})
_LINE: Final = frozenset({"business_line"})


@dataclass(frozen=True)
class MetricGate:
    """A metric and its bound, a decimal in text: `auc at_least 0.85`."""

    metric: str
    relation: str
    bound: str

    def to_json(self) -> dict[str, Any]:
        """The gate as a JSON object."""
        return {"metric": self.metric, "relation": self.relation, "bound": self.bound}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read one strictly. Raises `Malformed`."""
        source = reading.members(value, "a gate", _GATE)
        return cls(
            reading.name(source, "metric"),
            reading.choice(source, "relation", RELATIONS),
            reading.decimal(source, "bound"),
        )

    def holds(self, value: Decimal | None) -> bool:
        """Whether a measured value is on the right side; none, NaN and infinities are not."""
        if value is None or not value.is_finite():
            return False
        bound = Decimal(self.bound)
        return value >= bound if self.relation == "at_least" else value <= bound


@dataclass(frozen=True)
class Stage:
    """A stage: who trains in it, and what must hold before the next, or before use at the end.

    `approvals` is how many members of the board must approve the model. `business_line` is the one
    whose rows train (`gate`), None for all of them.
    """

    stage: str
    members: tuple[str, ...]
    gates: tuple[MetricGate, ...]
    approvals: int
    business_line: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The stage as a JSON object, with `business_line` where it has one."""
        line = {} if self.business_line is None else {"business_line": self.business_line}
        return {
            "stage": self.stage,
            "members": list(self.members),
            "gates": [gate.to_json() for gate in self.gates],
            "approvals": self.approvals,
            **line,
        }

    @classmethod
    def from_json(cls, value: object, most_members: int) -> Self:
        """Read one strictly. Raises `Malformed`, `TooLarge`, `CampaignInvalid`."""
        given = value.keys() & _LINE if isinstance(value, dict) else frozenset()
        source = reading.members(value, "a stage", _STAGE | given)
        gates = tuple(
            MetricGate.from_json(one) for one in reading.items(source, "gates", MOST_GATES)
        )
        read = cls(
            reading.choice(source, "stage", STAGES),
            reading.names(source, "members", most=most_members),
            gates,
            reading.whole(source, "approvals", 0, 100),
            _business_line(source) if given else None,
        )
        if read.business_line is not None and read.stage != STAGES[0]:
            raise CampaignInvalid(
                f"stage {read.stage} is of all business lines: {STAGES[0]} alone names one"
            )
        if not read.members:
            raise CampaignInvalid(f"stage {read.stage} has no members")
        if not gates and not read.approvals:
            raise CampaignInvalid(f"stage {read.stage} is gated by nothing: a metric or approvals")
        return read

    def shut_gates(self, metrics: Mapping[str, str], approvals: Collection[str]) -> tuple[str, ...]:
        """What does not hold yet, each by name; empty when the model may go on.

        `metrics` are the measured values, decimals in text; `approvals` the distinct members of
        the board whose signed approvals of this model were verified (`board.verify`).
        """
        shut = [
            f"{gate.metric} {gate.relation} {gate.bound}"
            for gate in self.gates
            if not gate.holds(_measured(metrics.get(gate.metric)))
        ]
        if len(set(approvals)) < self.approvals:
            shut.append(f"approvals {len(set(approvals))} of {self.approvals}")
        return tuple(shut)


def read_rollout(value: object, members: Collection[str]) -> tuple[Stage, ...]:
    """Read the stages of a campaign: pilot then consortium, or consortium alone.

    The consortium's members are all of the campaign's, a pilot's some of them. Raises `Malformed`,
    `TooLarge`, `CampaignInvalid`.
    """
    listed = reading.items({"rollout": value}, "rollout", len(STAGES))
    stages = tuple(Stage.from_json(one, max(1, len(members))) for one in listed)
    if tuple(stage.stage for stage in stages) not in {STAGES, STAGES[1:]}:
        raise CampaignInvalid("rollout is the stages pilot and consortium, or consortium alone")
    if set(stages[-1].members) != set(members):
        raise CampaignInvalid("the members of stage consortium are those of the campaign")
    if not set(stages[0].members) <= set(members):
        raise CampaignInvalid("a member of stage pilot is no member of the campaign")
    return stages


def _business_line(source: Mapping[str, Any]) -> str:
    line = source["business_line"]
    if not isinstance(line, str) or not BUSINESS_LINE.fullmatch(line):
        raise Malformed(
            "business_line is 1 to 32 small letters, digits and -; leave it out for all lines"
        )
    return line


def _measured(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        return None
