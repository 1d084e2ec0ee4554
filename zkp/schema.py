"""Typed attributes: which of a credential's attributes are numbers, and within which bounds.

A statement about a hidden attribute is one about a scalar; it means something only if everybody
reads that scalar in the same way and if it cannot wrap around the order of the group. So a
credential's schema fixes type and bounds of each attribute and is signed in the header, and the
issuer refuses values outside.

| type | scalar | bounds |
| --- | --- | --- |
| `date` | days since 1900-01-01 | 0 to 65,535 (2079-06-06) |
| `number` | value - low | low to high, a range below 2**32 |
| `code` | place of the code in the schema's list | the list |
| `identifier` | 128 bits | 0 to 2**128 - 1 |
| `text` | hash of its UTF-8 bytes | equality and revealing only |
"""

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from zkp.curve import Scalar, scalar_from_int
from zkp.errors import AttributeInvalid, SchemaInvalid, TooLarge
from zkp.suite import BLS12_381_SHA_256, MOST_MESSAGES, Interface

Kind = Literal["date", "number", "code", "identifier", "text"]
KINDS: Final = get_args(Kind)
Value = str | int

TYPED: Final = Interface(BLS12_381_SHA_256, BLS12_381_SHA_256.id + b"H2G_CONSENT_BROKER_TYPED_V1_")
"""The BBS interface of typed attributes: no signature of another one passes for one of these."""

