"""A figure: what was measured, what it was measured against, and what it has to hold."""

from dataclasses import dataclass
from typing import Literal, TypedDict


class FigureJson(TypedDict):
    """The form that `--json` prints; `bound` reads like "ratio >= 0.6"."""

    name: str
    value: float
    unit: str
    probe: float | None
    ratio: float | None
    bound: str | None
    holds: bool


@dataclass(frozen=True)
class Bound:
    """What a figure has to hold: a limit on its value or on its ratio to the probe."""

    of: Literal["value", "ratio"]
    relation: Literal[">=", "<="]
    limit: float

    def __str__(self) -> str:
        return f"{self.of} {self.relation} {self.limit:g}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    `value` and `probe` share `unit` (such as "1/s", "us", "bytes") and come from the same run:
    absolute figures drift with the machine, their ratio does not. `probe` is None where the bound
    is absolute. A figure without a bound is for information. Raises `ValueError` when the bound
    asks for a ratio and there is no positive probe.
    """

    name: str
    value: float
    unit: str
    probe: float | None = None
    bound: Bound | None = None

    def __post_init__(self) -> None:
        if self.probe is not None and not self.probe > 0:
            raise ValueError(f"{self.name}: a probe of {self.probe} measures nothing")
        if self.probe is None and self.bound is not None and self.bound.of == "ratio":
            raise ValueError(f"{self.name}: a bound on the ratio needs a probe")

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the probe."""
        return None if self.probe is None else self.value / self.probe

    @property
    def holds(self) -> bool:
        """Whether the bound is kept; a value that is not a number keeps none."""
        if self.bound is None:
            return True
        measured = self.value if self.bound.of == "value" else self.ratio
        if measured is None:
            return False
        if self.bound.relation == ">=":
            return measured >= self.bound.limit
        return measured <= self.bound.limit

    def to_json(self) -> FigureJson:
        """The figure as a JSON object."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "probe": self.probe,
            "ratio": self.ratio,
            "bound": None if self.bound is None else str(self.bound),
            "holds": self.holds,
        }


def ratio_at_least(limit: float) -> Bound:
    """The value is at least `limit` times the probe (rates: more is better)."""
    return Bound("ratio", ">=", limit)


def ratio_at_most(limit: float) -> Bound:
    """The value is at most `limit` times the probe (times: less is better)."""
    return Bound("ratio", "<=", limit)


def value_at_least(limit: float) -> Bound:
    """The value itself is at least `limit`, in its unit."""
    return Bound("value", ">=", limit)


def value_at_most(limit: float) -> Bound:
    """The value itself is at most `limit`, in its unit."""
    return Bound("value", "<=", limit)
