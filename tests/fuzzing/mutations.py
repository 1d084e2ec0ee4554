"""How samples are changed: byte by byte, as text, as JSON; by one source of choices.

The same changes serve Hypothesis and the coverage-guided runs. A change is a function of a sample
and a `Random`; several are made one after the other.
"""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.fuzzing.parser import text

LONGEST = 65_536
MOST_CHANGES = 6

ODD_TEXTS = (
    *("", "\x00", "\ud800", "\udfff\ud83d", "\u2028", "\ufeff", "é", "e\u0301", "\U0010ffff", "ﬁ"),
    *("0", "-1", "1e999", "null", "true", "[]", "{}", "a.b.c", "a.b.c~", "~", "..", "=", "%00"),
    *("%ud800", "%zz", "http://[", "https://a@b", "//", "did:web:", "urn:x", "\r\n", " ", "٣", "'"),
    *("ES256", "none", "HS256", "EdDSA", "sha-256", "dc+sd-jwt", "direct_post", "bearer", "S256"),
)
ODD_NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, -0.0),
    *(1e308, 5e-324, float("nan"), float("inf"), True, False, None),
)
ODD_NAMES = (
    *("_sd", "...", "_sd_alg", "cnf", "jwk", "d", "kty", "crv", "x", "alg", "typ", "kid", "x5c"),
    *("crit", "b64", "zip", "epk", "iss", "iat", "exp", "nbf", "sub", "aud", "jti", "status", "id"),
    *("header", "credentials", "claims", "path", "values", "", "__proto__", "\ud800", "schema"),
)
ODD_BYTES = (
    *(
        b"\x00",
        b"\xff",
        b"\x80",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf4\x90\x80\x80",
        b"\xef\xbb\xbf",
    ),
    *(b'"', b"\\", b"\\u", b"\\ud800", b"[", b"]", b"{", b"}", b",", b":", b"~", b".", b"=", b"%"),
    *(b"\n", b"\r\n", b"\n\n", b"\t", b"+", b"-", b"/", b"_", b" ", b"PK\x01\x02", b"\x30\x80"),
    *(b"\x30\x84\xff\xff\xff\xff", b"1e999", b"9" * 400, b"NaN", b"null", b"\xe2\x80\x94 "),
)

Change = Callable[[bytes, Random], bytes]


def mutated(samples: Sequence[bytes], choose: Random) -> bytes:
    """One of the samples after some changes."""
    data = choose.choice(samples)
    for _ in range(choose.randint(1, MOST_CHANGES)):
        change = choose.choice(CHANGES)
        data = change(data, choose)[:LONGEST]
        if choose.random() < 0.1:
            data = _spliced(data, choose.choice(samples), choose)
    return data


def _flipped(data: bytes, choose: Random) -> bytes:
    if not data:
        return choose.randbytes(4)
    at = choose.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, choose: Random) -> bytes:
    at = choose.randint(0, len(data))
    return data[:at] if choose.random() < 0.7 else data[at:]


def _dropped(data: bytes, choose: Random) -> bytes:
    start, end = _range(data, choose)
    return data[:start] + data[end:]


def _doubled(data: bytes, choose: Random) -> bytes:
    start, end = _range(data, choose)
    return data[:end] + data[start:end] * choose.choice((1, 1, 2, 40)) + data[end:]


def _inserted(data: bytes, choose: Random) -> bytes:
    at = choose.randint(0, len(data))
    odd = choose.choice(ODD_BYTES) if choose.random() < 0.8 else choose.randbytes(3)
    return data[:at] + odd * choose.choice((1, 1, 1, 30)) + data[at:]


def _replaced(data: bytes, choose: Random) -> bytes:
    start, end = _range(data, choose)
    return data[:start] + choose.choice(ODD_BYTES) + data[end:]


def _spliced(data: bytes, other: bytes, choose: Random) -> bytes:
    return data[: choose.randint(0, len(data))] + other[choose.randint(0, len(other)) :]


def _nested(data: bytes, choose: Random) -> bytes:
    """Wrapped in levels, closed or not."""
    opening, closing = choose.choice(((b"[", b"]"), (b'{"a":', b"}")))
    levels = choose.choice((1, 20, 30, 100, 2_000, 10_000))
    return opening * levels + data + closing * choose.choice((0, levels))


def _as_json(data: bytes, choose: Random) -> bytes:
    """Changed in its structure, and written so that lone surrogates and repetition survive."""
    prefix = b""
    try:
        found = json.loads(text(data))
    except (ValueError, RecursionError):
        prefix, data = data[:1], data[1:]  # an answer's status or a file's number stands before
        try:
            found = json.loads(text(data))
        except (ValueError, RecursionError):
            return _inserted(prefix + data, choose)
    try:
        changed = _changed(found, choose)
        written = json.dumps(changed, ensure_ascii=choose.random() < 0.5)
    except (ValueError, RecursionError):
        return _flipped(prefix + data, choose)
    if choose.random() < 0.1 and written.startswith("{") and len(written) > 2:
        name = json.dumps(
            choose.choice(list(found) if isinstance(found, dict) and found else ["a"])
        )
        written = f"{{{name}:{json.dumps(_odd(choose))},{written[1:]}"  # a member twice
    return prefix + written.encode("utf-8", "surrogatepass")


def _changed(found: Any, choose: Random) -> Any:  # noqa: ANN401 (JSON)
    """The value with one place in it changed."""
    if isinstance(found, dict) and found and choose.random() < 0.85:
        made = dict(found)
        name = choose.choice(list(made))
        match choose.randrange(8):
            case 0:
                del made[name]
            case 1:
                made[choose.choice(ODD_NAMES)] = made.pop(name)
            case 2:
                made[choose.choice(ODD_NAMES)] = _odd(choose)
            case _:
                made[name] = _changed(made[name], choose)
        return made
    if isinstance(found, list) and found and choose.random() < 0.85:
        items = list(found)
        at = choose.randrange(len(items))
        match choose.randrange(6):
            case 0:
                del items[at]
            case 1:
                items += items * choose.choice((1, 1, 60))
            case 2:
                items.insert(at, _odd(choose))
            case _:
                items[at] = _changed(items[at], choose)
        return items
    if isinstance(found, str) and found and choose.random() < 0.6:
        changed = choose.choice(BYTEWISE)(found.encode("utf-8", "surrogatepass"), choose)
        return changed.decode("utf-8", choose.choice(("surrogateescape", "replace")))
    return _odd(choose, found)


def _odd(choose: Random, of: Any = None) -> Any:  # noqa: ANN401 (JSON)
    match choose.randrange(7):
        case 0:
            return [of]
        case 1:
            return {choose.choice(ODD_NAMES): of}
        case 2:
            return {} if choose.random() < 0.5 else []
        case 3:
            return choose.choice(ODD_TEXTS) * choose.choice((1, 1, 1, 300))
        case 4:
            return [choose.choice(ODD_TEXTS)] * choose.choice((1, 2, 70))
        case _:
            return choose.choice((*ODD_NUMBERS, *ODD_TEXTS))


def _range(data: bytes, choose: Random) -> tuple[int, int]:
    start = choose.randint(0, len(data))
    return start, min(len(data), start + choose.choice((1, 2, 4, 16, 64, 4096)))


BYTEWISE: tuple[Change, ...] = (_flipped, _cut, _dropped, _doubled, _inserted, _replaced)
CHANGES: tuple[Change, ...] = (*BYTEWISE, _nested, *[_as_json] * 8)
