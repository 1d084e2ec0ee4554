"""How many different statements a partner has asked to be proven of an attribute.

Whoever may ask "at least 1,000", "at least 500", "at least 750" finds what is hidden by halving. So
for each attribute of a kind of credential a partner has a number of different statements within a
year, whomever it asks, however many customers it asks, and by whatever name. By limits ("at least")
it tells apart one group of customers more than there are statements; by sets and ranges that are
made for it up to two to their number.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from zkp import Equal, NotRevoked, OlderThan, Place, Statement

PERIOD_SECONDS: Final = 365 * 86_400
_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True, order=True)
class Question:
    """A statement about an attribute of a kind of credential; `statement` is canonical JSON.

    The same one asked again, in another order or of another customer, is the same question.
    """

    schema: str
    attribute: str
    statement: str


def questions_of(
    schemas: Mapping[str, str], statements: Sequence[Statement], now: int
) -> list[Question]:
    """What a request asks, each question once; `schemas` gives the kind of each credential."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    found = set()
    for statement in statements:
        if isinstance(statement, NotRevoked):
            continue  # it says nothing of an attribute
        places = [statement.place]
        if isinstance(statement, Equal):
            places.append(statement.other)
        told = _plain(statement, schemas, today)
        text = orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()
        found |= {Question(schemas[place.credential], place.attribute, text) for place in places}
    return sorted(found)


def _plain(statement: Statement, schemas: Mapping[str, str], today: dt.date) -> dict[str, Any]:
    told = statement.to_json()
    for name in ("credential", "attribute"):
        del told[name]
    if isinstance(statement, OlderThan) and _is_today(statement.on, today):
        del told["on"]  # "18 or older" today and tomorrow is one question
    if isinstance(statement, Equal):
        pair = sorted([_named(statement.place, schemas), _named(statement.other, schemas)])
        told = {"type": told["type"], "of": pair}
    if "values" in told:
        told["values"] = sorted(told["values"], key=str)
    return told


def _named(place: Place, schemas: Mapping[str, str]) -> list[str]:
    return [schemas[place.credential], place.attribute]


def _is_today(day: str, today: dt.date) -> bool:
    return abs(dt.date.fromisoformat(day) - today) <= _DAY
