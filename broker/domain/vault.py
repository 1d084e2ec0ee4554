"""What is sent out of a vault, piece by piece: digests of pieces, and the part that is asked for.

An envelope is checked and sent in pieces of `PIECE_BYTES`; the last one may be shorter. The broker
keeps SHA-256 of each, one after the other: nothing is sent that was not checked before, and no more
than a few pieces of a transfer are ever in memory.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from broker.domain.errors import EnvelopeDamaged, RangeNotSatisfiable

PIECE_BYTES: Final = 262_144
DIGEST_BYTES: Final = 32
_RANGE: Final = re.compile(r"bytes=(?P<first>[0-9]{0,15})-(?P<last>[0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `first` up to, not with, `past`."""

    first: int
    past: int

    @property
    def length(self) -> int:
        """How many bytes they are."""
        return self.past - self.first

    def pieces(self) -> range:
        """The numbers of the pieces that hold them."""
        return range(self.first // PIECE_BYTES, -(-self.past // PIECE_BYTES))

    def within(self, number: int, piece: bytes) -> bytes:
        """What of a piece belongs to the span."""
        start = number * PIECE_BYTES
        return piece[max(0, self.first - start) : self.past - start]


def piece_span(number: int, size: int) -> Span:
    """Where a piece lies in an envelope of `size` bytes."""
    start = number * PIECE_BYTES
    return Span(start, min(start + PIECE_BYTES, size))


def piece_digests(data: bytes) -> bytes:
    """SHA-256 of each piece, one after the other."""
    return b"".join(hashlib.sha256(piece).digest() for piece in _pieces(data))


def check_piece(digests: bytes, number: int, piece: bytes) -> bytes:
    """The piece, if it is the one that was put in; raises `EnvelopeDamaged`."""
    expected = digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
    if not expected or not hmac.compare_digest(hashlib.sha256(piece).digest(), expected):
        raise EnvelopeDamaged("the vault gives other bytes than the customer signed for")
    return piece


def read_range(header: str | None, size: int) -> Span | None:
    """The part that a Range header asks for (RFC 9110, section 14.2); None for all of it.

    One range of bytes is taken; what is of another form is no range, and all is sent. Raises
    `RangeNotSatisfiable` for one that begins behind the end.
    """
    found = None if header is None else _RANGE.fullmatch(header.strip())
    if found is None or not (found["first"] or found["last"]):
        return None
    if not found["first"]:  # the last so many
        count = min(int(found["last"]), size)
        first, past = size - count, size
    else:
        first = int(found["first"])
        past = min(int(found["last"]) + 1, size) if found["last"] else size
        if found["last"] and int(found["last"]) < first:
            return None
    if first >= past:
        raise RangeNotSatisfiable(f"the envelope has {size} bytes")
    return Span(first, past)


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
