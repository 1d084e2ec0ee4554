"""What is asked of a holder: statements over one or several credentials, for one occasion.

The JSON form is `zkp/schemas/proof-request.json`. Canonical JSON of it is in every challenge, with
the nonce, the audience and the hash of the message that carried it, so that a proof answers this
request and no other.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from zkp.errors import StatementInvalid, TooLarge
from zkp.predicates import (
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
from zkp.schema import Value

VERSION: Final = "consent-broker-proof/1"
MOST_CREDENTIALS, MOST_STATEMENTS = 8, 32
SHORTEST_NONCE, LONGEST_TEXT = 16, 2048
_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "reveal": frozenset(),
    "at_most": frozenset({"value"}),
    "at_least": frozenset({"value"}),
    "between": frozenset({"low", "high"}),
    "older_than": frozenset({"years", "on"}),
    "member_of": frozenset({"values"}),
    "not_member_of": frozenset({"values"}),
    "equal": frozenset({"other"}),
    "not_revoked": frozenset({"token", "epoch"}),
}


@dataclass(frozen=True)
class ProofRequest:
    """Credentials by the names that the statements give them, statements, and the occasion.

    `nonce` is at least 16 random bytes, good for one proof; `audience` names who asks;
    `request_hash` is the SHA-256 of the message that carried the request, or empty.
    """

    credentials: tuple[str, ...]
    statements: tuple[Statement, ...]
    nonce: bytes
    audience: str
    request_hash: bytes = b""

    def __post_init__(self) -> None:
        """Raise `StatementInvalid` or `TooLarge` for what cannot be asked."""
        if len(self.credentials) > MOST_CREDENTIALS or len(self.statements) > MOST_STATEMENTS:
            raise TooLarge(
                f"at most {MOST_STATEMENTS} statements over {MOST_CREDENTIALS} credentials"
            )
        if not self.credentials or not self.statements:
            raise StatementInvalid("a request names at least one credential and one statement")
        if len(set(self.credentials)) != len(self.credentials):
            raise StatementInvalid("a request names a credential twice")
        if not SHORTEST_NONCE <= len(self.nonce) <= LONGEST_TEXT or not self.audience:
            raise StatementInvalid("a request has an audience and a nonce of at least 16 bytes")
        named = {name for statement in self.statements for name in _names(statement)}
        if named != set(self.credentials):
            raise StatementInvalid("the credentials are those that the statements name")

    def to_json(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "audience": self.audience,
            "credentials": list(self.credentials),
            "nonce": _encode(self.nonce),
            "request_hash": _encode(self.request_hash),
            "statements": [_statement_json(statement) for statement in self.statements],
            "version": VERSION,
        }

    def canonical(self) -> bytes:
        """The bytes that a challenge depends on."""
        return json.dumps(
            self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        ).encode("ascii")

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` gives. Raises `StatementInvalid`, `TooLarge`."""
        members = {"audience", "credentials", "nonce", "request_hash", "statements", "version"}
        if set(told) != members or told["version"] != VERSION:
            raise StatementInvalid(f"a proof request is of version {VERSION}, with its members")
        names, statements = told["credentials"], told["statements"]
        if not isinstance(names, list) or not isinstance(statements, list):
            raise StatementInvalid("credentials and statements are lists")
        if len(names) > MOST_CREDENTIALS or len(statements) > MOST_STATEMENTS:
            raise TooLarge(
                f"at most {MOST_STATEMENTS} statements over {MOST_CREDENTIALS} credentials"
            )
        return cls(
            tuple(_text(name) for name in names),
            tuple(_read_statement(one) for one in statements),
            _decode(told["nonce"]),
            _text(told["audience"]),
            _decode(told["request_hash"]),
        )


def _read_statement(told: object) -> Statement:
    if not isinstance(told, dict):
        raise StatementInvalid("a statement is an object")
    kind = told.get("type")
    members = _MEMBERS.get(kind) if isinstance(kind, str) else None
    if members is None or set(told) != members | {"type", "credential", "attribute"}:
        raise StatementInvalid("a statement is of a known type, with the members of its type")
    place = Place(_text(told["credential"]), _text(told["attribute"]))
    match kind:
        case "reveal":
            return Reveal(place)
        case "at_most":
            return AtMost(place, _value(told["value"]))
        case "at_least":
            return AtLeast(place, _value(told["value"]))
        case "between":
            return Between(place, _value(told["low"]), _value(told["high"]))
        case "older_than":
            return OlderThan(place, _whole(told["years"]), _text(told["on"]))
        case "member_of":
            return MemberOf(place, _values(told["values"]))
        case "not_member_of":
            return NotMemberOf(place, _values(told["values"]))
        case "equal":
            other = told["other"]
            if not isinstance(other, dict) or set(other) != {"credential", "attribute"}:
                raise StatementInvalid("equal: the other place is a credential and an attribute")
            return Equal(place, Place(_text(other["credential"]), _text(other["attribute"])))
        case _:
            return NotRevoked(place, _text(told["token"]), _whole(told["epoch"]))


def _statement_json(statement: Statement) -> dict[str, Any]:
    told: dict[str, Any] = {
        "credential": statement.place.credential,
        "attribute": statement.place.attribute,
    }
    match statement:
        case Reveal():
            return {"type": "reveal", **told}
        case AtMost(_, value):
            return {"type": "at_most", "value": value, **told}
        case AtLeast(_, value):
            return {"type": "at_least", "value": value, **told}
        case Between(_, low, high):
            return {"type": "between", "low": low, "high": high, **told}
        case OlderThan(_, years, on):
            return {"type": "older_than", "years": years, "on": on, **told}
        case MemberOf(_, values):
            return {"type": "member_of", "values": list(values), **told}
        case NotMemberOf(_, values):
            return {"type": "not_member_of", "values": list(values), **told}
        case Equal(_, other):
            second = {"credential": other.credential, "attribute": other.attribute}
            return {"type": "equal", "other": second, **told}
        case NotRevoked(_, token, epoch):
            return {"type": "not_revoked", "token": token, "epoch": epoch, **told}


def _names(statement: Statement) -> set[str]:
    names = {statement.place.credential}
    if isinstance(statement, Equal):
        names.add(statement.other.credential)
    if isinstance(statement, NotRevoked):
        names.add(statement.token)
    return names


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        raise StatementInvalid(f"text of 1 to {LONGEST_TEXT} letters was expected")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise StatementInvalid("a whole number from 0 to 2**53 - 1 was expected")
    return value


def _value(value: object) -> Value:
    if type(value) is int and abs(value) < 2**53:
        return value
    return _text(value)


def _values(value: object) -> tuple[Value, ...]:
    if not isinstance(value, list) or not value:
        raise StatementInvalid("a set is a list of values, at least one")
    return tuple(_value(one) for one in value)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(value: object) -> bytes:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise StatementInvalid("base64url without padding was expected")
    try:
        data = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise StatementInvalid("base64url without padding was expected") from None
    if _encode(data) != value:
        raise StatementInvalid("base64url without padding was expected")
    return data
