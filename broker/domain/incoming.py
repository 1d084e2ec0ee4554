"""Events of others, read strictly: CloudEvents 1.0 in JSON, one or a batch.

Beyond the specification each has to have a `subject` and a `time`, since an event is kept once for
each source, subject, type and time. What is in `data` is not looked at.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from broker.domain.errors import BrokerError
from broker.domain.event import MEDIA_TYPE, SPEC_VERSION
from credentials.errors import CredentialError
from credentials.json_reader import read_json

BATCH_TYPE: Final = "application/cloudevents-batch+json"
MOST_AT_ONCE: Final = 500
LONGEST: Final = 500
_REQUIRED: Final = ("id", "source", "type", "subject", "time")
_KNOWN: Final = frozenset(
    {*_REQUIRED, "specversion", "datacontenttype", "dataschema", "data", "data_base64"}
)
# CloudEvents 1.0.2, "Naming Conventions": lower-case letters and digits, 20 at most.
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,20}")
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_FRACTION: Final = re.compile(r"(\.\d{6})\d+")
_KEPT_INTEGERS: Final = range(-(2**63), 2**64)
_DIGITS: Final = 20
_INTEGERS: Final = range(-(2**31), 2**31)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class InvalidEvent(BrokerError):
    """What is no event, or not one that is taken; the message says which and why."""

    code = "invalid_event"


@dataclass(frozen=True)
class Incoming:
    """An event that was read. `time` is Unix microseconds, `body` the whole of it as JSON.

    `source` and `id` together name it (CloudEvents 1.0.2, "id").
    """

    source: str
    id: str
    type: str
    subject: str
    time: int
    body: bytes


def read_events(data: bytes, media_type: str, *, max_bytes: int) -> list[Incoming]:
    """The events of a body, all of them good; raises `InvalidEvent`.

    `media_type` is the content type without its parameters, in lower case.
    """
    if media_type not in {MEDIA_TYPE, BATCH_TYPE}:
        raise InvalidEvent(f"the content type is {MEDIA_TYPE} or {BATCH_TYPE}")
    try:
        value = read_json(data, max_bytes=max_bytes)
        _check_exact(data)
    except CredentialError as error:
        raise InvalidEvent(str(error)) from None
    if media_type == MEDIA_TYPE:
        return [_event(value, 0)]
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_AT_ONCE:
        raise InvalidEvent(f"a batch is a list of 1 to {MOST_AT_ONCE} events")
    return [_event(one, number) for number, one in enumerate(value)]


def _check_exact(data: bytes) -> None:
    """Refuse what would be kept as something else than was sent."""

    def integer(text: str) -> int:
        found = int(text) if len(text) <= _DIGITS else 2**64
        if found not in _KEPT_INTEGERS:
            raise InvalidEvent("numbers of more than 64 bits are not kept as they are: send text")
        return found

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise InvalidEvent("an object of the body names a member twice")
        return found

    json.loads(data, parse_int=integer, object_pairs_hook=members)


def _event(given_value: object, number: int) -> Incoming:
    if not isinstance(given_value, dict):
        raise InvalidEvent(f"event {number} is no JSON object")
    # An attribute that is null is not there (CloudEvents JSON format 1.0.2, section 2.2).
    value = {name: one for name, one in given_value.items() if one is not None or name == "data"}
    if value.get("specversion") != SPEC_VERSION:
        raise InvalidEvent(f"specversion of event {number} is not {SPEC_VERSION}")
    given = {name: _text(value, name, number) for name in _REQUIRED}
    for name in value.keys() & {"datacontenttype", "dataschema", "data_base64"}:
        _text(value, name, number, longest=len(str(value[name])))
    if "data" in value and "data_base64" in value:
        raise InvalidEvent(f"event {number} has both data and data_base64")
    for name in value.keys() - _KNOWN:
        _extension(name, value[name], number)
    return Incoming(
        source=given["source"],
        id=given["id"],
        type=given["type"],
        subject=given["subject"],
        time=_time(given["time"], number),
        body=orjson.dumps(value),
    )


def _text(value: Mapping[str, Any], name: str, number: int, *, longest: int = LONGEST) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not 1 <= len(found) <= longest or not found.isprintable():
        raise InvalidEvent(
            f"{name} of event {number} must be text of 1 to {longest} printable characters"
        )
    return found


def _extension(name: str, value: object, number: int) -> None:
    if not _EXTENSION.fullmatch(name):
        raise InvalidEvent(f"event {number} has a member whose name is none of an attribute")
    if isinstance(value, bool) or (isinstance(value, int) and value in _INTEGERS):
        return
    if not isinstance(value, str) or len(value) > LONGEST:
        raise InvalidEvent(f"an extension of event {number} is no text, integer or boolean")


def _time(text: str, number: int) -> int:
    """RFC 3339 as Unix microseconds."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        found = datetime.fromisoformat(_FRACTION.sub(r"\1", text)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidEvent(
            f"time of event {number} must be as in 2026-11-27T12:00:00Z (RFC 3339)"
        ) from None
    return (found - _EPOCH) // _MICROSECOND
