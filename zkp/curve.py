"""BLS12-381 behind a narrow, strict interface: the only module that meets the backend.

The backend (`py_arkworks_bls12381`) is fast and lenient: its decoder takes the identity, also in
forms that are not canonical, `Scalar(int)` reduces silently, a multiplication of lists of unequal
length gives the identity, an empty pairing check is true, and it hashes under an empty tag. Here:

- bytes become points and scalars in one place, which re-encodes them and compares;
- the identity is no point;
- lists have equal lengths and at least one element;
- a domain separation tag has 1 to 255 bytes (RFC 9380, section 5.3.3).

Encodings: scalars are 32 bytes, big-endian; points of G1 48 bytes, of G2 96 bytes, compressed
(draft-irtf-cfrg-bbs-signatures, appendix "Point Encoding"). Arithmetic on `Scalar` and on points
is the backend's operators. Its time depends on its operands: see `bbs.sign_masked`.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate, repeat
from operator import getitem
from typing import Final, Generic, TypeVar

from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from zkp.errors import Malformed, PointInvalid, ScalarInvalid, TooLarge

__all__ = [
    "G1_BYTES",
    "G1_GENERATOR",
    "G1_IDENTITY",
    "G2_BYTES",
    "G2_GENERATOR",
    "ORDER",
    "SCALAR_BYTES",
    "ZERO",
    "Constant",
    "FixedBase",
    "G1Point",
    "G2Point",
    "Scalar",
    "expand_message_xmd",
    "expand_message_xof",
    "g1_from_bytes",
    "g2_from_bytes",
    "g2_table",
    "hash_to_g1_xmd",
    "hash_to_g1_xof",
    "hash_to_scalar",
    "pairing_product_is_one",
    "random_scalar",
    "random_scalars",
    "random_weights",
    "scalar_from_bytes",
    "scalar_from_int",
    "sum_of_multiples",
    "sum_of_products",
]

ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""The order r of G1, G2 and the scalars."""

_FIELD: Final = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab",
    16,
)
SCALAR_BYTES: Final = 32
G1_BYTES: Final = 48
G2_BYTES: Final = 96
ZERO: Final = Scalar(0)
G1_IDENTITY: Final = G1Point.identity()
G1_GENERATOR: Final = G1Point()
G2_GENERATOR: Final = G2Point()

_ORDER_BYTES = ORDER.to_bytes(SCALAR_BYTES)
_WIDE_BYTES = 48  # expand_len: ceil((ceil(log2 r) + 128) / 8)
_WEIGHT_BYTES = 16
_FIELD_BYTES = 64  # L of RFC 9380, section 8.8.1
_LONGEST_TAG = 255
_SHA256_BYTES, _SHA256_BLOCK = 32, 64
_LONGEST_EXPANSION = 255 * _SHA256_BYTES

_HALF = 128  # the highest byte of a scalar is below 0x74
_SHARED = 4  # places that a row of a table serves
_OFFSET = sum(_HALF << 8 * place for place in range(SCALAR_BYTES))

Expand = Callable[[bytes, bytes, int], bytes]
Point = TypeVar("Point", G1Point, G2Point)


def scalar_from_bytes(data: bytes) -> Scalar:
    """Read 32 bytes, big-endian, below the order. Raises `ScalarInvalid`."""
    # Of bytes of one length the greater number is the later one.
    if len(data) != SCALAR_BYTES or data >= _ORDER_BYTES:
        raise ScalarInvalid("a scalar is 32 bytes, big-endian, below the order of the group")
    return Scalar.from_be_bytes(data)


def scalar_from_int(value: int) -> Scalar:
    """A number of this program's own, 0 to the order. Raises `ScalarInvalid` for any other.

    Bytes of others go through `scalar_from_bytes`.
    """
    if not 0 <= value < ORDER:
        raise ScalarInvalid("the number is negative or not below the order of the group")
    return Scalar.from_be_bytes(value.to_bytes(SCALAR_BYTES))


def random_scalar() -> Scalar:
    """A uniform scalar from the operating system's source; its bias is below 2**-128."""
    return random_scalars(1)[0]


def random_scalars(count: int) -> list[Scalar]:
    """As many uniform scalars, by one call to the operating system."""
    return _drawn(count, _WIDE_BYTES)


