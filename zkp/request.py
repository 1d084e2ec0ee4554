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
from zkp.statements import LONGEST_TEXT, Statement, read_statement, read_text

VERSION: Final = "consent-broker-proof/1"
MOST_CREDENTIALS, MOST_STATEMENTS = 8, 32
SHORTEST_NONCE: Final = 16
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


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
        named = {name for statement in self.statements for name in statement.credentials}
        if named != set(self.credentials):
            raise StatementInvalid("the credentials are those that the statements name")

    def to_json(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "audience": self.audience,
            "credentials": list(self.credentials),
            "nonce": _encode(self.nonce),
            "request_hash": _encode(self.request_hash),
            "statements": [statement.to_json() for statement in self.statements],
            "version": VERSION,
        }

    def canonical(self) -> bytes:
        """The bytes that a challenge depends on."""
        return _CANONICAL.encode(self.to_json()).encode("ascii")

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
            tuple(read_text(name) for name in names),
            tuple(read_statement(one) for one in statements),
            _decode(told["nonce"]),
            read_text(told["audience"]),
            _decode(told["request_hash"]),
        )


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
