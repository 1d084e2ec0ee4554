"""What an examination of a deployment has found: facts by code, no text of any language."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["fine", "warning", "problem"]
AREAS = ("settings", "home", "database", "keys", "clock", "log", "lists", "policies", "events")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `code` is stable; `values` complete its texts.

    A `problem` keeps the broker from serving or from what it promises; a `warning` will, or is a
    risk that somebody may have chosen.
    """

    area: str
    code: str
    level: Level = "fine"
    values: Mapping[str, object] = field(default_factory=dict)


def fine(area: str, code: str, **values: object) -> Finding:
    """Something that is as it should be."""
    return Finding(area, code, "fine", values)


def warning(area: str, code: str, **values: object) -> Finding:
    """Something to look after."""
    return Finding(area, code, "warning", values)


def problem(area: str, code: str, **values: object) -> Finding:
    """Something to cure now."""
    return Finding(area, code, "problem", values)
