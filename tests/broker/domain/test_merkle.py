"""The tree against RFC 9162's definition, pymerkle, and sigstore's verifier."""

from collections.abc import Sequence
from hashlib import sha256
from types import SimpleNamespace
from typing import cast

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.models import TransparencyLogEntry

from broker.domain import merkle
from broker.domain.errors import InvalidProof, LogError, MalformedProof
from broker.domain.merkle import Frontier, Subtree

LARGEST = 300
DATA = [str(number).encode() for number in range(LARGEST)]
LEAVES = [merkle.leaf_hash(data) for data in DATA]


def mth(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


SUBTREES: dict[Subtree, bytes] = {}
ROOTS = [mth(LEAVES[:size]) for size in range(LARGEST + 1)]


def lookup(wanted: Sequence[Subtree]) -> list[bytes]:
    found = []
    for subtree in wanted:
        if subtree not in SUBTREES:
            start, end = (at << subtree.level for at in (subtree.position, subtree.position + 1))
            assert end <= LARGEST
            SUBTREES[subtree] = mth(LEAVES[start:end])
        found.append(SUBTREES[subtree])
    return found


def test_the_empty_tree_and_one_leaf_have_the_roots_of_the_rfc() -> None:
    assert Frontier().root() == sha256(b"").digest() == merkle.EMPTY_ROOT
    assert Frontier().extend([LEAVES[0]]).root() == sha256(b"\x000").digest()


def test_every_size_has_the_root_that_pymerkle_computes() -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    frontier = Frontier()
    for size, data in enumerate(DATA, 1):
        tree.append_entry(data)
        frontier = frontier.extend([merkle.leaf_hash(data)])
        assert frontier.size == size
        assert frontier.root() == tree.get_root() == ROOTS[size] == merkle.root_at(size, lookup)


@given(st.lists(st.integers(0, 70), max_size=12))
@settings(deadline=None)
def test_any_cut_into_batches_gives_the_same_frontier(batches: list[int]) -> None:
    frontier, start = Frontier(), 0
    for batch in batches:
        end = min(start + batch, LARGEST)
        frontier = frontier.extend(LEAVES[start:end])
        start = end
    assert frontier == Frontier().extend(LEAVES[:start])
    assert frontier.root() == ROOTS[start] == merkle.root_of(LEAVES[:start])


def test_every_leaf_of_every_size_is_proven_and_sigstore_agrees() -> None:
    for size in range(1, LARGEST + 1):
        step = 1 if size < 70 or size > LARGEST - 2 else 17
        for index in range(0, size, step):
            proof = merkle.inclusion_proof(index, size, lookup)
            merkle.verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
            verify_merkle_inclusion(sigstore_entry(index, size, proof, ROOTS[size]))


def sigstore_entry(index: int, size: int, proof: list[bytes], root: bytes) -> TransparencyLogEntry:
    inclusion = SimpleNamespace(log_index=index, tree_size=size, hashes=proof, root_hash=root)
    body = DATA[index]
    inner = SimpleNamespace(inclusion_proof=inclusion, canonicalized_body=body)
    return cast("TransparencyLogEntry", SimpleNamespace(_inner=inner))


def test_every_pair_of_sizes_is_consistent_and_pymerkle_agrees() -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for data in DATA:
        tree.append_entry(data)
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1, 1 if new < 70 or new > LARGEST - 2 else 23):
            proof = merkle.consistency_proof(old, new, lookup)
            merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)
    for old in range(1, LARGEST):
        theirs = tree.prove_consistency(old, LARGEST)
        pymerkle.verify_consistency(ROOTS[old], ROOTS[LARGEST], theirs)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_a_changed_inclusion_proof_fails(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, LARGEST))
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, lookup)
    wrong = changed(data, proof)
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(LEAVES[index], index, size, wrong, ROOTS[size])
    other = data.draw(st.integers(0, size - 1).filter(lambda at: at != index)) if size > 1 else None
    if other is not None:
        with pytest.raises(InvalidProof):
            merkle.verify_inclusion(LEAVES[index], other, size, proof, ROOTS[size])
        with pytest.raises(InvalidProof):
            merkle.verify_inclusion(LEAVES[other], index, size, proof, ROOTS[size])


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_a_changed_consistency_proof_fails(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, LARGEST))
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency_proof(old, new, lookup)
    with pytest.raises(InvalidProof):
        merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], changed(data, proof))
    other = data.draw(st.integers(1, LARGEST).filter(lambda size: size not in {old, new}))
    with pytest.raises(InvalidProof):
        merkle.verify_consistency(old, new, ROOTS[other], ROOTS[new], proof)
    with pytest.raises(InvalidProof):
        merkle.verify_consistency(old, new, ROOTS[old], ROOTS[other], proof)


def changed(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    how = data.draw(st.sampled_from(["longer", "shorter", "bit"]))
    if how == "longer" or not proof:
        return [*proof, data.draw(st.binary(min_size=32, max_size=32))]
    at = data.draw(st.integers(0, len(proof) - 1))
    if how == "shorter":
        return proof[:at] + proof[at + 1 :]
    bit = data.draw(st.integers(0, 255))
    flipped = bytearray(proof[at])
    flipped[bit // 8] ^= 1 << bit % 8
    return [*proof[:at], bytes(flipped), *proof[at + 1 :]]


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 5), (5, 5), (0, 2**63)])
def test_a_leaf_that_cannot_be_there_is_refused(index: int, size: int) -> None:
    with pytest.raises(MalformedProof):
        merkle.inclusion_proof(index, size, lookup)
    with pytest.raises(MalformedProof):
        merkle.verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5), (-1, 5), (1, 2**63)])
def test_sizes_without_a_consistency_proof_are_refused(old: int, new: int) -> None:
    with pytest.raises(MalformedProof):
        merkle.consistency_proof(old, new, lookup)
    with pytest.raises(MalformedProof):
        merkle.verify_consistency(old, new, ROOTS[0], ROOTS[5], [])


def test_equal_sizes_with_different_roots_are_not_consistent() -> None:
    with pytest.raises(InvalidProof):
        merkle.verify_consistency(5, 5, ROOTS[5], ROOTS[6], [])


@given(
    st.integers(-5, 2**64),
    st.integers(-5, 2**64),
    st.lists(st.binary(max_size=40), max_size=70),
    st.binary(max_size=40),
)
def test_arbitrary_proofs_raise_log_errors_only(
    first: int, second: int, proof: list[bytes], root: bytes
) -> None:
    with pytest.raises(LogError):
        merkle.verify_inclusion(b"leaf", first, second, proof, root)
    with pytest.raises(LogError):
        merkle.verify_consistency(first, second, b"old", root, proof)
