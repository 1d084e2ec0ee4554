"""The Merkle tree of RFC 9162: hashes, the compact range of a growing tree, proofs, their checks.

A tree of `size` leaves is cut into perfect subtrees, largest first, one for each bit of `size`.
Every hash that a proof needs is either such a subtree or a fold of several, so proofs are built
from a lookup of perfect subtrees (`Subtree`), whatever stores them.

Leaf hashes and node hashes are 32 bytes. Verification raises `InvalidProof` for a proof that does
not lead to the root and `MalformedProof` for sizes and indexes that no proof can have.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

from credentials.errors import InvalidProof, MalformedProof

HASH_BYTES = 32
LARGEST_SIZE = 2**63 - 1
EMPTY_ROOT = sha256(b"").digest()

_LEAF = b"\x00"
_NODE = b"\x01"


class Subtree(NamedTuple):
    """A perfect subtree: the leaves from `position * 2**level`, `2**level` of them."""

    level: int
    position: int


Lookup = Callable[[Sequence[Subtree]], Sequence[bytes]]


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf), RFC 9162 section 2.1.1."""
    return sha256(_LEAF + leaf).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of each."""
    # One expression, as in `next_level`.
    return [sha256(_LEAF + leaf).digest() for leaf in leaves]


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 9162 section 2.1.1."""
    return sha256(_NODE + left + right).digest()


def next_level(hashes: Sequence[bytes]) -> list[bytes]:
    """The parents of `hashes`, pair by pair; an odd last one has none yet and is left out."""
    pairs = iter(hashes)
    # One expression for the whole level: the loop runs in the interpreter's fastest form.
    return [
        sha256(_NODE + left + right).digest() for left, right in zip(pairs, pairs, strict=False)
    ]


def fold(subtrees: Sequence[bytes]) -> bytes:
    """The root over adjacent perfect subtrees, largest first (MTH of RFC 9162 section 2.1.1)."""
    if not subtrees:
        return EMPTY_ROOT
    root = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        root = node_hash(left, root)
    return root


def perfect_subtrees(start: int, end: int) -> Iterator[Subtree]:
    """The perfect subtrees of the leaves `start` to before `end`, left to right.

    `start` must be a multiple of the largest power of two that is not above `end - start`, as it
    is for every range in a proof.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        yield Subtree(level, start >> level)
        start += 1 << level


@dataclass(frozen=True)
class Frontier:
    """The compact range of a tree: its size and its perfect subtrees' hashes, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """The tree's root hash."""
        return fold(self.hashes)

    def extend(self, leaf_hashes: Sequence[bytes]) -> "Frontier":
        """The frontier after these leaf hashes are added, one pass per level of the tree."""
        size = self.size + len(leaf_hashes)
        waiting = list(self.hashes)
        row: list[bytes] = list(leaf_hashes)
        kept: list[bytes] = []
        level = 0
        while row or waiting:
            # A set bit of the old size is a subtree that waits on this level for its right sibling.
            if self.size >> level & 1:
                row.insert(0, waiting.pop())
            if size >> level & 1:
                kept.append(row[-1])
            row = next_level(row)
            level += 1
        return Frontier(size, tuple(reversed(kept)))


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root hash over these leaf hashes."""
    return Frontier().extend(leaf_hashes).root()


def root_at(size: int, lookup: Lookup) -> bytes:
    """The root hash of the tree's first `size` leaves."""
    return fold(lookup(list(perfect_subtrees(0, size))))


def inclusion_proof(index: int, size: int, lookup: Lookup) -> list[bytes]:
    """The path from leaf `index` to the root of the first `size` leaves (RFC 9162 section 2.1.3.1).

    `lookup` is called once, with every subtree that is needed. Raises `MalformedProof` unless
    `0 <= index < size`.
    """
    if not 0 <= index < size <= LARGEST_SIZE:
        message = f"there is no leaf {index} in a tree of {size}"
        raise MalformedProof(message)
    start, end = 0, size
    siblings: list[tuple[int, int]] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((start, middle))
            start = middle
    return _ranges(siblings[::-1], lookup)


