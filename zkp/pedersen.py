"""The constant points by which bits are committed, and whose relation nobody knows.

G_1 .. G_1024 for the bits, G for the product argument, H for what hides: hashed to the curve
under a tag of their own, so that none is a known multiple of another or of BBS's generators.
"""

from functools import cache
from typing import Final

from zkp.curve import FixedBase, G1Point, Scalar, hash_to_g1_xmd

_TAG: Final = b"CONSENT-BROKER-ZKP-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_PEDERSEN_"
_TABLES: Final = 64  # of the bits; each takes about 0.7 MB


@cache
def point(name: str) -> G1Point:
    """`G`, `H`, or `G1` to `G1024`."""
    return hash_to_g1_xmd(name.encode(), _TAG)


@cache
def table(name: str) -> FixedBase:
    """A point's multiples."""
    return FixedBase(point(name))


@cache
def bit(number: int) -> str:
    """The name of the point of a bit, numbered from 0."""
    return f"G{number + 1}"


def multiple(name: str, scalar: Scalar) -> G1Point:
    """A point times a scalar; by its table where it is met often enough for one."""
    often = name in {"G", "H"} or int(name[1:]) <= _TABLES
    return table(name) * scalar if often else point(name) * scalar
