"""Statements about hidden attributes, and the rows that they become.

`m` is the attribute's scalar, `b` are bits; n bits hold the range of the attribute's type.

| statement | rows |
| --- | --- |
| at most K | m + sum 2^i b_i = K |
| at least K | m - sum 2^i b_i = K |
| between | both rows, on the same m, each with bits of its own |
| older than N years on a date | at most the day that many calendar years before |
| member of {s_1 .. s_n} | m - sum s_i b_i = 0 and sum b_i = 1 |
| not a member of {s_1 < .. < s_n} | a hidden gap g between neighbours, one bit each: sum h_g = 1, |
| | m - sum h_g (s_g + 1) - sum 2^l b_l = 0, m - sum h_g (s_(g+1) - 1) + sum 2^l b'_l = 0 |
| equal | m - m' = 0 |
| revealed | none: the attribute is not hidden |
| not revoked in epoch E | a second credential of the same issuer, of the schema of status tokens, |
| | with the epoch revealed and its identifier equal to the credential's |

Why they cannot be fooled by wrapping around the order: the issuer signs no scalar outside its
type, K and the s_i are checked to be in it, and 2^n is far below the order, so each equation holds
of the integers if it holds modulo the order.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from zkp.errors import AttributeInvalid, StatementFalse, StatementInvalid, TooLarge
from zkp.linear import MOST_BITS, LinearSystem, Row
from zkp.schema import Attribute, Schema, Value
from zkp.statements import (
    AtLeast,
    AtMost,
    Between,
    Equal,
    MemberOf,
    NotMemberOf,
    NotRevoked,
    OlderThan,
    Place,
    Reveal,
    Statement,
)

MOST_SET: Final = 256
STATUS_SCHEMA: Final = "status-token/1"
EPOCH, REVOCATION_ID = "epoch", "revocation_id"

STATUS_TOKEN: Final = Schema(
    STATUS_SCHEMA,
    (
        Attribute(EPOCH, "number", 0, 2**32 - 2, "epoch"),
        Attribute(REVOCATION_ID, "identifier"),
    ),
)
"""What a status token signs: that an identifier was not revoked in an epoch."""


Witness = Callable[[int], int]


def latest_birthday(years: int, on: str) -> str:
    """The last date of birth with which one is `years` old on a date. Raises `StatementInvalid`."""
    try:
        day = dt.date.fromisoformat(on)
        earliest = day.year - years
        if years < 0 or len(on) != len("2026-11-26"):
            raise StatementInvalid("years are a whole number from 0")
        if (day.month, day.day) == (2, 29):
            # Born on 1 March: the birthday is still to come. Born on 29 or 28 February: it is not.
            return (dt.date(earliest, 3, 1) - dt.timedelta(days=1)).isoformat()
        return day.replace(year=earliest).isoformat()
    except (ValueError, TypeError, OverflowError):
        raise StatementInvalid("the date or the years are none") from None


class Compiler:
    """Makes the rows, and by a witness the bits.

    `variables` numbers the hidden attributes; bits are numbered behind them, in order of the
    statements, so that prover and verifier number alike.
    """

    def __init__(self, schemas: Mapping[str, Schema], variables: Mapping[Place, int]) -> None:
        self._schemas, self._variables = schemas, variables
        self._rows: list[Row] = []
        self._bits = 0
        self._fill: list[Callable[[Witness], Iterator[int]]] = []

    def system(self) -> LinearSystem:
        """The rows so far."""
        return LinearSystem(len(self._variables), self._bits, tuple(self._rows))

    def bits(self, witness: Witness) -> list[int]:
        """The bits, by the integers of the hidden attributes. Raises `StatementFalse`."""
        found = [bit for fill in self._fill for bit in fill(witness)]
        if any(bit not in {0, 1} for bit in found) or len(found) != self._bits:
            raise StatementFalse("a statement is not true of these attributes")
        return found

    def add(self, statement: Statement) -> None:
        """Add a statement's rows. Raises `StatementInvalid`, `TooLarge`."""
        rows: dict[type[Statement], Callable[[Any], object]] = {
            Reveal: lambda one: self.attribute(one.place),
            AtMost: lambda one: self._bound(one.place, one.value, 1),
            AtLeast: lambda one: self._bound(one.place, one.value, -1),
            Between: self._between,
            OlderThan: self._older_than,
            MemberOf: lambda one: self._member(one.place, one.values),
            NotMemberOf: lambda one: self._not_member(one.place, one.values),
            Equal: lambda one: self._equal(one.place, one.other),
            NotRevoked: lambda one: self._equal(one.place, Place(one.token, REVOCATION_ID)),
        }
        rows[type(statement)](statement)

    def attribute(self, place: Place) -> Attribute:
        """The type of an attribute. Raises `StatementInvalid` when there is none."""
        schema = self._schemas.get(place.credential)
        for attribute in schema.attributes if schema else ():
            if attribute.name == place.attribute:
                return attribute
        raise StatementInvalid("a statement names an attribute that no credential here has")

    def _variable(self, place: Place) -> int:
        self.attribute(place)
        number = self._variables.get(place)
        if number is None:
            raise StatementInvalid("a statement hides an attribute that another one reveals")
        return number

    def _largest(self, place: Place) -> int:
        largest = self.attribute(place).largest
        if largest is None:
            raise StatementInvalid("text can be revealed and compared, it has no order")
        return largest

    def _integer(self, place: Place, value: Value) -> int:
        self._largest(place)
        try:
            return self.attribute(place).integer(value)
        except AttributeInvalid as error:
            raise StatementInvalid(f"a statement's value is not of the type: {error}") from None

    def _new_bits(self, count: int, fill: Callable[[Witness], Iterator[int]]) -> range:
        if self._bits + count > MOST_BITS:
            raise TooLarge(f"the statements need more than {MOST_BITS} bits")
        start = len(self._variables) + self._bits
        self._bits += count
        self._fill.append(fill)
        return range(start, start + count)

    def _bound(self, place: Place, value: Value, sign: int) -> None:
        """One row: m + sign * sum 2^i b_i = K: at most K for 1, at least K for -1."""
        variable, limit = self._variable(place), self._integer(place, value)
        self._distance(variable, {}, limit, sign, self._largest(place), lambda _: limit)

    def _between(self, statement: Between) -> None:
        place = statement.place
        if self._integer(place, statement.low) > self._integer(place, statement.high):
            raise StatementInvalid("between: the low end is above the high end")
        self._bound(place, statement.high, 1)
        self._bound(place, statement.low, -1)

    def _older_than(self, statement: OlderThan) -> None:
        if self.attribute(statement.place).kind != "date":
            raise StatementInvalid("older than: the attribute is no date")
        self._bound(statement.place, latest_birthday(statement.years, statement.on), 1)

    def _distance(
        self,
        variable: int,
        others: Mapping[int, int],
        constant: int,
        sign: int,
        largest: int,
        limit: Callable[[Witness], int],
    ) -> None:
        """One row: m + others + sign * sum 2^i b_i = constant; the bits are sign (limit - m)."""
        count = max(largest.bit_length(), 1)

        def fill(witness: Witness) -> Iterator[int]:
            distance = sign * (limit(witness) - witness(variable))
            if not 0 <= distance < 2**count:
                raise StatementFalse("a statement is not true of these attributes")
            return (distance >> place & 1 for place in range(count))

        bits = self._new_bits(count, fill)
        weights = {bit: sign * 2**place for place, bit in enumerate(bits)}
        self._rows.append(Row({variable: 1, **others, **weights}, constant))

    def _member(self, place: Place, values: Sequence[Value]) -> None:
        variable = self._variable(place)
        members = self._set(place, values)
        bits = self._new_bits(
            len(members), lambda witness: (int(witness(variable) == one) for one in members)
        )
        weights = {bit: -one for bit, one in zip(bits, members, strict=True)}
        self._rows.append(Row({variable: 1, **weights}, 0))
        self._rows.append(Row(dict.fromkeys(bits, 1), 1))
        self._fill.append(lambda witness: _only_if(witness(variable) in members))

    def _not_member(self, place: Place, values: Sequence[Value]) -> None:
        variable, largest = self._variable(place), self._largest(place)
        walls = [-1, *sorted(self._set(place, values)), largest + 1]
        gaps = [(low + 1, high - 1) for low, high in pairwise(walls) if high - low > 1]
        if not gaps:
            raise StatementInvalid("not a member: the set leaves no value")

        def gap(witness: Witness) -> tuple[int, int]:
            for low, high in gaps:
                if low <= witness(variable) <= high:
                    return low, high
            raise StatementFalse("a statement is not true of these attributes")

        chosen = self._new_bits(
            len(gaps), lambda witness: (int(gap(witness) == one) for one in gaps)
        )
        self._rows.append(Row(dict.fromkeys(chosen, 1), 1))
        lows = {bit: -low for bit, (low, _) in zip(chosen, gaps, strict=True)}
        highs = {bit: -high for bit, (_, high) in zip(chosen, gaps, strict=True)}
        self._distance(variable, lows, 0, -1, largest, lambda witness: gap(witness)[0])
        self._distance(variable, highs, 0, 1, largest, lambda witness: gap(witness)[1])

    def _set(self, place: Place, values: Sequence[Value]) -> list[int]:
        if not 0 < len(values) <= MOST_SET:
            raise TooLarge(f"a set has 1 to {MOST_SET} members")
        members = [self._integer(place, value) for value in values]
        if len(set(members)) != len(members):
            raise StatementInvalid("a set names a member twice")
        return members

    def _equal(self, place: Place, other: Place) -> None:
        first, second = self.attribute(place), self.attribute(other)
        if place == other:
            raise StatementInvalid("an attribute is equal to itself: that says nothing")
        if _type(first) != _type(second):
            raise StatementInvalid("equal: the attributes are of different types or units")
        one, two = self._variable(place), self._variable(other)
        self._rows.append(Row({one: 1, two: -1}, 0))


def _type(attribute: Attribute) -> tuple[object, ...]:
    return (attribute.kind, attribute.low, attribute.high, attribute.unit, attribute.codes)


def _only_if(holds: bool) -> Iterator[int]:  # noqa: FBT001
    """No bit, but an end to a proof of what is false."""
    if not holds:
        raise StatementFalse("a statement is not true of these attributes")
    return iter(())