def consistency_proof(old: int, new: int, lookup: Lookup) -> list[bytes]:
    """The proof that a tree of `new` leaves extends one of `old` (RFC 9162 section 2.1.4.1).

    Raises `MalformedProof` unless `0 < old <= new`; the empty tree is extended by every tree and
    has no proof.
    """
    if not 0 < old <= new <= LARGEST_SIZE:
        message = f"there is no proof from a tree of {old} leaves to one of {new}"
        raise MalformedProof(message)
    start, end = 0, new
    whole = True
    ranges: list[tuple[int, int]] = []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    if not whole:
        ranges.append((start, end))
    return _ranges(ranges[::-1], lookup)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that leaf hash `leaf` stands at `index` in the tree of `size` leaves with this root.

    RFC 9162 section 2.1.3.2. Raises `InvalidProof` or `MalformedProof`.
    """
    if not 0 <= index < size <= LARGEST_SIZE:
        message = f"there is no leaf {index} in a tree of {size}"
        raise MalformedProof(message)
    result = leaf
    for sibling, on_the_left in _climb(index, size - 1, proof):
        result = node_hash(sibling, result) if on_the_left else node_hash(result, sibling)
    if result != root:
        message = f"the proof of leaf {index} does not lead to the root of the tree of {size}"
        raise InvalidProof(message)


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `new` leaves extends the tree of `old` leaves.

    RFC 9162 section 2.1.4.2. Raises `InvalidProof` or `MalformedProof` (also for `old` 0, which
    proves nothing about the old tree).
    """
    if not 0 < old <= new <= LARGEST_SIZE:
        message = f"there is no proof from a tree of {old} leaves to one of {new}"
        raise MalformedProof(message)
    failed = InvalidProof(f"the tree of {new} leaves is not shown to extend the tree of {old}")
    # A perfect old tree is its own first node, which the proof leaves out; equal trees need none.
    path = [old_root, *proof] if old & (old - 1) == 0 or old == new else list(proof)
    if not path:
        raise failed
    # The first node is the largest subtree that ends where the old tree ends.
    height = 0 if old == new else (old & -old).bit_length() - 1
    node, last = (0, 0) if old == new else ((old - 1) >> height, (new - 1) >> height)
    old_result = new_result = path[0]
    for sibling, on_the_left in _climb(node, last, path[1:]):
        if on_the_left:
            old_result = node_hash(sibling, old_result)
            new_result = node_hash(sibling, new_result)
        else:
            new_result = node_hash(new_result, sibling)
    if old_result != old_root or new_result != new_root:
        raise failed


def _climb(node: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each sibling from `node` up to the root, and whether it stands on the left.

    `last` is the rightmost node of the level. Raises `InvalidProof` unless the proof is exactly
    as long as the way.
    """
    for sibling in proof:
        if last == 0:
            message = "the proof is longer than the tree is high"
            raise InvalidProof(message)
        on_the_left = bool(node & 1) or node == last
        yield sibling, on_the_left
        if on_the_left:
            # A node without a right sibling rises unchanged until it has a left one.
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    if last != 0:
        message = "the proof ends below the root"
        raise InvalidProof(message)


def _split(size: int) -> int:
    """The largest power of two below `size` (RFC 9162 section 2.1.1); `size` is at least 2."""
    return 1 << (size - 1).bit_length() - 1


def _ranges(ranges: Sequence[tuple[int, int]], lookup: Lookup) -> list[bytes]:
    """The hash of each range of leaves, all their subtrees looked up at once."""
    parts = [list(perfect_subtrees(start, end)) for start, end in ranges]
    hashes = list(lookup([subtree for part in parts for subtree in part]))
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part))
    return [fold(hashes[first:last]) for first, last in pairwise(ends)]
