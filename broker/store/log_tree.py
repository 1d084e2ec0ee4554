"""Rows of the log's tree: its head, its full tiles, its signed checkpoints.

Statements only: the sequencer has the order of steps, readers have a transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import LogConflict
from broker.domain.merkle import EMPTY_ROOT, HASH_BYTES, Subtree, leaf_hash, perfect_subtrees
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
    split_hashes,
    tile_holding,
)
from broker.store import tables
from broker.store.audit import ENTRY, PENDING, Pending, leaf_data

HEAD = tables.LogHead.__table__  # type: ignore[attr-defined]
TILE = tables.LogTile.__table__  # type: ignore[attr-defined]
CHECKPOINT = tables.CheckpointRow.__table__  # type: ignore[attr-defined]

_HEAD_ID = 1
_SEQUENCER_LOCK = 0x6C6F67  # any number that no other advisory lock of the broker uses
_MOVED = tuple(column.name for column in PENDING.c if column.name in ENTRY.c)

# Built once: building a statement takes longer than executing it.
_FRONTIER = select(CHECKPOINT.c.frontier).where(CHECKPOINT.c.size == bindparam("size"))
_FULL_TILE = select(TILE.c.hashes, TILE.c.nodes).where(
    TILE.c.level == bindparam("level"), TILE.c.position == bindparam("position")
)
_ROOTS = (
    select(TILE.c.root)
    .where(
        TILE.c.level == bindparam("level"),
        TILE.c.position >= bindparam("start"),
        TILE.c.position < bindparam("end"),
    )
    .order_by(TILE.c.position)
)


@dataclass(frozen=True)
class Head:
    """The tree of all entries that have an index."""

    origin: str
    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True)
class StoredCheckpoint:
    """A signed checkpoint and when it was signed (Unix seconds).

    `frontier` is the concatenated hashes of the tree's perfect subtrees, largest first.
    """

    size: int
    note: str
    signed_at: int
    frontier: bytes


def try_sequencer_lock(tx: Connection) -> bool:
    """Whether this transaction may sequence now.

    It only spares work: SQLite has one writer anyway, and `advance` is safe without it.
    """
    if tx.dialect.name == "sqlite":
        return True
    return bool(tx.execute(select(func.pg_try_advisory_xact_lock(_SEQUENCER_LOCK))).scalar_one())


def hold_sequencer(tx: Connection) -> None:
    """Let nobody index or publish until the end of `tx`, where that is more than spared work."""
    if tx.dialect.name != "sqlite":
        tx.execute(select(func.pg_advisory_xact_lock(_SEQUENCER_LOCK)))


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
    fresh = Head(old.origin, new.size, new.frontier().root())
    swapped = tx.execute(
        update(HEAD)
        .where(HEAD.c.size == old.size, HEAD.c.root == old.root)
        .values(size=fresh.size, root=fresh.root)
    )
    if swapped.rowcount != 1:
        raise LogConflict("another sequencer has advanced the log")
    numbers = [entry.seq for entry in taken]
    # The rows move inside the database, in the order in which the tree took them (`audit.pending`).
    order = _order_of(taken)
    index = func.row_number().over(order_by=order) - 1 + literal(old.size)
    moved = tx.execute(
        insert(ENTRY)
        .from_select(
            ("log_index", *_MOVED),
            select(index, *(PENDING.c[name] for name in _MOVED))
            .where(PENDING.c.seq.in_(numbers))
            .order_by(*order),
        )
        .execution_options(preserve_rowcount=True)
    )
    removed = tx.execute(delete(PENDING).where(PENDING.c.seq.in_(numbers)))
    if moved.rowcount != len(numbers) or removed.rowcount != len(numbers):
        raise LogConflict("another sequencer has taken pending entries")
    if filled:
        tx.execute(insert(TILE), [tile_values(tile) for tile in filled])
    return fresh


def _order_of(taken: Sequence[Pending]) -> list[ColumnElement[Any]]:
    if not any(entry.shows for entry in taken):
        return [PENDING.c.seq]
    held = PENDING.c.not_before.is_not(None)
    return [case((held, 1), else_=0), case((held, PENDING.c.leaf_data)), PENDING.c.seq]


def add_checkpoint(tx: Connection, checkpoint: StoredCheckpoint) -> bool:
    """Store a signed checkpoint; False when there is one of this size already.

    Raises `IntegrityError` when the database refuses it for any other reason.
    """
    values = {
        "size": checkpoint.size,
        "note": checkpoint.note,
        "signed_at": checkpoint.signed_at,
        "frontier": checkpoint.frontier,
    }
    try:
        with tx.begin_nested():
            tx.execute(insert(CHECKPOINT), values)
    except IntegrityError:
        # A broken trigger or check is not a checkpoint that somebody else has stored.
        if tx.execute(select(CHECKPOINT.c.size).filter_by(size=checkpoint.size)).first() is None:
            raise
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
    """The tree's first `size` leaves as a lookup for proofs; what it has read, it keeps."""

    def __init__(self, tx: Connection, size: int) -> None:
        """`size` is at most the log's own; the reader lives as long as the transaction."""
        self._tx = tx
        self._size = size
        self._tiles: dict[TileId, TileHashes] = {}
        self._edge: dict[Subtree, bytes] | None = None

    def __call__(self, subtrees: Sequence[Subtree]) -> Sequence[bytes]:
        """The hashes of `subtrees`, in order (a `merkle.Lookup`). Raises `MalformedProof`."""
        edge = self._right_side()
        inside = [subtree for subtree in subtrees if subtree not in edge]
        for at in {tile_holding(subtree) for subtree in inside} - self._tiles.keys():
            found = self._read(at)
            if found is not None:
                self._tiles[at] = found
        hashes = dict(zip(inside, lookup_in(self._tiles)(inside), strict=True))
        return [edge[subtree] if subtree in edge else hashes[subtree] for subtree in subtrees]

    def tile(self, at: TileId) -> bytes:
        """The hashes of one tile as far as the tree reaches, empty where there is none."""
        whole = full_tiles(self._size, at.level)
        width = TILE_WIDTH if at.position < whole else partial_width(self._size, at.level)
        found = self._read(at) if width and at.position <= whole else None
        return b"" if found is None else found.hashes[: width * HASH_BYTES]

    def _right_side(self) -> dict[Subtree, bytes]:
        """The tree's own perfect subtrees, if its size was published."""
        if self._edge is None:
            stored = self._tx.execute(_FRONTIER, {"size": self._size}).scalar_one_or_none()
            hashes = split_hashes(stored) if stored is not None else ()
            self._edge = dict(zip(perfect_subtrees(0, self._size), hashes, strict=False))
        return self._edge

    def _read(self, at: TileId) -> TileHashes | None:
        row = self._tx.execute(_FULL_TILE, at._asdict()).one_or_none()
        if row is not None:
            return TileHashes(row.hashes, row.nodes)
        if at.position != full_tiles(self._size, at.level):
            return None
        return TileHashes(b"".join(_partial_tile(self._tx, at.level, self._size)))


def _partial_tile(tx: Connection, level: int, size: int) -> list[bytes]:
    start = full_tiles(size, level) * TILE_WIDTH
    end = start + partial_width(size, level)
    if start == end:
        return []
    if level == 0:
        return [leaf_hash(data) for data in leaf_data(tx, start, end)]
    place = {"level": level - 1, "start": start, "end": end}
    return list(tx.execute(_ROOTS, place).scalars())


def _one_checkpoint(tx: Connection, found: Any) -> StoredCheckpoint | None:  # noqa: ANN401 (a select, whose type names its columns)
    row = tx.execute(found.limit(1)).one_or_none()
    return (
        None if row is None else StoredCheckpoint(row.size, row.note, row.signed_at, row.frontier)
    )


def tile_values(tile: FullTile) -> dict[str, Any]:
    """The row of a full tile."""
    return {
        "level": tile.at.level,
        "position": tile.at.position,
        "hashes": tile.hashes,
        "nodes": tile.nodes,
        "root": tile.root,
    }
