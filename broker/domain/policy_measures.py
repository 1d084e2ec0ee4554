"""Whether policies use the numbers of a request only by comparing each with the one it belongs to.

A second that passes changes every request. Where the policies can tell no more of its numbers than
which is the larger (`now` against `validUntil`, an age against the oldest allowed), requests that
agree in that, and in everything else, have the same answer, and the engine is asked once.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from cedarpy import policies_to_json_str

Path = tuple[str, ...]

NOW: Final = ("context", "now")
USES_LEFT: Final = ("context", "consent", "usesLeft")
PAIRS: Final[frozenset[frozenset[Path]]] = frozenset(
    {
        frozenset({NOW, ("context", "consent", "validFrom")}),
        frozenset({NOW, ("context", "consent", "validUntil")}),
        frozenset({NOW, ("context", "proof", "statusUntil")}),
        frozenset({("context", "proof", "age"), ("context", "proof", "maxAge")}),
    }
)
MEASURES: Final = frozenset({USES_LEFT}.union(*PAIRS))
# Records that hold numbers: whoever compares or passes one on as a whole sees all of them.
HOLDERS: Final = frozenset({path[:size] for path in MEASURES for size in range(1, len(path))})
_COMPARISONS: Final = frozenset({"<", "<=", ">", ">="})


def only_compares(policies: str) -> bool:
    """Whether these policies, which parse, tell nothing of the numbers but how they compare."""
    try:
        found = orjson.loads(policies_to_json_str(policies))["staticPolicies"].values()
        bodies = [condition["body"] for one in found for condition in one["conditions"]]
        return not any(_tells_more(body) for body in bodies)
    except (ValueError, RecursionError):
        return False  # nested too deep to be walked: then it is not known


def path_of(expression: Mapping[str, Any]) -> Path | None:
    """The variable and the attributes that an expression reads, outermost first; None: another."""
    if isinstance(expression.get("Var"), str):
        return (expression["Var"],)
    read = expression.get(".")
    if read is None:
        return None
    before = path_of(read["left"])
    return None if before is None else (*before, read["attr"])


def parts_of(expression: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The expressions right below one of Cedar's JSON policy format."""
    ((kind, body),) = expression.items()
    if kind in {"Value", "Var"}:
        return []
    listed = body if isinstance(body, list) else list(body.values())
    return [one for one in listed if isinstance(one, dict)]


def _tells_more(expression: Mapping[str, Any]) -> bool:
    ((kind, body),) = expression.items()
    path = path_of(expression)
    if path is not None:
        return path in MEASURES or path in HOLDERS
    if kind == "has" and path_of(body["left"]) is not None:
        return False  # whether a number is there is no number
    if kind in _COMPARISONS:
        sides = [path_of(body["left"]), path_of(body["right"])]
        if frozenset(sides) in PAIRS:
            return False
        zero = {"Value": 0}
        if USES_LEFT in sides and zero in (body["left"], body["right"]):
            return False
    return any(_tells_more(part) for part in parts_of(expression))
