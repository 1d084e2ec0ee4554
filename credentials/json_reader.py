"""Reading JSON from strangers: size and nesting are capped before a byte is parsed.

Native parsers and recursive walks both spend stack per level; a body of 90,000 brackets must
cost a scan and an error, not the process.
"""

import re
from typing import Any, TypeAlias

import orjson

from credentials.errors import Malformed, TooLarge

JsonObject: TypeAlias = dict[str, Any]

MAX_DEPTH = 24
MAX_JSON_BYTES = 262_144
MAX_CONTAINERS = 20_000

_BRACKETS_OR_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def read_json(
    data: bytes,
    *,
    max_bytes: int = MAX_JSON_BYTES,
    max_depth: int = MAX_DEPTH,
    max_containers: int = MAX_CONTAINERS,
) -> object:
    """Parse UTF-8 JSON of at most `max_bytes` bytes and `max_depth` nested containers.

    At most `max_containers` opening brackets are taken, those in strings counted too.

    A duplicate member name keeps the last value, as RFC 7519, section 4 allows.
    Raises `TooLarge` before parsing when a cap is exceeded, else `Malformed` if it is not JSON.
    """
    size = len(data)
    if size > max_bytes:
        raise TooLarge(f"JSON text exceeds {max_bytes} bytes")
    # The number of opening brackets bounds the depth: honest input never needs the scan. It bounds
    # the work too: half a million small lists in 1 MiB take a parser and the collector 0.7 s.
    if size > max_depth and (opened := data.count(b"[") + data.count(b"{")) > max_depth:
        if opened > max_containers:
            raise TooLarge(f"JSON text holds more than {max_containers} lists and objects")
        _check_depth(data, max_depth)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        # The error's own text never quotes the document beyond the position.
        raise Malformed(f"not JSON: {error.msg} at character {error.pos}") from None


def read_json_object(
    data: bytes,
    *,
    max_bytes: int = MAX_JSON_BYTES,
    max_depth: int = MAX_DEPTH,
    max_containers: int = MAX_CONTAINERS,
) -> JsonObject:
    """Parse like `read_json` and require an object; raises the same errors."""
    value = read_json(data, max_bytes=max_bytes, max_depth=max_depth, max_containers=max_containers)
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def _check_depth(data: bytes, max_depth: int) -> None:
    depth = 0
    for token in _BRACKETS_OR_STRINGS.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise TooLarge(f"JSON text is nested deeper than {max_depth} levels")
        elif first in b"]}":
            depth -= 1
