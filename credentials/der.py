"""The few DER elements (X.690) that a certificate is assembled from and taken apart into.

`cryptography` builds certificates only around private keys that it holds itself. A `Signer` may
be a hardware module or a suite that it does not know, so the certificate is assembled here and
signed there.
"""

from datetime import UTC, datetime

from credentials.errors import Malformed

SEQUENCE = 0x30
_INTEGER = 0x02
_BIT_STRING = 0x03
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_CONTEXT_CONSTRUCTED = 0xA0
_LONG_FORM = 0x80
_YEAR_OF_GENERALIZED_TIME = 2050


def element(tag: int, content: bytes) -> bytes:
    """Encode one element: tag, length, content."""
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    encoded_size = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(encoded_size))) + encoded_size + content


def sequence(*elements: bytes) -> bytes:
    """Encode a SEQUENCE of encoded elements."""
    return element(SEQUENCE, b"".join(elements))


def integer(value: int) -> bytes:
    """Encode a non-negative INTEGER."""
    return element(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bit_string(content: bytes) -> bytes:
    """Encode a BIT STRING of whole bytes."""
    return element(_BIT_STRING, b"\x00" + content)


def explicit(number: int, content: bytes) -> bytes:
    """Wrap an encoded element in an explicit context tag."""
    return element(_CONTEXT_CONSTRUCTED | number, content)


def time(unix_seconds: int) -> bytes:
    """Encode a certificate time: UTCTime before 2050, else GeneralizedTime (RFC 5280, 4.1.2.5)."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    if moment.year < _YEAR_OF_GENERALIZED_TIME:
        return element(_UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return element(_GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode("ascii"))


def children(encoded: bytes) -> list[bytes]:
    """Split a constructed element into its encoded children. Raises `Malformed`."""
    start, end = _content(encoded, 0)
    if end != len(encoded):
        raise Malformed("DER element has trailing bytes")
    parts = []
    while start < end:
        _, stop = _content(encoded, start)
        parts.append(encoded[start:stop])
        start = stop
    if start != end:
        raise Malformed("DER child exceeds its parent")
    return parts


def _content(encoded: bytes, offset: int) -> tuple[int, int]:
    """Give where the content of the element at `offset` starts and ends."""
    if offset + 2 > len(encoded):
        raise Malformed("DER element is cut off")
    size = encoded[offset + 1]
    start = offset + 2
    if size >= _LONG_FORM:
        count = size & 0x7F
        if not 0 < count <= 4 or start + count > len(encoded):  # noqa: PLR2004  4 GiB is enough
            raise Malformed("DER length is malformed")
        size = int.from_bytes(encoded[start : start + count], "big")
        start += count
    if start + size > len(encoded):
        raise Malformed("DER element is cut off")
    return start, start + size
