"""Tiles: growth, addresses, bytes, and proofs that are read from them."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain import merkle
from broker.domain.errors import InvalidTilePath, LogError, MalformedProof
from broker.domain.merkle import Frontier, Subtree, leaf_hash
from broker.domain.tiles import (
    RightEdge,
    TileHashes,
    TileId,
    entry_bundle,
    full_tiles,
    lookup_in,
    parse_entry_bundle,
    parse_tile_path,
    partial_width,
    tile_path,
)

LARGE = 70_000  # the specification's own example: three levels
LEAVES = [leaf_hash(number.to_bytes(4, "big")) for number in range(LARGE)]


def grow(batches: Sequence[int]) -> tuple[RightEdge, dict[TileId, TileHashes]]:
    edge, start = RightEdge(), 0
    tiles: dict[TileId, TileHashes] = {}
    for batch in batches:
        edge, filled = edge.extend(LEAVES[start : start + batch])
        start += batch
        for tile in filled:
            assert tile.at not in tiles
            assert tile.root == merkle.root_of(
                [tile.hashes[at : at + 32] for at in range(0, 8192, 32)]
            )
            tiles[tile.at] = TileHashes(tile.hashes, tile.nodes)
    for level, row in enumerate(edge.partial):
        if row:
            tiles[TileId(level, full_tiles(edge.size, level))] = TileHashes(b"".join(row))
    return edge, tiles


@pytest.mark.parametrize("batches", [[70_000], [1, 255, 256, 257, 65_279, 3_952], [0, 300, 0]])
def test_the_edge_has_the_frontier_s_root_however_it_grew(batches: list[int]) -> None:
    edge, tiles = grow(batches)
    size = sum(batches)
    assert edge.size == size
    assert edge.frontier().root() == Frontier().extend(LEAVES[:size]).root()
    assert merkle.root_at(size, lookup_in(tiles)) == edge.frontier().root()
    assert {len(row) for row in edge.partial} <= set(range(256))
    for level, row in enumerate(edge.partial):
        assert len(row) == partial_width(size, level)


def test_the_specification_s_example_of_70000_leaves() -> None:
    edge, tiles = grow([LARGE])
    counts = [sum(1 for at in tiles if at.level == level) for level in range(3)]
    assert counts == [274, 2, 1]
    assert [len(row) for row in edge.partial] == [112, 17, 1]


def test_proofs_read_from_tiles_verify_at_every_kind_of_place() -> None:
    edge, tiles = grow([LARGE])
    root, lookup = edge.frontier().root(), lookup_in(tiles)
    for index in (0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, LARGE - 1):
        proof = merkle.inclusion_proof(index, LARGE, lookup)
        merkle.verify_inclusion(LEAVES[index], index, LARGE, proof, root)
    for old in (1, 255, 256, 257, 65_535, 65_536, 65_537, 69_888, LARGE - 1, LARGE):
        proof = merkle.consistency_proof(old, LARGE, lookup)
        old_root = merkle.root_at(old, lookup)
        assert old_root == Frontier().extend(LEAVES[:old]).root()
        merkle.verify_consistency(old, LARGE, old_root, root, proof)


def test_a_full_tile_answers_with_and_without_its_stored_nodes() -> None:
    _, [tile] = RightEdge().extend(LEAVES[:256])
    stored, served = TileHashes(tile.hashes, tile.nodes), TileHashes(tile.hashes)
    for level in range(8):
        for position in range(256 >> level):
            subtree = Subtree(level, position)
            assert stored.subtree(subtree) == served.subtree(subtree)


def test_a_missing_or_narrow_tile_is_an_error() -> None:
    with pytest.raises(MalformedProof):
        lookup_in({})([Subtree(0, 0)])
    with pytest.raises(MalformedProof):
        TileHashes(LEAVES[0]).subtree(Subtree(1, 0))


@pytest.mark.parametrize(
    ("level", "position", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1_234_067, 256, "tile/0/x001/x234/067"),
        (2, 7, 17, "tile/2/007.p/17"),
        (63, 1000, 255, "tile/63/x001/000.p/255"),
        (None, 273, 112, "tile/entries/273.p/112"),
    ],
)
def test_addresses_are_those_of_the_specification(
    level: int | None, position: int, width: int, path: str
) -> None:
    assert tile_path(level, position, width) == path
    _, name, rest = path.split("/", 2)
    assert parse_tile_path(name, rest) == (level, position, width)


@pytest.mark.parametrize(
    ("level", "rest"),
    [
        ("64", "000"),
        ("00", "000"),
        ("-1", "000"),
        ("", "000"),
        ("0", ""),
        ("0", "0"),
        ("0", "0000"),
        ("0", "x000/000"),
        ("0", "001/000"),
        ("0", "x001"),
        ("0", "000.p/0"),
        ("0", "000.p/256"),
        ("0", "000.p/01"),
        ("0", "000.p"),
        ("0", "000/"),
        ("0", "٠٠٠"),
        ("entrie", "000"),
    ],
)
def test_other_spellings_of_an_address_are_refused(level: str, rest: str) -> None:
    with pytest.raises(InvalidTilePath):
        parse_tile_path(level, rest)


@given(st.text(), st.text())
def test_arbitrary_addresses_raise_log_errors_only(level: str, rest: str) -> None:
    with pytest.raises(LogError):
        parse_tile_path(level, rest)


@given(st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256))
def test_every_address_is_read_back(level: int, position: int, width: int) -> None:
    _, name, rest = tile_path(level, position, width).split("/", 2)
    assert parse_tile_path(name, rest) == (level, position, width)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_entry_bundles_are_read_back(entries: list[bytes]) -> None:
    assert parse_entry_bundle(entry_bundle(entries)) == entries


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_a_cut_off_bundle_is_an_error(data: bytes) -> None:
    try:
        assert entry_bundle(parse_entry_bundle(data)) == data
    except MalformedProof:
        return
