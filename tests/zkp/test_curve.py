"""The backend against py_ecc, an independent implementation, and what the backend lets pass."""

import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.lengths import short_or_long
from tests.programs import ROOT
from tests.zkp.oracle import (
    G1,
    G2,
    add,
    compress_G1,
    compress_G2,
    hash_to_G1,
    multiply,
    pairing,
)
from tests.zkp.oracle import (
    expand_message_xmd as their_xmd,
)
from zkp import curve
from zkp.curve import (
    G1_GENERATOR,
    G2_GENERATOR,
    ORDER,
    FixedBase,
    Scalar,
    expand_message_xmd,
    g1_from_bytes,
    g2_from_bytes,
    g2_table,
    hash_to_g1_xmd,
    pairing_product_is_one,
    scalar_from_bytes,
    scalar_from_int,
    sum_of_multiples,
    sum_of_products,
)
from zkp.errors import Malformed, PointInvalid, ScalarInvalid, TooLarge, ZkpError

ROUNDS = short_or_long(30, 3_000)
KNOWN = 12  # multiples that theirs computed, from which sums make as many others as are wanted


def ours(point: curve.G1Point | curve.G2Point) -> bytes:
    return bytes(point.to_compressed_bytes())


def theirs_g1(point: Any) -> bytes:  # noqa: ANN401 (their tuples)
    return int(compress_G1(point)).to_bytes(48)


@pytest.mark.timeout(3600)
def test_multiples_and_sums_agree() -> None:
    draw = random.Random(1)
    for _ in range(short_or_long(5, 3_000)):
        a, b = draw.randrange(1, ORDER), draw.randrange(1, ORDER)
        point = G1_GENERATOR * scalar_from_int(a) + G1_GENERATOR * scalar_from_int(b)
        assert ours(point) == theirs_g1(add(multiply(G1, a), multiply(G1, b)))
        many = sum_of_products([G1_GENERATOR, point], [scalar_from_int(b), scalar_from_int(a)])
        assert ours(many) == theirs_g1(multiply(G1, (b + (a + b) * a) % ORDER))
    high, low = compress_G2(multiply(G2, 12345))
    assert ours(G2_GENERATOR * Scalar(12345)) == high.to_bytes(48) + low.to_bytes(48)


@pytest.mark.timeout(3600)
def test_hundreds_of_multiples_agree() -> None:
    """Of random scalars, each a sum of two before it: theirs adds quickly and multiplies slowly."""
    draw = random.Random(4)
    scalars = [draw.randrange(1, ORDER) for _ in range(KNOWN)]
    known = [(scalar, multiply(G1, scalar)) for scalar in scalars]
    for _ in range(short_or_long(300, 30_000)):
        (a, left), (b, right) = draw.sample(known, 2)
        scalar, theirs = (a + b) % ORDER, add(left, right)
        assert ours(G1_GENERATOR * scalar_from_int(scalar)) == theirs_g1(theirs)
        assert ours(TABLE * scalar_from_int(scalar)) == theirs_g1(theirs)
        known[draw.randrange(KNOWN)] = (scalar, theirs)


@pytest.mark.timeout(3600)
def test_hashing_to_the_curve_agrees() -> None:
    draw = random.Random(2)
    for number in range(ROUNDS):
        message, tag = draw.randbytes(number % 70), draw.randbytes(1 + number % 80)
        assert expand_message_xmd(message, tag, 48) == their_xmd(message, tag, 48, sha256)
        assert ours(hash_to_g1_xmd(message, tag)) == theirs_g1(hash_to_G1(message, tag, sha256))


@pytest.mark.timeout(3600)
def test_pairings_agree() -> None:
    """Ours says that a product is one exactly where theirs are equal."""
    draw, unit = random.Random(3), pairing(G2, G1)
    for _ in range(short_or_long(1, 2_000)):
        a, b = draw.randrange(2, 2**64), draw.randrange(2, 2**64)
        assert pairing(multiply(G2, b), multiply(G1, a)) == unit ** (a * b)
        left, right = G1_GENERATOR * Scalar(a), G2_GENERATOR * Scalar(b)
        product = -(G1_GENERATOR * scalar_from_int(a * b))
        assert pairing_product_is_one([(left, right), (product, G2_GENERATOR)])
        assert not pairing_product_is_one([(left, right), (product + left, G2_GENERATOR)])


@given(st.integers(0, ORDER - 1))
def test_a_table_gives_the_multiples(scalar: int) -> None:
    value = scalar_from_int(scalar)
    assert TABLE * value == G1_GENERATOR * value


