"""C2SP tlog-tiles: the tree cut into tiles of 256 hashes, their addresses and their bytes.

A tile at level L, position N holds the hashes of the perfect subtrees `(8 * L, 256 * N)` to
`(8 * L, 256 * N + 255)`; a partial tile holds fewer and grows no level above it. Full tiles never
change. Source: https://c2sp.org/tlog-tiles.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.domain.errors import InvalidTilePath, MalformedProof
from broker.domain.merkle import HASH_BYTES, Frontier, Lookup, Subtree, next_level

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
HIGHEST_LEVEL = 63

_PATH = re.compile(
    r"(?P<head>(?:x[0-9]{3}/){0,6})(?P<tail>[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class TileId(NamedTuple):
    """Where a tile stands: its level (0 holds the leaf hashes) and its position on that level."""

    level: int
    position: int


@dataclass(frozen=True)
class FullTile:
    """A full tile: its 256 hashes, the 254 nodes between them and the root, and the root.

    `hashes` and `nodes` are concatenated 32-byte hashes; `nodes` starts with the 128 parents of
    the hashes and ends with the two children of the root.
    """

    at: TileId
    hashes: bytes
    nodes: bytes
    root: bytes


def full_tile(at: TileId, hashes: Sequence[bytes]) -> FullTile:
    """Build the tile over exactly 256 hashes."""
    nodes: list[bytes] = []
    row = next_level(hashes)
    while len(row) > 1:
        nodes += row
        row = next_level(row)
    return FullTile(at, b"".join(hashes), b"".join(nodes), row[0])


@dataclass(frozen=True)
class RightEdge:
    """The partial tile of each level, level 0 first: all that is needed to make the tree grow.

    At most 255 hashes a level, none where the level has no partial tile.
    """

    size: int = 0
    partial: tuple[tuple[bytes, ...], ...] = ()

    def frontier(self) -> Frontier:
        """The compact range: the partial tiles cut into perfect subtrees, highest level first."""
        parts = (part for row in reversed(self.partial) for part in _perfect_roots(row))
        return Frontier(self.size, tuple(parts))

    def extend(self, leaf_hashes: Sequence[bytes]) -> tuple["RightEdge", list[FullTile]]:
        """The edge with these leaf hashes added, and the tiles that they filled, lowest first."""
        partial: list[tuple[bytes, ...]] = []
        filled: list[FullTile] = []
        added: Sequence[bytes] = leaf_hashes
        level = 0
        while added or level < len(self.partial):
            row = [*(self.partial[level] if level < len(self.partial) else ()), *added]
            position = self.size >> TILE_HEIGHT * (level + 1)
            whole = len(row) - len(row) % TILE_WIDTH
            tiles = [
                full_tile(
                    TileId(level, position + start // TILE_WIDTH), row[start : start + TILE_WIDTH]
                )
                for start in range(0, whole, TILE_WIDTH)
            ]
            partial.append(tuple(row[whole:]))
            filled += tiles
            added = [tile.root for tile in tiles]
            level += 1
        return RightEdge(self.size + len(leaf_hashes), tuple(partial)), filled


def partial_width(size: int, level: int) -> int:
    """How many hashes the partial tile at `level` holds in a tree of `size`; 0 is no tile."""
    return (size >> TILE_HEIGHT * level) % TILE_WIDTH


def full_tiles(size: int, level: int) -> int:
    """How many full tiles there are at `level` in a tree of `size` leaves."""
    return size >> TILE_HEIGHT * (level + 1)


def tile_holding(subtree: Subtree) -> TileId:
    """The tile whose hashes, or the nodes above them, hold this subtree's hash.

    A subtree of a whole tile's height is a hash of the level above, not the root inside its tile.
    """
    level, height = divmod(subtree.level, TILE_HEIGHT)
    return TileId(level, (subtree.position << height) >> TILE_HEIGHT)


class TileHashes:
    """The hashes of one tile, full or partial, that answers for the subtrees inside."""

    def __init__(self, hashes: bytes, nodes: bytes = b"") -> None:
        """`hashes` as served; `nodes` as stored with a full tile, empty for a partial one."""
        self.hashes = hashes
        self._nodes = nodes

    def subtree(self, subtree: Subtree) -> bytes:
        """The hash of a subtree that `tile_holding` places in this tile.

        Raises `MalformedProof` when the tile is too narrow to hold it.
        """
        height = subtree.level % TILE_HEIGHT
        first = (subtree.position << height) % TILE_WIDTH
        if (first + (1 << height)) * HASH_BYTES > len(self.hashes):
            message = f"the tile does not reach subtree {subtree.position} at level {subtree.level}"
            raise MalformedProof(message)
        if height == 0:
            return self.hashes[first * HASH_BYTES : (first + 1) * HASH_BYTES]
        if self._nodes:
            # Rows above the hashes have 128, 64 ... 2 nodes: 256 - 2 * width are below this one.
            width = TILE_WIDTH >> height
            at = TILE_WIDTH - 2 * width + subtree.position % width
            return self._nodes[at * HASH_BYTES : (at + 1) * HASH_BYTES]
        row = list(
            split_hashes(self.hashes[first * HASH_BYTES : (first + (1 << height)) * HASH_BYTES])
        )
        while len(row) > 1:
            row = next_level(row)
        return row[0]


def lookup_in(tiles: Mapping[TileId, TileHashes]) -> Lookup:
    """A lookup for proofs that reads `tiles`; a missing tile raises `MalformedProof`."""

    def lookup(subtrees: Sequence[Subtree]) -> list[bytes]:
        try:
            return [tiles[tile_holding(subtree)].subtree(subtree) for subtree in subtrees]
        except KeyError as error:
            message = f"the proof needs tile {error.args[0]}, which is not there"
            raise MalformedProof(message) from None

    return lookup


def tile_path(level: int | None, position: int, width: int = TILE_WIDTH) -> str:
    """The address below the log's prefix, `tile/0/x001/x234/067.p/8`; level None is entries."""
    digits = [f"{position % 1000:03d}"]
    while position := position // 1000:
        digits.append(f"x{position % 1000:03d}")
    name = "entries" if level is None else str(level)
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{name}/{'/'.join(reversed(digits))}{suffix}"


