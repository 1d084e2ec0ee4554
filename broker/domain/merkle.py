"""The tree of the log: that of `credentials.merkle`, which refuses here in the log's own family."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from broker.domain import errors as log
from credentials import errors, merkle
from credentials.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    LARGEST_SIZE,
    Frontier,
    Lookup,
    Subtree,
    fold,
    leaf_hash,
    next_level,
    node_hash,
    perfect_subtrees,
    root_at,
    root_of,
)

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "LARGEST_SIZE",
    "Frontier",
    "Lookup",
    "Subtree",
    "consistency_proof",
    "fold",
    "inclusion_proof",
    "leaf_hash",
    "next_level",
    "node_hash",
    "perfect_subtrees",
    "root_at",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]


def inclusion_proof(index: int, size: int, lookup: Lookup) -> list[bytes]:
    """The path from a leaf to the root (`credentials.merkle`). Raises `MalformedProof`."""
    with _refusing():
        return merkle.inclusion_proof(index, size, lookup)


def consistency_proof(old: int, new: int, lookup: Lookup) -> list[bytes]:
    """The proof that a tree extends another (`credentials.merkle`). Raises `MalformedProof`."""
    with _refusing():
        return merkle.consistency_proof(old, new, lookup)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check where a leaf stands (`credentials.merkle`). `InvalidProof` or `MalformedProof`."""
    with _refusing():
        merkle.verify_inclusion(leaf, index, size, proof, root)


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a tree extends another (`credentials.merkle`); raises as `verify_inclusion`."""
    with _refusing():
        merkle.verify_consistency(old, new, old_root, new_root, proof)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except errors.MalformedProof as error:
        raise log.MalformedProof(str(error)) from None
    except errors.InvalidProof as error:
        raise log.InvalidProof(str(error)) from None