FIRST_DAY: Final = dt.date(1900, 1, 1)
DATE_BITS, IDENTIFIER_BITS, MOST_NUMBER_BITS = 16, 128, 32
MOST_CODES, LONGEST_TEXT, LONGEST_NAME = 512, 4096, 64
LONGEST_HEADER: Final = 65_536
HEADER: Final = "consent-broker-bbs/1"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_IDENTIFIER_DIGITS = 39  # of 2**128 - 1
_WHOLE = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True)
class Attribute:
    """An attribute's name and type; `low`, `high` and `unit` of numbers, `codes` of codes."""

    name: str
    kind: Kind
    low: int = 0
    high: int = 0
    unit: str = ""
    codes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `SchemaInvalid` for a type that is none, or bounds that hold nothing."""
        if _NAME.fullmatch(self.name) is None or len(self.name) > LONGEST_NAME:
            raise SchemaInvalid("an attribute's name is like birth_date")
        if self.kind == "number":
            if not 0 < self.high - self.low < 2**MOST_NUMBER_BITS or abs(self.low) >= 2**53:
                raise SchemaInvalid("a number's bounds span 1 to 2**32 - 1, from a low below 2**53")
        elif (self.low, self.high, self.unit) != (0, 0, ""):
            raise SchemaInvalid("bounds and unit belong to a number")
        if self.kind == "code":
            if not 1 < len(self.codes) <= MOST_CODES or len(set(self.codes)) != len(self.codes):
                raise SchemaInvalid(f"a code has 2 to {MOST_CODES} different values")
            if any(not code or len(code) > LONGEST_NAME for code in self.codes):
                raise SchemaInvalid(f"a code is 1 to {LONGEST_NAME} letters long")
        elif self.codes:
            raise SchemaInvalid("a list of codes belongs to a code")

    @property
    def largest(self) -> int | None:
        """The largest scalar of the type; None for text, whose scalars have no order."""
        match self.kind:
            case "date":
                return (1 << DATE_BITS) - 1
            case "number":
                return self.high - self.low
            case "code":
                return len(self.codes) - 1
            case "identifier":
                return (1 << IDENTIFIER_BITS) - 1
            case _:
                return None

    def integer(self, value: Value) -> int:
        """The scalar of a value, as a number. Raises `AttributeInvalid`; text has none."""
        found = self._integer(value)
        largest = self.largest
        if found is None or largest is None or not 0 <= found <= largest:
            raise AttributeInvalid(f"{self.name}: the value is not one of its type {self.kind}")
        return found

    def scalar(self, value: Value) -> Scalar:
        """The scalar of a value. Raises `AttributeInvalid`, which does not name the value."""
        if self.kind != "text":
            return scalar_from_int(self.integer(value))
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise AttributeInvalid(f"{self.name}: text of at most {LONGEST_TEXT} letters")
        try:
            return TYPED.message_scalar(value.encode())
        except UnicodeEncodeError:
            raise AttributeInvalid(f"{self.name}: text that is not Unicode") from None

    def _integer(self, value: Value) -> int | None:
        if self.kind == "number":
            is_number = isinstance(value, int) and not isinstance(value, bool)
            return int(value) - self.low if is_number else None
        if not isinstance(value, str):
            return None
        if self.kind == "date":
            return _days(value)
        if self.kind == "code":
            return self.codes.index(value) if value in self.codes else None
        if self.kind == "identifier":
            # Decimal, since JSON's numbers are not exact at 128 bits.
            return (
                int(value) if len(value) <= _IDENTIFIER_DIGITS and _WHOLE.fullmatch(value) else None
            )
        return None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the header."""
        told: dict[str, Any] = {"name": self.name, "type": self.kind}
        if self.kind == "number":
            told |= {"low": self.low, "high": self.high, "unit": self.unit}
        if self.kind == "code":
            told["codes"] = list(self.codes)
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` gives. Raises `SchemaInvalid`."""
        kind: Any = told.get("type")
        expected = {"name", "type"}
        expected |= {"low", "high", "unit"} if kind == "number" else set()
        expected |= {"codes"} if kind == "code" else set()
        if set(told) != expected or kind not in KINDS:
            raise SchemaInvalid("an attribute has a name, a type, and what belongs to its type")
        codes = told.get("codes", [])
        low, high = told.get("low", 0), told.get("high", 0)
        texts = [
            told["name"],
            told.get("unit", ""),
            *(codes if isinstance(codes, list) else [None]),
        ]
        if any(not isinstance(text, str) for text in texts) or any(
            type(bound) is not int for bound in (low, high)
        ):
            raise SchemaInvalid("names, units and codes are text; bounds are whole numbers")
        return cls(told["name"], kind, low, high, told.get("unit", ""), tuple(codes))


@dataclass(frozen=True)
class Schema:
    """A kind of credential: its id and its attributes, in the order in which they are signed."""

    id: str
    attributes: tuple[Attribute, ...]

    def __post_init__(self) -> None:
        """Raise `SchemaInvalid`: no attributes, too many, or two of one name."""
        names = [attribute.name for attribute in self.attributes]
        if not 0 < len(names) < MOST_MESSAGES or len(set(names)) != len(names) or not self.id:
            raise SchemaInvalid(
                f"a schema has an id and 1 to {MOST_MESSAGES - 1} attributes by name"
            )

    def index(self, name: str) -> int:
        """Where an attribute stands. Raises `SchemaInvalid`."""
        for number, attribute in enumerate(self.attributes):
            if attribute.name == name:
                return number
        raise SchemaInvalid("the schema has no attribute of this name")

    def scalars(self, values: Mapping[str, Value]) -> list[Scalar]:
        """The messages to sign. Raises `AttributeInvalid`: missing, unknown, or out of bounds."""
        if set(values) != {attribute.name for attribute in self.attributes}:
            raise AttributeInvalid("a credential has exactly the attributes of its schema")
        return [attribute.scalar(values[attribute.name]) for attribute in self.attributes]

    def header(self, issuer: str) -> bytes:
        """What is signed beside the attributes, the same for every holder: canonical JSON."""
        told = {
            "attributes": [attribute.to_json() for attribute in self.attributes],
            "format": HEADER,
            "issuer": issuer,
            "schema": self.id,
        }
        return _canonical(told)

    @classmethod
    def from_header(cls, header: bytes) -> tuple[Self, str]:
        """The schema and the issuer that a header names. Raises `SchemaInvalid`."""
        if len(header) > LONGEST_HEADER:
            raise TooLarge(f"a header has at most {LONGEST_HEADER} bytes")
        try:
            told = json.loads(header)
            attributes, issuer, schema_id = told["attributes"], told["issuer"], told["schema"]
            if not isinstance(issuer, str) or not isinstance(schema_id, str):
                raise SchemaInvalid("issuer and schema are text")
            schema = cls(schema_id, tuple(Attribute.from_json(one) for one in attributes))
            # What is not in the form of `header`, members of other names included, differs here.
            canonical = schema.header(issuer) == header
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise SchemaInvalid("the header is not in the form of one") from None
        if not canonical:
            raise SchemaInvalid("the header is of another format, or not in canonical form")
        return schema, issuer


def _days(text: str) -> int | None:
    try:
        return (dt.date.fromisoformat(text) - FIRST_DAY).days if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def _canonical(told: Mapping[str, Any]) -> bytes:
    """RFC 8785 for what stands in headers: names in ASCII, whole numbers, text."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
