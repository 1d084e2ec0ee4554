"""What can be stated of hidden attributes, and its JSON form (`zkp/schemas/proof-request.json`).

A new kind of statement is a class here and a method of `predicates.Compiler`; a reader that does
not know it refuses the request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final

from zkp.errors import StatementInvalid
from zkp.schema import Value

LONGEST_TEXT: Final = 2048


@dataclass(frozen=True)
class Place:
    """An attribute of one of the presentation's credentials, by their names."""

    credential: str
    attribute: str

    def to_json(self) -> dict[str, Any]:
        """Its two names."""
        return {"credential": self.credential, "attribute": self.attribute}


@dataclass(frozen=True)
class Statement:
    """Something about the attribute at `place`; `kind` is its `type` in JSON."""

    kind: ClassVar[str] = ""
    place: Place

    @property
    def credentials(self) -> frozenset[str]:
        """The credentials that it is about."""
        return frozenset({self.place.credential})

    def to_json(self) -> dict[str, Any]:
        """As it is sent."""
        told: dict[str, Any] = {"type": self.kind, **self.place.to_json()}
        for member in _MEMBERS[type(self)]:
            told[member] = _WRITERS.get(member, _as_it_is)(getattr(self, member))
        return told


@dataclass(frozen=True)
class Reveal(Statement):
    """The attribute's value is shown."""

    kind: ClassVar[str] = "reveal"


@dataclass(frozen=True)
class AtMost(Statement):
    """The attribute is at most `value`."""

    kind: ClassVar[str] = "at_most"
    value: Value


@dataclass(frozen=True)
class AtLeast(Statement):
    """The attribute is at least `value`."""

    kind: ClassVar[str] = "at_least"
    value: Value


@dataclass(frozen=True)
class Between(Statement):
    """The attribute is `low`, `high`, or between them."""

    kind: ClassVar[str] = "between"
    low: Value
    high: Value


@dataclass(frozen=True)
class OlderThan(Statement):
    """The date is one whose `years`-th anniversary is `on` or before it, by the calendar.

    Who was born on 29 February has it on 1 March in years without one.
    """

    kind: ClassVar[str] = "older_than"
    years: int
    on: str


@dataclass(frozen=True)
class MemberOf(Statement):
    """The attribute is one of `values`."""

    kind: ClassVar[str] = "member_of"
    values: tuple[Value, ...]


@dataclass(frozen=True)
class NotMemberOf(Statement):
    """The attribute is none of `values`."""

    kind: ClassVar[str] = "not_member_of"
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Equal(Statement):
    """The attribute is the same as that at `other`; both stay hidden."""

    kind: ClassVar[str] = "equal"
    other: Place

    @property
    def credentials(self) -> frozenset[str]:
        """Both."""
        return frozenset({self.place.credential, self.other.credential})


@dataclass(frozen=True)
class NotRevoked(Statement):
    """The attribute, a revocation id, is that of the status token `token` of this epoch."""

    kind: ClassVar[str] = "not_revoked"
    token: str
    epoch: int

    @property
    def credentials(self) -> frozenset[str]:
        """The credential and its token."""
        return frozenset({self.place.credential, self.token})


KINDS: Final[Mapping[str, type[Statement]]] = {
    kind.kind: kind
    for kind in (
        *(Reveal, AtMost, AtLeast, Between, OlderThan),
        *(MemberOf, NotMemberOf, Equal, NotRevoked),
    )
}
_MEMBERS: Final[Mapping[type[Statement], tuple[str, ...]]] = {
    kind: tuple(one.name for one in fields(kind) if one.name != "place") for kind in KINDS.values()
}


def read_statement(told: object) -> Statement:
    """A statement from its JSON object. Raises `StatementInvalid`."""
    if not isinstance(told, dict):
        raise StatementInvalid("a statement is an object")
    name = told.get("type")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None or set(told) != {"type", "credential", "attribute", *_MEMBERS[kind]}:
        raise StatementInvalid("a statement is of a known type, with the members of its type")
    place = Place(read_text(told["credential"]), read_text(told["attribute"]))
    return kind(place, **{member: _READERS[member](told[member]) for member in _MEMBERS[kind]})


def read_text(value: object) -> str:
    """Text of 1 to 2,048 letters. Raises `StatementInvalid`."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        raise StatementInvalid(f"text of 1 to {LONGEST_TEXT} letters was expected")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise StatementInvalid("text that is Unicode was expected: half of a pair is none")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise StatementInvalid("a whole number from 0 to 2**53 - 1 was expected")
    return value


def _value(value: object) -> Value:
    if type(value) is int and abs(value) < 2**53:
        return value
    return read_text(value)


def _values(value: object) -> tuple[Value, ...]:
    if not isinstance(value, list) or not value:
        raise StatementInvalid("a set is a list of values, at least one")
    return tuple(_value(one) for one in value)


def _place(value: object) -> Place:
    if not isinstance(value, dict) or set(value) != {"credential", "attribute"}:
        raise StatementInvalid("a place is a credential and an attribute")
    return Place(read_text(value["credential"]), read_text(value["attribute"]))


def _as_it_is(value: object) -> object:
    return value


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "value": _value,
    "low": _value,
    "high": _value,
    "years": _whole,
    "on": read_text,
    "values": _values,
    "other": _place,
    "token": read_text,
    "epoch": _whole,
}
_WRITERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "values": list,
    "other": Place.to_json,
}
