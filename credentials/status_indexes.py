"""Indexes in a status list that tell nothing about each other: a keyed permutation."""

import hashlib

from credentials.errors import Malformed


class IndexPermutation:
    """A keyed permutation of `range(size)`: the n-th credential of a list gets `index(n)`.

    A balanced Feistel network of 8 rounds over the smallest even number of bits that holds
    `size`, with BLAKE2b as round function; results beyond `size` are walked on until they fall
    inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002, section 4). Without
    the key, one index tells nothing about another. Immutable, safe from several threads.
    """

    _ROUNDS = 8

    def __init__(self, key: bytes, size: int) -> None:
        """Take 16 to 64 random bytes, one key per list. Raises `Malformed`."""
        if not 16 <= len(key) <= 64 or size <= 0:  # noqa: PLR2004  limits of BLAKE2b
            raise Malformed("an index permutation needs a key of 16 to 64 bytes and a size")
        self.size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        self._rounds = [
            hashlib.blake2b(key=key, salt=bytes([number]), digest_size=8)
            for number in range(self._ROUNDS)
        ]

    def index(self, number: int) -> int:
        """Give the index of the `number`-th credential. Raises `Malformed` if the list is full."""
        if not 0 <= number < self.size:
            raise Malformed(f"the status list is full: it has {self.size} entries")
        value = self._permute(number)
        while value >= self.size:
            value = self._permute(value)
        return value

    def _permute(self, value: int) -> int:
        left, right = value >> self._half, value & self._mask
        for keyed in self._rounds:
            # left', right' = right, left XOR F(right)
            state = keyed.copy()
            state.update(right.to_bytes(8, "big"))
            left, right = right, left ^ int.from_bytes(state.digest(), "big") & self._mask
        return left << self._half | right


def index_permutation(key: bytes, size: int) -> IndexPermutation:
    """Make the index permutation of a list. Raises `Malformed`."""
    return IndexPermutation(key, size)
