"""Rows of the log's tree: its head, its full tiles, its signed checkpoints.

Statements only: the sequencer has the order of steps, readers have a transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import LogConflict
from broker.domain.merkle import EMPTY_ROOT, HASH_BYTES, Subtree, leaf_hash
from broker.domain.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    FullTile,
    RightEdge,
    TileHashes,
    TileId,
    full_tiles,
    lookup_in,
    partial_width,
    tile_holding,
)
from broker.store import tables
from broker.store.audit import ENTRY, PENDING, Pending, leaf_data

HEAD = tables.LogHead.__table__  # type: ignore[attr-defined]
TILE = tables.LogTile.__table__  # type: ignore[attr-defined]
CHECKPOINT = tables.CheckpointRow.__table__  # type: ignore[attr-defined]

_HEAD_ID = 1
_SEQUENCER_LOCK = 0x6C6F67  # any number that no other advisory lock of the broker uses
_MOVED = tuple(column.name for column in PENDING.c if column.name != "seq")


@dataclass(frozen=True)
class Head:
    """The tree of all entries that have an index."""

    origin: str
    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True)
class StoredCheckpoint:
    """A signed checkpoint and when it was signed (Unix seconds)."""

    size: int
    note: str
    signed_at: int


def try_sequencer_lock(tx: Connection) -> bool:
    """Whether this transaction may sequence now.

    It only spares work: SQLite has one writer anyway, and `advance` is safe without it.
    """
    if tx.dialect.name == "sqlite":
        return True
    return bool(tx.execute(select(func.pg_try_advisory_xact_lock(_SEQUENCER_LOCK))).scalar_one())


def head(tx: Connection) -> Head | None:
    """The head of the log; None before its first entry."""
    row = tx.execute(select(HEAD.c.origin, HEAD.c.size, HEAD.c.root)).one_or_none()
    return None if row is None else Head(*row)


def create_head(tx: Connection, origin: str) -> Head:
    """The head, made empty with this origin unless it is there: an origin never changes."""
    found = head(tx)
    if found is not None:
        return found
    try:
        with tx.begin_nested():
            row = {"id": _HEAD_ID, "origin": origin, "size": 0, "root": EMPTY_ROOT}
            tx.execute(insert(HEAD), row)
    except IntegrityError:
        found = head(tx)
    return found or Head(origin)


def right_edge(tx: Connection, size: int) -> RightEdge:
    """What is needed to make the tree of `size` leaves grow."""
    rows: list[tuple[bytes, ...]] = []
    while size >> TILE_HEIGHT * len(rows):
        rows.append(tuple(_partial_tile(tx, len(rows), size)))
    return RightEdge(size, tuple(rows))


def advance(
    tx: Connection, old: Head, new: RightEdge, taken: Sequence[Pending], filled: Sequence[FullTile]
) -> Head:
    """Give the `taken` entries the indexes from `old.size` on, and the log its new head.

    Raises `LogConflict`, with the transaction to be rolled back, when another sequencer has
    advanced the head or taken one of the entries.
    """
    fresh = Head(old.origin, new.size, new.root())
    swapped = tx.execute(
        update(HEAD)
        .where(HEAD.c.size == old.size, HEAD.c.root == old.root)
        .values(size=fresh.size, root=fresh.root)
    )
    if swapped.rowcount != 1:
        raise LogConflict("another sequencer has advanced the log")
    numbers = [entry.seq for entry in taken]
    # The rows move inside the database; `numbers` are in ascending order, as the tree took them.
    index = func.row_number().over(order_by=PENDING.c.seq) - 1 + literal(old.size)
    moved = tx.execute(
        insert(ENTRY)
        .from_select(
            ("log_index", *_MOVED),
            select(index, *(PENDING.c[name] for name in _MOVED))
            .where(PENDING.c.seq.in_(numbers))
            .order_by(PENDING.c.seq),
        )
        .execution_options(preserve_rowcount=True)
    )
    removed = tx.execute(delete(PENDING).where(PENDING.c.seq.in_(numbers)))
    if moved.rowcount != len(numbers) or removed.rowcount != len(numbers):
        raise LogConflict("another sequencer has taken pending entries")
    if filled:
        tx.execute(insert(TILE), [_tile_values(tile) for tile in filled])
    return fresh


def add_checkpoint(tx: Connection, checkpoint: StoredCheckpoint) -> bool:
    """Store a signed checkpoint; False when there is one of this size already."""
    values = {
        "size": checkpoint.size,
        "note": checkpoint.note,
        "signed_at": checkpoint.signed_at,
    }
    try:
        with tx.begin_nested():
            tx.execute(insert(CHECKPOINT), values)
    except IntegrityError:
        return False
    return True


def latest_checkpoint(tx: Connection) -> StoredCheckpoint | None:
    """The published checkpoint: the largest that is signed."""
    return _one_checkpoint(tx, select(CHECKPOINT).order_by(CHECKPOINT.c.size.desc()))


def checkpoint_covering(tx: Connection, index: int) -> StoredCheckpoint | None:
    """The first signed checkpoint whose tree holds the entry at `index`."""
    found = select(CHECKPOINT).where(CHECKPOINT.c.size > index)
    return _one_checkpoint(tx, found.order_by(CHECKPOINT.c.size))


def checkpoint_at(tx: Connection, time: int) -> StoredCheckpoint | None:
    """The largest checkpoint that was signed at `time` (Unix seconds) or before."""
    found = select(CHECKPOINT).where(CHECKPOINT.c.signed_at <= time)
    return _one_checkpoint(tx, found.order_by(CHECKPOINT.c.size.desc()))


class TileReader:
    """The tree's first `size` leaves as a lookup for proofs; tiles are read once."""

    def __init__(self, tx: Connection, size: int) -> None:
        """`size` is at most the log's own; the reader lives as long as the transaction."""
        self._tx = tx
        self._size = size
        self._tiles: dict[TileId, TileHashes] = {}

    def __call__(self, subtrees: Sequence[Subtree]) -> Sequence[bytes]:
        """The hashes of `subtrees`, in order (a `merkle.Lookup`). Raises `MalformedProof`."""
        missing = {tile_holding(subtree) for subtree in subtrees} - self._tiles.keys()
        if missing:
            self._tiles.update(_read_tiles(self._tx, missing, self._size))
        return lookup_in(self._tiles)(subtrees)

    def tile(self, at: TileId) -> bytes:
        """The hashes of one tile as far as the tree reaches, empty where there is none."""
        if at.position > full_tiles(self._size, at.level):
            return b""
        width = TILE_WIDTH
        if at.position == full_tiles(self._size, at.level):
            width = partial_width(self._size, at.level)
        found = _read_tiles(self._tx, {at}, self._size) if width else {}
        return found[at].hashes[: width * HASH_BYTES] if at in found else b""


