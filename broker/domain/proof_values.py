"""Which values several statements leave of an attribute: where it is one, they show it.

"At least 5" and "at most 5" are harmless apart. So what a request says of one attribute, and of
those that it says are equal, is taken together. Values of a kind that is known are compared by its
type and bounds ("at most" the lowest value is that value); of others by what they look like:
numbers, days, and decimal identifiers have an order, codes have none.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.domain.errors import StatementShows
from zkp import (
    AtLeast,
    AtMost,
    Attribute,
    Between,
    Equal,
    MemberOf,
    NotMemberOf,
    OlderThan,
    Place,
    Schema,
    Statement,
    Value,
    ZkpError,
)
from zkp.predicates import latest_birthday

Comparable = int | str
"""A number has an order; a text stands for itself alone."""


def check_together(statements: Sequence[Statement], kinds: Mapping[str, Schema]) -> None:
    """Raise `StatementShows` where all that is said of an attribute holds of one value alone.

    `kinds` are the schemas of those credentials, by name, that are known.
    """
    for places in _equal_places(statements):
        said = [one for one in statements if one.place in places and not isinstance(one, Equal)]
        known = [_attribute(place, kinds) for place in sorted(places, key=str)]
        for attribute in {None, *known}:
            if _left_of(said, attribute).is_one_value:
                raise StatementShows(
                    "these statements together hold of one value alone and show the attribute: "
                    "leave more than one possible"
                )


@dataclass
class _Left:
    """What is left of an attribute's values, so far."""

    lows: set[Comparable] = field(default_factory=set)
    highs: set[Comparable] = field(default_factory=set)
    members: set[Comparable] | None = None
    excluded: set[Comparable] = field(default_factory=set)

    @property
    def is_one_value(self) -> bool:
        """Whether exactly one value is left, as far as that is known."""
        if any(isinstance(one, str) for one in self.lows & self.highs):
            return True
        low, high = max(_numbers(self.lows), default=None), min(_numbers(self.highs), default=None)
        if self.members is not None:
            rest = {one for one in self.members - self.excluded if _within(one, low, high)}
            return len(rest) == 1
        if low is None or high is None:
            return False
        gone = [one for one in _numbers(self.excluded) if low <= one <= high]
        return high - low + 1 - len(gone) == 1


def _left_of(said: Iterable[Statement], attribute: Attribute | None) -> _Left:
    left = _Left()
    if attribute is not None and attribute.largest is not None:
        left.lows.add(0)
        left.highs.add(attribute.largest)
    try:
        for statement in said:
            _narrow(left, statement, attribute)
    except ZkpError:
        return _Left()  # of another type: nobody can prove it, so it shows nothing
    return left


def _narrow(left: _Left, statement: Statement, attribute: Attribute | None) -> None:
    match statement:
        case AtLeast(value=value):
            left.lows.add(_comparable(value, attribute))
        case AtMost(value=value):
            left.highs.add(_comparable(value, attribute))
        case Between(low=low, high=high):
            left.lows.add(_comparable(low, attribute))
            left.highs.add(_comparable(high, attribute))
        case OlderThan(years=years, on=on):
            left.highs.add(_comparable(latest_birthday(years, on), attribute))
        case MemberOf(values=values):
            told = {_comparable(one, attribute) for one in values}
            left.members = told if left.members is None else left.members & told
        case NotMemberOf(values=values):
            left.excluded |= {_comparable(one, attribute) for one in values}


def _comparable(value: Value, attribute: Attribute | None) -> Comparable:
    if attribute is not None and attribute.largest is not None:
        return attribute.integer(value)
    if isinstance(value, int):
        return value
    if value.isascii() and value.isdecimal():
        return int(value)
    try:
        return dt.date.fromisoformat(value).toordinal()
    except ValueError:
        return value


def _equal_places(statements: Sequence[Statement]) -> list[set[Place]]:
    """The attributes that are spoken of, those together that are said to be equal."""
    of: dict[Place, set[Place]] = defaultdict(set)
    for statement in statements:
        places = {statement.place, *([statement.other] if isinstance(statement, Equal) else [])}
        joined = places.union(*(of[place] for place in places))
        for place in joined:
            of[place] = joined
    return list({id(places): places for places in of.values()}.values())


def _attribute(place: Place, kinds: Mapping[str, Schema]) -> Attribute | None:
    schema = kinds.get(place.credential)
    found = (one for one in schema.attributes if one.name == place.attribute) if schema else ()
    return next(iter(found), None)


def _numbers(values: Iterable[Comparable]) -> list[int]:
    return [one for one in values if isinstance(one, int)]


def _within(one: Comparable, low: int | None, high: int | None) -> bool:
    if isinstance(one, str):
        return True
    return (low is None or low <= one) and (high is None or one <= high)
