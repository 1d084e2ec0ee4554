"""The sandbox of a tenant: one new source or partner at a time, tried on marked test subjects.

A trial ends by a sign-off, with figures of the quality of the data and of their value, or without
one. What was not signed off is not used.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from broker.domain.errors import InvalidRequest

Kind = Literal["source", "partner"]
SIGNED_OFF: Final = "signed_off"
ENDED: Final = "ended"
LEAST_VALUE, MOST_VALUE, WHOLE = -100, 1_000, 100
LONGEST_REPORT: Final = 200


@dataclass(frozen=True, slots=True)
class Figures:
    """What a trial has shown.

    `quality`: of the test subjects' values, how many per cent were right. `value`: by how many per
    cent the purpose was served better than without, below zero for worse. `report`: where this is
    written down.
    """

    quality: int
    value: int
    report: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A stay in the sandbox; `uses` counts the permits in it. Times are Unix seconds."""

    id: str
    kind: Kind
    name: str
    opened_by: str
    opened_at: int
    uses: int
    ended_at: int | None
    ended_by: str | None
    outcome: str | None
    figures: Figures | None

    def to_json(self) -> dict[str, Any]:
        """The trial as the API and commands tell it."""
        return asdict(self)


def check_figures(figures: Figures) -> None:
    """Raise `InvalidRequest` for figures that cannot be."""
    if not 0 <= figures.quality <= WHOLE:
        raise InvalidRequest("quality is a percentage, 0 to 100")
    if not LEAST_VALUE <= figures.value <= MOST_VALUE:
        raise InvalidRequest(f"value is in per cent, {LEAST_VALUE} to {MOST_VALUE}")
    text = figures.report
    if not text.strip() or len(text) > LONGEST_REPORT or not text.isprintable():
        raise InvalidRequest(f"report: say where the test is written down ({LONGEST_REPORT})")
