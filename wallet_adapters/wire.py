"""Reading untrusted bytes: sizes are capped before parsing, repetition is refused after.

Limits count bytes of UTF-8. `what` names the thing in messages; `error` is the protocol's own
value for the errors raised, where it is not `invalid_request`. Every function raises leaves of
`WalletProtocolError` only.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from credentials.errors import CredentialError
from credentials.errors import TooLarge as CredentialTooLarge
from credentials.jcs import b64url_decode
from credentials.json_reader import read_json
from wallet_adapters.errors import (
    Malformed,
    MissingParameter,
    RepeatedParameter,
    TooDeep,
    TooLarge,
)

MAX_JSON_BYTES: Final = 262_144
MAX_FORM_BYTES: Final = 524_288
MAX_JWS_BYTES: Final = 16_384
MAX_DEPTH: Final = 24
MAX_FIELDS: Final = 32
# RFC 3986 unreserved characters, the only ones that nonce and state may hold.
_URL_SAFE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def parse_json(
    data: bytes | str, *, what: str, max_bytes: int = MAX_JSON_BYTES, error: str | None = None
) -> object:
    """Parse JSON of at most `max_bytes` and `MAX_DEPTH` levels, without repeated members.

    Raises `TooLarge`, `TooDeep`, `RepeatedParameter` or `Malformed`.
    """
    raw = _utf8(data, what, error) if isinstance(data, str) else data
    if len(raw) > max_bytes:
        raise TooLarge(f"{what} has more than {max_bytes} bytes; send less", error=error)
    try:
        value = read_json(raw, max_bytes=max_bytes, max_depth=MAX_DEPTH)
        # Depth is known to be small now. Only this parser can tell a repeated member, of which
        # two readers of one message could each take another.
        json.loads(raw, object_pairs_hook=_refuse_repetition)
    except _Repeated as problem:
        raise RepeatedParameter(
            f"{what} has the member {problem.name!r} twice; send it once", error=error
        ) from None
    except CredentialTooLarge as problem:
        raise TooDeep(
            f"{what} is nested deeper than {MAX_DEPTH} levels, or has too many lists and objects",
            error=error,
        ) from problem
    except (CredentialError, ValueError) as problem:
        raise Malformed(f"{what} is not JSON in UTF-8", error=error) from problem
    return value


def parse_json_object(
    data: bytes | str | Mapping[str, object],
    *,
    what: str,
    max_bytes: int = MAX_JSON_BYTES,
    error: str | None = None,
) -> dict[str, object]:
    """Like `parse_json`, and the value is an object; one already parsed is checked for depth."""
    if isinstance(data, Mapping):
        check_depth(data, what=what, error=error)
        return dict(data)
    value = parse_json(data, what=what, max_bytes=max_bytes, error=error)
    if not isinstance(value, dict):
        raise Malformed(f"{what} must be a JSON object", error=error)
    return value


def check_depth(value: object, *, what: str, error: str | None = None) -> None:
    """Raise `TooDeep` when lists and objects are nested more than `MAX_DEPTH` levels."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                inner.extend(item.values())
            elif isinstance(item, list | tuple):
                inner.extend(item)
        level = inner
        if not level:
            return
    raise TooDeep(f"{what} is nested deeper than {MAX_DEPTH} levels", error=error)


def parse_form(body: bytes, *, max_bytes: int = MAX_FORM_BYTES) -> dict[str, str]:
    """Parse `application/x-www-form-urlencoded` bytes; each name may be there once.

    Raises `TooLarge`, `RepeatedParameter` or `Malformed`.
    """
    if len(body) > max_bytes:
        raise TooLarge(f"the form has more than {max_bytes} bytes; send less")
    try:
        return _fields(body.decode("ascii"))
    except ValueError as problem:
        raise Malformed(f"the body is no form of at most {MAX_FIELDS} UTF-8 fields") from problem


def parse_query(link: str, *, what: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, str]:
    """Query parameters of a link; raises `TooLarge`, `RepeatedParameter` or `Malformed`."""
    if len(_utf8(link, what, None)) > max_bytes:
        raise TooLarge(f"{what} has more than {max_bytes} bytes")
    try:
        return _fields(urlsplit(link).query)
    except ValueError as problem:
        raise Malformed(f"{what} is no link with UTF-8 parameters") from problem


