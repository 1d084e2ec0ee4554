"""The constant points by which bits are committed, and whose relation nobody knows.

G_1 .. G_1024 for the bits, G for the product argument, H for what hides: hashed to the curve
under a tag of their own, so that none is a known multiple of another or of BBS's generators.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

from zkp.curve import Constant, FixedBase, G1Point, Scalar, hash_to_g1_xmd, sum_of_multiples

_TAG: Final = b"CONSENT-BROKER-ZKP-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_PEDERSEN_"
_TABLES: Final = 64  # of the bits; each takes about 0.35 MB


@cache
def point(name: str) -> G1Point:
    """`G`, `H`, or `G1` to `G1024`."""
    return hash_to_g1_xmd(name.encode(), _TAG)


@cache
def bit(number: int) -> str:
    """The name of the point of a bit, numbered from 0."""
    return f"G{number + 1}"


@cache
def base(name: str) -> Constant:
    """A point, with its table where it is met often enough for one."""
    often = name in {"G", "H"} or int(name[1:]) <= _TABLES
    return FixedBase(point(name)) if often else point(name)


def multiples(factors: Mapping[str, Scalar]) -> G1Point:
    """The sum of points, by their names, times their factors."""
    return sum_of_multiples([(base(name), factor) for name, factor in factors.items()])