def _read_tiles(tx: Connection, wanted: set[TileId], size: int) -> Mapping[TileId, TileHashes]:
    place = tuple_(TILE.c.level, TILE.c.position)
    columns = (TILE.c.level, TILE.c.position, TILE.c.hashes, TILE.c.nodes)
    rows = tx.execute(select(*columns).where(place.in_([tuple(at) for at in wanted])))
    tiles = {
        TileId(level, position): TileHashes(hashes, nodes)
        for level, position, hashes, nodes in rows
    }
    for at in wanted - tiles.keys():
        if at.position == full_tiles(size, at.level) and partial_width(size, at.level):
            tiles[at] = TileHashes(b"".join(_partial_tile(tx, at.level, size)))
    return tiles


def _partial_tile(tx: Connection, level: int, size: int) -> list[bytes]:
    start = full_tiles(size, level) * TILE_WIDTH
    end = start + partial_width(size, level)
    if start == end:
        return []
    if level == 0:
        return [leaf_hash(data) for data in leaf_data(tx, start, end)]
    found = select(TILE.c.root).where(
        TILE.c.level == level - 1, TILE.c.position >= start, TILE.c.position < end
    )
    return list(tx.execute(found.order_by(TILE.c.position)).scalars())


def _one_checkpoint(tx: Connection, found: Any) -> StoredCheckpoint | None:  # noqa: ANN401 (a select, whose type names its columns)
    row = tx.execute(found.limit(1)).one_or_none()
    return None if row is None else StoredCheckpoint(row.size, row.note, row.signed_at)


def _tile_values(tile: FullTile) -> dict[str, Any]:
    return {
        "level": tile.at.level,
        "position": tile.at.position,
        "hashes": tile.hashes,
        "nodes": tile.nodes,
        "root": tile.root,
    }
