"""py_ecc, the independent implementation, imported without what it does to the interpreter.

It sets the recursion limit to 100,000, with which deeply nested input kills this whole process.
"""

import sys
from typing import Any

_limit = sys.getrecursionlimit()
import py_ecc.optimized_bls12_381 as _optimized  # noqa: E402
from py_ecc.bls import hash as _hash  # noqa: E402
from py_ecc.bls import hash_to_curve as _hash_to_curve  # noqa: E402
from py_ecc.bls.point_compression import compress_G1, compress_G2  # noqa: E402

sys.setrecursionlimit(_limit)

_curve: Any = _optimized
G1, G2, add, multiply, pairing = (
    getattr(_curve, name) for name in ("G1", "G2", "add", "multiply", "pairing")
)
# Typed by their authors as taking a hash object where they take its maker.
expand_message_xmd: Any = _hash.expand_message_xmd
hash_to_G1: Any = _hash_to_curve.hash_to_G1  # noqa: N816

__all__ = [
    "G1",
    "G2",
    "add",
    "compress_G1",
    "compress_G2",
    "expand_message_xmd",
    "hash_to_G1",
    "multiply",
    "pairing",
]