def random_weights(count: int) -> list[Scalar]:
    """As many numbers of 128 random bits, by which equations that are added up are weighed."""
    return _drawn(count, _WEIGHT_BYTES)


def g1_from_bytes(data: bytes) -> G1Point:
    """Read a point of G1 other than the identity, in canonical form. Raises `PointInvalid`."""
    if len(data) != G1_BYTES:
        raise PointInvalid(f"a point of G1 has {G1_BYTES} bytes")
    try:
        point = G1Point.from_compressed_bytes(data)
    except ValueError:
        raise PointInvalid("the bytes are no point of the prime-order subgroup of G1") from None
    if point == G1_IDENTITY or bytes(point.to_compressed_bytes()) != data:
        raise PointInvalid("the point is the identity, or not in its canonical form")
    return point


def g2_from_bytes(data: bytes) -> G2Point:
    """Read a point of G2 other than the identity, in canonical form. Raises `PointInvalid`."""
    if len(data) != G2_BYTES:
        raise PointInvalid(f"a point of G2 has {G2_BYTES} bytes")
    try:
        point = G2Point.from_compressed_bytes(data)
    except ValueError:
        raise PointInvalid("the bytes are no point of the prime-order subgroup of G2") from None
    if point == G2Point.identity() or bytes(point.to_compressed_bytes()) != data:
        raise PointInvalid("the point is the identity, or not in its canonical form")
    return point


def sum_of_products(points: Sequence[G1Point], scalars: Sequence[Scalar]) -> G1Point:
    """P_1 s_1 + ... + P_n s_n; n is at least 1. Raises `Malformed` for unequal lengths or none."""
    if len(points) != len(scalars) or not points:
        raise Malformed("as many scalars as points, and at least one")
    return G1Point.multiexp_unchecked(list(points), list(scalars))


def pairing_product_is_one(pairs: Sequence[tuple[G1Point, G2Point]]) -> bool:
    """Whether e(P_1, Q_1) ... e(P_n, Q_n) = 1; n is at least 1. Raises `Malformed` for none."""
    if not pairs:
        raise Malformed("an empty product of pairings shows nothing")
    return GT.pairing_check([left for left, _ in pairs], [right for _, right in pairs])


