"""Which values several statements leave of an attribute: where it is one, they show it.

"At least 5" and "at most 5" are harmless apart. So what a request says of one attribute, and of
those that it says are equal, is taken together. Values of a kind that is known are compared by its
type and bounds ("at most" the lowest value is that value); of others by what they look like:
numbers, days, and decimal identifiers have an order, codes have none.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self, TypeVar

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
from zkp.schema import Kind

T = TypeVar("T")
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,38}")  # an identifier's 128 bits have 39 digits


class _Ordered(NamedTuple):
    """A value of a type that has an order: each type's values are compared among themselves."""

    kind: Kind
    at: int


Comparable = _Ordered | str
"""What has an order; a text stands for itself alone."""


def check_together(
    statements: Sequence[Statement], asked: Mapping[str, str], kinds: Mapping[str, Schema]
) -> None:
    """Raise `StatementShows` where what is said of an attribute can hold of one value alone.

    `asked` are the schemas' ids by the credentials' names, and `kinds` the schemas that are known,
    by their ids. One credential in a wallet may answer for several names of its kind. So what is
    said under these is taken together wherever it can be true of one credential.
    """
    # A name of no kind is one of its own.
    of_kind = {
        places: frozenset(
            (asked.get(one.credential, one.credential), one.attribute) for one in places
        )
        for places in _joined(frozenset(_places(one)) for one in statements)
    }
    for group in _joined(of_kind.values()):
        apart = [
            [one for one in statements if one.place in places and not isinstance(one, Equal)]
            for places, found in of_kind.items()
            if found <= group
        ]
        for attribute in {None, *(_attribute(*one, kinds) for one in group)}:
            if _can_show([_left_of(said, attribute) for said in apart]):
                raise StatementShows(
                    "these statements together hold of one value alone and show the attribute: "
                    "leave more than one possible, also where one credential answers for two names"
                )


def _can_show(apart: Sequence["_Left"]) -> bool:
    """Whether some of these, taken together, leave one value: then those do that all allow it."""
    values = {value for one in apart for value in one.candidates}
    allowing = {
        tuple(number for number, one in enumerate(apart) if one.allows(value)) for value in values
    }
    return any(
        _Left.of_all([apart[number] for number in numbers]).is_one_value for numbers in allowing
    )


@dataclass
class _Left:
    """What is left of an attribute's values, so far."""

    lows: set[Comparable] = field(default_factory=set)
    highs: set[Comparable] = field(default_factory=set)
    members: set[Comparable] | None = None
    excluded: set[Comparable] = field(default_factory=set)

    @classmethod
    def of_all(cls, several: Sequence[Self]) -> Self:
        """What all of them leave."""
        members = [one.members for one in several if one.members is not None]
        return cls(
            set().union(*(one.lows for one in several)),
            set().union(*(one.highs for one in several)),
            set.intersection(*members) if members else None,
            set().union(*(one.excluded for one in several)),
        )

    @property
    def candidates(self) -> set[Comparable]:
        """The values of which each can be the only one: where a range begins, or a set's own."""
        behind = {one._replace(at=one.at + 1) for one in self.excluded if isinstance(one, _Ordered)}
        return self.lows | behind | (self.members or set())

    def allows(self, value: Comparable) -> bool:
        """Whether it may be this one, as far as that is known."""
        told = self.members is None or value in self.members
        return told and value not in self.excluded and self._within(value)

    @property
    def is_one_value(self) -> bool:
        """Whether exactly one value is left, as far as that is known."""
        if any(isinstance(one, str) for one in self.lows & self.highs):
            return True
        if self.members is not None:
            return len([one for one in self.members if self.allows(one)]) == 1
        bounds = {one.kind for one in self.lows | self.highs if isinstance(one, _Ordered)}
        if len(bounds) != 1:
            return False  # none, or of several types: nobody can prove it
        kind = bounds.pop()
        low = max(_numbers(self.lows, kind), default=None)
        high = min(_numbers(self.highs, kind), default=None)
        if low is None or high is None or high - low > len(self.excluded):
            return False
        gone = [one for one in _numbers(self.excluded, kind) if low <= one <= high]
        return high - low + 1 - len(gone) == 1

    def _within(self, value: Comparable) -> bool:
        if isinstance(value, str):
            return True
        return all(low <= value.at for low in _numbers(self.lows, value.kind)) and all(
            value.at <= high for high in _numbers(self.highs, value.kind)
        )


def _left_of(said: Iterable[Statement], attribute: Attribute | None) -> _Left:
    left = _Left()
    if attribute is not None and attribute.largest is not None:
        left.lows.add(_Ordered(attribute.kind, 0))
        left.highs.add(_Ordered(attribute.kind, attribute.largest))
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
        return _Ordered(attribute.kind, attribute.integer(value))
    if isinstance(value, int):
        return _Ordered("number", value)
    # Only what a type writes in this one way: another text is another value.
    if _WHOLE.fullmatch(value):
        return _Ordered("identifier", int(value))
    try:
        day = dt.date.fromisoformat(value)
    except ValueError:
        return value
    return _Ordered("date", day.toordinal()) if day.isoformat() == value else value


def _places(statement: Statement) -> set[Place]:
    return {statement.place, statement.other} if isinstance(statement, Equal) else {statement.place}


def _joined(sets: Iterable[frozenset[T]]) -> list[frozenset[T]]:
    """The unions of those that have something in common."""
    found: list[frozenset[T]] = []
    for one in sets:
        common = [other for other in found if other & one]
        found = [other for other in found if not other & one] + [one.union(*common)]
    return found


def _attribute(schema_id: str, name: str, kinds: Mapping[str, Schema]) -> Attribute | None:
    schema = kinds.get(schema_id)
    found = (one for one in schema.attributes if one.name == name) if schema else ()
    return next(iter(found), None)


def _numbers(values: Iterable[Comparable], kind: Kind) -> list[int]:
    return [one.at for one in values if isinstance(one, _Ordered) and one.kind == kind]