EDGES = [0, 1, 2, 127, 128, 129, 255, 256, 0x8080, ORDER // 2, ORDER - 128, ORDER - 1]


@pytest.mark.parametrize("scalar", EDGES)
def test_tables_at_the_edges_of_their_digits(scalar: int) -> None:
    value = scalar_from_int(scalar)
    assert TABLE * value == G1_GENERATOR * value
    assert g2_table() * value == G2_GENERATOR * value


@given(
    st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.integers(0, ORDER - 1)), min_size=1)
)
def test_a_sum_of_constant_points_is_that_of_their_multiples(
    factors: list[tuple[int, bool, int]],
) -> None:
    """Whether they have tables or not."""
    chosen = [
        (TABLE if tabled else G1_GENERATOR * Scalar(base), scalar_from_int(scalar))
        for base, tabled, scalar in factors
    ]
    total = sum((1 if tabled else base) * scalar for base, tabled, scalar in factors)
    assert sum_of_multiples(chosen) == G1_GENERATOR * scalar_from_int(total % ORDER)


def test_no_sum_of_nothing() -> None:
    with pytest.raises(Malformed):
        sum_of_multiples([])


TABLE = FixedBase(G1_GENERATOR)
IDENTITY_G1 = bytes([0xC0]) + bytes(47)
IDENTITY_G2 = bytes([0xC0]) + bytes(95)
GOOD = ours(G1_GENERATOR)


def off_subgroup() -> bytes:
    """A point of the curve that is not in the subgroup."""
    field = curve._FIELD  # noqa: SLF001
    x = 4
    while True:
        square = (x**3 + 4) % field
        y = pow(square, (field + 1) // 4, field)
        if y * y % field == square:
            data = bytearray(x.to_bytes(48))
            data[0] |= 0x80 | (0x20 if y > field // 2 else 0)
            return bytes(data)
        x += 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(GOOD[:-1], id="short"),
        pytest.param(GOOD + b"\0", id="long"),
        pytest.param(IDENTITY_G1, id="identity"),
        pytest.param(IDENTITY_G1[:-1] + b"\1", id="identity with a rest"),
        pytest.param(bytes([0xE0]) + bytes(47), id="identity with a sign"),
        pytest.param(bytes([GOOD[0] & 0x7F]) + GOOD[1:], id="uncompressed flag"),
        pytest.param(bytes([0x9F]) + b"\xff" * 47, id="above the field"),
        pytest.param(
            (int.from_bytes(GOOD) + curve._FIELD).to_bytes(48),  # noqa: SLF001
            id="the same, not reduced",
        ),
        pytest.param(off_subgroup(), id="another subgroup"),
        pytest.param(bytes(48), id="zeros"),
    ],
)
def test_only_points_of_the_subgroup_are_points(data: bytes) -> None:
    with pytest.raises(PointInvalid):
        g1_from_bytes(data)


@pytest.mark.parametrize("data", [IDENTITY_G2, bytes(96), ours(G2_GENERATOR)[:-1], b"\xff" * 96])
def test_the_same_of_g2(data: bytes) -> None:
    with pytest.raises(PointInvalid):
        g2_from_bytes(data)


@pytest.mark.parametrize(
    "data", [b"", bytes(31), bytes(33), ORDER.to_bytes(32), (ORDER + 1).to_bytes(32), b"\xff" * 32]
)
def test_scalars_are_below_the_order(data: bytes) -> None:
    with pytest.raises(ScalarInvalid):
        scalar_from_bytes(data)
    with pytest.raises(ScalarInvalid):
        scalar_from_int(ORDER)
    with pytest.raises(ScalarInvalid):
        scalar_from_int(-1)


REFUSED: dict[str, tuple[type[ZkpError], Callable[[], object]]] = {
    "an empty sum": (Malformed, lambda: sum_of_products([], [])),
    "fewer scalars": (Malformed, lambda: sum_of_products([G1_GENERATOR], [])),
    "more scalars": (Malformed, lambda: sum_of_products([G1_GENERATOR], [Scalar(1), Scalar(2)])),
    "an empty product": (Malformed, lambda: pairing_product_is_one([])),
    "no tag": (Malformed, lambda: expand_message_xmd(b"m", b"", 48)),
    "a long tag": (Malformed, lambda: expand_message_xmd(b"m", bytes(256), 48)),
    "no tag, to the curve": (Malformed, lambda: hash_to_g1_xmd(b"m", b"")),
    "a long tag, to the curve": (Malformed, lambda: hash_to_g1_xmd(b"m", bytes(300))),
    "no tag, SHAKE": (Malformed, lambda: curve.hash_to_g1_xof(b"m", b"")),
    "a long expansion": (TooLarge, lambda: expand_message_xmd(b"m", b"tag", 8161)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_backend_would_let_pass(name: str) -> None:
    error, act = REFUSED[name]
    with pytest.raises(error):
        act()


def test_another_tag_is_another_hash() -> None:
    assert hash_to_g1_xmd(b"m", b"one") != hash_to_g1_xmd(b"m", b"two")


def test_the_unchecked_decoders_are_called_by_nobody() -> None:
    files: list[Path] = sorted((ROOT / "zkp").glob("*.py"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "bytes_unchecked" not in text, file.name
        assert file.name == "curve.py" or "py_arkworks_bls12381" not in text, file.name
