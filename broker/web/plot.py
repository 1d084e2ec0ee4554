"""Lines over one axis as an SVG document, without script or network."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.web.documents import document

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 220, 64, 16, 36, 44
TICKS = 5
LINES = 4
"""So many lines have a colour and a dash of their own."""


@dataclass(frozen=True)
class Mark:
    """Text below the axis, at a part of its length from 0 to 1."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """A value at a part of the axis from 0 to 1; `told` is read when it is pointed at."""

    at: float
    value: float
    told: str


@dataclass(frozen=True)
class Line:
    """Points in order; `name` is for the legend, where a picture has several lines."""

    points: Sequence[Point]
    name: str = ""


@dataclass(frozen=True)
class Bound:
    """A value that is drawn across, such as a budget."""

    value: float
    text: str


@dataclass(frozen=True)
class Picture:
    """What is drawn; title and description are for who does not see it.

    `divider` is a mark with a line above it. The range of values begins at 0 where `from_zero`.
    """

    name: str
    title: str
    description: str
    lines: Sequence[Line]
    axis: str
    labels: Sequence[Mark] = ()
    divider: Mark | None = None
    bound: Bound | None = None
    from_zero: bool = False


def draw(picture: Picture) -> str:
    """The picture as SVG. At most `LINES` lines."""
    if len(picture.lines) > LINES:
        raise ValueError(f"a picture has at most {LINES} lines")
    values = [point.value for line in picture.lines for point in line.points]
    if picture.bound is not None:
        values.append(picture.bound.value)
    low, high = _range(values, from_zero=picture.from_zero)

    def y(value: float) -> float:
        return round(TOP + HEIGHT * (1 - (value - low) / (high - low)), 1)

    def x(at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * at, 1)

    ticks = [low + (high - low) * number / (TICKS - 1) for number in range(TICKS)]
    bound, divider = picture.bound, picture.divider
    view = {
        "picture": picture,
        "width": WIDTH,
        "height": TOP + HEIGHT + BOTTOM,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "end": TOP + HEIGHT,
        "lines": [
            {
                "name": line.name,
                "path": " ".join(f"{x(one.at)},{y(one.value)}" for one in line.points),
                "points": [
                    {"x": x(one.at), "y": y(one.value), "told": one.told} for one in line.points
                ],
            }
            for line in picture.lines
        ],
        "ticks": [{"y": y(one), "text": f"{one:.3g}"} for one in ticks],
        "labels": [{"x": x(one.at), "text": one.text} for one in picture.labels],
        "divider": None if divider is None else {"x": x(divider.at), "text": divider.text},
        "bound": None if bound is None else {"y": y(bound.value), "text": bound.text},
    }
    return document("plot.svg", view)


def _range(values: Sequence[float], *, from_zero: bool) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if from_zero:
        low = 0.0
    room = (high - low) * 0.08 or max(abs(high) * 0.08, 0.05)
    return (low if from_zero else low - room), high + room