def require_text(
    fields: Mapping[str, object],
    name: str,
    *,
    what: str,
    max_length: int = 2048,
    error: str | None = None,
) -> str:
    """The non-empty string `fields[name]`; raises `MissingParameter`, `TooLarge`, `Malformed`."""
    value = optional_text(fields, name, what=what, max_length=max_length, error=error)
    if not value:
        raise MissingParameter(f"{what} needs the parameter {name}", error=error)
    return value


def optional_text(
    fields: Mapping[str, object],
    name: str,
    *,
    what: str,
    max_length: int = 2048,
    error: str | None = None,
) -> str | None:
    """Like `require_text`, but None when the parameter is absent."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Malformed(f"{name} in {what} must be a string", error=error)
    if len(value) > max_length:
        raise TooLarge(f"{name} in {what} has more than {max_length} characters", error=error)
    return value


def require_url(
    fields: Mapping[str, object], name: str, *, what: str, error: str | None = None
) -> str:
    """`fields[name]`, an absolute http or https address; TLS is the deployment's to demand."""
    value = require_text(fields, name, what=what, error=error)
    if not is_url(value):
        raise Malformed(f"{name} in {what} must be an absolute http or https address", error=error)
    return value


def require_object(
    fields: Mapping[str, object], name: str, *, what: str, error: str | None = None
) -> dict[str, object]:
    """The JSON object `fields[name]`; raises `MissingParameter` or `Malformed`."""
    value = fields.get(name)
    if value is None:
        raise MissingParameter(f"{what} needs the parameter {name}", error=error)
    if not isinstance(value, dict):
        raise Malformed(f"{name} in {what} must be an object", error=error)
    return value


def require_strings(
    fields: Mapping[str, object], name: str, *, what: str, error: str | None = None
) -> tuple[str, ...]:
    """The non-empty array of non-empty strings `fields[name]`."""
    value = fields.get(name)
    if value is None:
        raise MissingParameter(f"{what} needs the parameter {name}", error=error)
    if not isinstance(value, list | tuple) or not value:
        raise Malformed(f"{name} in {what} must be a non-empty array", error=error)
    found = tuple(item for item in value if isinstance(item, str) and item)
    if len(found) != len(value):
        raise Malformed(f"{name} in {what} must hold non-empty strings only", error=error)
    return found


def is_url(text: str) -> bool:
    """Whether this is an absolute http or https address in printable ASCII, without user names."""
    # Browsers read a backslash as a slash: who then is the host is a matter of opinion.
    if not text.isascii() or any(letter <= " " or letter in "\x7f\\" for letter in text):
        return False
    try:
        parts = urlsplit(text)
        host = parts.hostname
        # Reading the port raises when it is no number of a port.
        return (
            parts.scheme in {"http", "https"}
            and bool(host)
            and parts.port != 0
            and ("@" not in parts.netloc)
        )
    except ValueError:
        return False


def is_url_safe(text: str) -> bool:
    """Whether this is made of RFC 3986 unreserved characters, as nonce and state must be."""
    return bool(text) and _URL_SAFE.issuperset(text)


def decode_base64url(text: str, *, what: str, error: str | None = None) -> bytes:
    """Decode unpadded base64url strictly; raises `Malformed`."""
    try:
        return b64url_decode(text)
    except CredentialError as problem:
        raise Malformed(f"{what} is not base64url without padding", error=error) from problem


class _Repeated(Exception):
    """Internal to `parse_json`: an object has two members of one name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name[:40]


def _refuse_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise _Repeated(name)
        members[name] = value
    return members


def _fields(query: str) -> dict[str, str]:
    pairs: Iterable[tuple[str, str]] = parse_qsl(
        query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
    )
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise RepeatedParameter(f"the parameter {name[:40]!r} is there twice; send it once")
        fields[name] = value
    return fields


def _utf8(text: str, what: str, error: str | None) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as problem:  # lone surrogates
        raise Malformed(f"{what} is not UTF-8", error=error) from problem