def parse_tile_path(level: str, rest: str) -> tuple[int | None, int, int]:
    """Read `<L>` and `<N>[.p/<W>]` of a tile's address: (level, position, width).

    `level` may be `entries`, which gives level None. The one canonical spelling is accepted, so
    that a tile has one address. Raises `InvalidTilePath`.
    """
    match = _PATH.fullmatch(rest)
    if match is None or not (level == "entries" or re.fullmatch(r"0|[1-9][0-9]?", level)):
        message = "a tile's address is <level>/<position>, as in 0/x001/234 or 0/000.p/17"
        raise InvalidTilePath(message)
    number = None if level == "entries" else int(level)
    width = int(match["width"] or TILE_WIDTH)
    position = int(match["head"].replace("x", "").replace("/", "") + match["tail"])
    if (number or 0) > HIGHEST_LEVEL or tile_path(
        number, position, width
    ) != f"tile/{level}/{rest}":
        message = (
            "a tile's level is at most 63, its width below 256, no group of its position is empty"
        )
        raise InvalidTilePath(message)
    return number, position, width


def entry_bundle(entries: Sequence[bytes]) -> bytes:
    """Log entries as served: each after its length as a big-endian uint16."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_entry_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises `MalformedProof` when it is cut off."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if end > len(bundle) or at + 2 > len(bundle):
            message = "the entry bundle is cut off"
            raise MalformedProof(message)
        entries.append(bundle[at + 2 : end])
        at = end
    return entries


def split_hashes(hashes: bytes) -> Iterator[bytes]:
    """The 32-byte hashes of a tile's bytes."""
    return (hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))


def _perfect_roots(row: Sequence[bytes]) -> Iterator[bytes]:
    start = 0
    for bit in reversed(range(len(row).bit_length())):
        if len(row) >> bit & 1:
            part = list(row[start : start + (1 << bit)])
            start += 1 << bit
            while len(part) > 1:
                part = next_level(part)
            yield part[0]
