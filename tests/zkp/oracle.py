"""py_ecc, the independent implementation, imported without what it does to the interpreter.

It sets the recursion limit to 100,000, with which deeply nested input kills this whole process.
"""

import sys

_limit = sys.getrecursionlimit()
from py_ecc.bls.hash import expand_message_xmd  # noqa: E402
from py_ecc.bls.hash_to_curve import hash_to_G1  # noqa: E402
from py_ecc.bls.point_compression import compress_G1, compress_G2  # noqa: E402
from py_ecc.optimized_bls12_381 import G1, G2, add, multiply, pairing  # noqa: E402

sys.setrecursionlimit(_limit)

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
