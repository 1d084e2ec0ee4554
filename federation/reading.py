"""Reading members of untrusted JSON strictly: exactly the members named, each of one type.

Numbers with a fraction are decimals in text (`"0.00001"`), in the one shortest spelling: what is
signed holds no floats (`credentials.jcs`), and one value has one spelling.
"""

import re
from collections.abc import Mapping
from typing import Any

from credentials.errors import CredentialError
from credentials.errors import TooLarge as JsonTooLarge
from credentials.jcs import b64url, b64url_decode
from credentials.json_reader import MAX_CONTAINERS, read_json_object
from federation.errors import Malformed, TooLarge

HASH_BYTES = 32
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{0,11}[1-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def json_object(data: bytes, *, largest: int, containers: int = MAX_CONTAINERS) -> dict[str, Any]:
    """Parse one JSON object of at most `largest` bytes, with so many objects and lists in it.

    Raises `Malformed` or `TooLarge`.
    """
    try:
        return read_json_object(data, max_bytes=largest, max_containers=containers)
    except JsonTooLarge as error:
        raise TooLarge(str(error)) from None
    except CredentialError as error:
        raise Malformed(str(error)) from None


def members(value: object, what: str, names: frozenset[str]) -> Mapping[str, Any]:
    """An object with exactly these members; `what` names it. Raises `Malformed`."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} must be a JSON object")
    if value.keys() != names:
        missing, unknown = names - value.keys(), len(value.keys() - names)
        told = [f"lacks {', '.join(sorted(missing))}"] if missing else []
        told += [f"has {unknown} unknown"] if unknown else []
        raise Malformed(f"{what} has exactly {', '.join(sorted(names))}; it {' and '.join(told)}")
    return value


def name(source: Mapping[str, Any], member: str) -> str:
    """A name: 1 to 128 letters, digits and `._:/-`. Raises `Malformed`."""
    value = source.get(member)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Malformed(f"{member} is 1 to 128 letters, digits and . _ : / -")
    return value


def choice(source: Mapping[str, Any], member: str, among: tuple[str, ...]) -> str:
    """One of some words. Raises `Malformed`."""
    value = source.get(member)
    if not isinstance(value, str) or value not in among:
        raise Malformed(f"{member} is one of {', '.join(among)}")
    return value


def whole(source: Mapping[str, Any], member: str, least: int, most: int) -> int:
    """A whole number within bounds; true and false are none. Raises `Malformed`."""
    value = source.get(member)
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"{member} is a whole number from {least} to {most}")
    return value


def flag(source: Mapping[str, Any], member: str) -> bool:
    """True or false. Raises `Malformed`."""
    value = source.get(member)
    if type(value) is not bool:
        raise Malformed(f"{member} is true or false")
    return value


def decimal(source: Mapping[str, Any], member: str) -> str:
    """A decimal in text: not negative, at most 9 digits before the point and 12 behind it.

    Without zeros that say nothing: one number has one spelling. Raises `Malformed`.
    """
    value = source.get(member)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise Malformed(f'{member} is a decimal in text, in its shortest form: "0.00001", "8"')
    return value


def optional_decimal(source: Mapping[str, Any], member: str) -> str | None:
    """A decimal as `decimal` reads it, or null."""
    return None if source.get(member) is None else decimal(source, member)


def items(source: Mapping[str, Any], member: str, most: int) -> list[Any]:
    """A list of at most `most`. Raises `Malformed` or `TooLarge`."""
    value = source.get(member)
    if not isinstance(value, list):
        raise Malformed(f"{member} is a list")
    if len(value) > most:
        raise TooLarge(f"{member} has more than {most} items")
    return value


def names(source: Mapping[str, Any], member: str, *, most: int) -> tuple[str, ...]:
    """A list of names that ascend, so each once and in one order. Raises `Malformed`, `TooLarge`.

    The order is that of the characters' code points, as Python sorts.
    """
    listed = items(source, member, most)
    if not all(isinstance(one, str) and _NAME.fullmatch(one) for one in listed):
        raise Malformed(f"{member} holds names: 1 to 128 letters, digits and . _ : / -")
    if sorted(set(listed)) != listed:
        raise Malformed(f"{member} names each once, in ascending order")
    return tuple(listed)


def digest(source: Mapping[str, Any], member: str) -> str:
    """A SHA-256 hash, base64url without padding. Raises `Malformed`."""
    value = source.get(member)
    hash_bytes(value, member)
    return str(value)


def hash_bytes(value: object, what: str) -> bytes:
    """32 bytes from their base64url. Raises `Malformed`; `what` names them."""
    try:
        decoded = b64url_decode(value) if isinstance(value, str) else b""
    except CredentialError:
        decoded = b""
    if len(decoded) != HASH_BYTES:
        raise Malformed(f"{what} is base64url of {HASH_BYTES} bytes, without padding")
    return decoded


def encoded(value: bytes) -> str:
    """Bytes as `hash_bytes` reads them."""
    return b64url(value)