def expand_message_xmd(message: bytes, tag: bytes, length: int) -> bytes:
    """`expand_message_xmd`, SHA-256 (RFC 9380, 5.3.1). Raises `Malformed`, `TooLarge`."""
    ending = _tag(tag)
    if not 0 < length <= _LONGEST_EXPANSION:
        raise TooLarge(f"at most {_LONGEST_EXPANSION} bytes can be expanded from one message")
    first = hashlib.sha256(
        bytes(_SHA256_BLOCK) + message + length.to_bytes(2) + b"\0" + ending
    ).digest()
    block = hashlib.sha256(first + b"\1" + ending).digest()
    blocks = [block]
    for number in range(2, -(-length // _SHA256_BYTES) + 1):
        mixed = (int.from_bytes(first) ^ int.from_bytes(block)).to_bytes(_SHA256_BYTES)
        block = hashlib.sha256(mixed + bytes([number]) + ending).digest()
        blocks.append(block)
    return b"".join(blocks)[:length]


def expand_message_xof(message: bytes, tag: bytes, length: int) -> bytes:
    """`expand_message_xof`, SHAKE-256 (RFC 9380, 5.3.2). Raises `Malformed`, `TooLarge`."""
    ending = _tag(tag)
    if not 0 < length <= _LONGEST_EXPANSION:
        raise TooLarge(f"at most {_LONGEST_EXPANSION} bytes can be expanded from one message")
    return hashlib.shake_256(message + length.to_bytes(2) + ending).digest(length)


def hash_to_scalar(message: bytes, tag: bytes, expand: Expand = expand_message_xmd) -> Scalar:
    """`hash_to_scalar` of draft-irtf-cfrg-bbs-signatures: 48 expanded bytes modulo the order."""
    return Scalar.from_be_bytes_mod_order(expand(message, tag, _WIDE_BYTES))


def hash_to_g1_xmd(message: bytes, tag: bytes) -> G1Point:
    """BLS12381G1_XMD:SHA-256_SSWU_RO_ (RFC 9380, section 8.8.1). Raises `Malformed`."""
    _tag(tag)
    return G1Point.hash_to_curve(message, tag)


def hash_to_g1_xof(message: bytes, tag: bytes) -> G1Point:
    """BLS12381G1_XOF:SHAKE-256_SSWU_RO_ (draft-irtf-cfrg-bbs-signatures, appendix A.1)."""
    uniform = expand_message_xof(message, tag, 2 * _FIELD_BYTES)
    halves = (uniform[:_FIELD_BYTES], uniform[_FIELD_BYTES:])
    first, second = (
        G1Point.map_from_fp_be((int.from_bytes(half) % _FIELD).to_bytes(G1_BYTES))
        for half in halves
    )
    return first + second


class FixedBase(Generic[Point]):
    """A constant point, and multiples of it to look up: see `_looked_up`.

    Row i holds 256^(4i) P times -128 to 127: 8 rows, 2,048 points, 0.35 MB for G1; making them
    takes as many additions.
    """

    __slots__ = ("point", "rows")

    def __init__(self, point: Point) -> None:
        self.point: Point = point
        rows: list[tuple[Point, ...]] = []
        step = point
        for _ in range(0, SCALAR_BYTES, _SHARED):
            rows.append(tuple(accumulate(repeat(step, 255), initial=-_doubled(step, 7))))
            step = _doubled(step, 8 * _SHARED)
        self.rows: tuple[tuple[Point, ...], ...] = tuple(rows)

    def __mul__(self, scalar: Scalar) -> Point:
        """P s."""
        return _looked_up([(self, scalar)])


def _looked_up(factors: Sequence[tuple[FixedBase[Point], Scalar]]) -> Point:
    """The sum of multiples by their tables: 32 additions each, 24 doublings for all.

        s = sum of d_i 256^i        -128 <= d_i < 128

    Each row serves four places: the highest of every row are added up first and doubled, and so on.
    """
    chosen = [(base.rows, _digits(scalar)) for base, scalar in factors]
    total: Point = chosen[0][0][0][_HALF]  # zero times the first point
    for place in reversed(range(_SHARED)):
        total = _doubled(total, 8)
        for rows, digits in chosen:
            total = sum(map(getitem, rows, digits[place::_SHARED]), total)
    return total


def _digits(scalar: Scalar) -> bytes:
    """The digits, lowest first, each with 128 added: those are the bytes of the sum."""
    number = int.from_bytes(bytes(scalar.to_le_bytes()), "little")
    return (number + _OFFSET).to_bytes(SCALAR_BYTES, "little")


def _doubled(point: Point, times: int) -> Point:
    for _ in range(times):
        point = point + point
    return point


@cache
def g2_table() -> FixedBase[G2Point]:
    """The generator of G2, as a point that is multiplied by look-up: its table takes 0.7 MB."""
    return FixedBase(G2_GENERATOR)


Constant = FixedBase[G1Point] | G1Point
"""A point that every proof of a kind meets: with a table where that pays."""


def sum_of_multiples(factors: Sequence[tuple[Constant, Scalar]]) -> G1Point:
    """P_1 s_1 + ... + P_n s_n of constant points; n is at least 1. Raises `Malformed` for none.

    For public points and for scalars that are used once: the look-ups depend on the scalars.
    """
    if not factors:
        raise Malformed("an empty sum has no value")
    tables = [(one, scalar) for one, scalar in factors if isinstance(one, FixedBase)]
    others = [(one, scalar) for one, scalar in factors if not isinstance(one, FixedBase)]
    total = _looked_up(tables) if tables else G1_IDENTITY
    if others:
        total += sum_of_products([one for one, _ in others], [scalar for _, scalar in others])
    return total


def _drawn(count: int, size: int) -> list[Scalar]:
    data = secrets.token_bytes(count * size)
    return [
        Scalar.from_be_bytes_mod_order(data[start : start + size])
        for start in range(0, len(data), size)
    ]


def _tag(tag: bytes) -> bytes:
    if not 0 < len(tag) <= _LONGEST_TAG:
        raise Malformed(f"a domain separation tag has 1 to {_LONGEST_TAG} bytes")
    return tag + bytes([len(tag)])
