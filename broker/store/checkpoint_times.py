"""Rows of other parties' word on when a checkpoint was there."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_on_sqlite

from broker.store import tables

TIME = tables.CheckpointTime.__table__  # type: ignore[attr-defined]

Kind = Literal["rfc3161", "witness"]


@dataclass(frozen=True)
class CheckpointTime:
    """What `source` has said at `at` (Unix seconds, by its own clock) of the tree of `size`.

    `token` is a DER TimeStampResp (kind `rfc3161`) or signature lines of a note (`witness`).
    """

    size: int
    kind: Kind
    source: str
    token: bytes
    at: int


def add(tx: Connection, time: CheckpointTime) -> None:
    """Keep it, unless there is one of this source on this size already."""
    insert: Any = insert_on_sqlite if tx.dialect.name == "sqlite" else insert_on_postgresql
    tx.execute(insert(TIME).values(**vars(time)).on_conflict_do_nothing())


def of_checkpoint(tx: Connection, size: int, kind: Kind) -> list[CheckpointTime]:
    """All of one kind on the tree of `size`, by source."""
    found = select(TIME).where(TIME.c.size == size, TIME.c.kind == kind).order_by(TIME.c.source)
    return [CheckpointTime(**row) for row in tx.execute(found).mappings()]


def largest_size(tx: Connection, kind: Kind, source: str) -> int:
    """The largest tree that a source has said something of; 0 when there is none."""
    found = select(func.max(TIME.c.size)).where(TIME.c.kind == kind, TIME.c.source == source)
    return tx.execute(found).scalar_one() or 0


def first_covering(tx: Connection, index: int, kind: Kind) -> CheckpointTime | None:
    """The earliest word on a tree that holds the entry at `index`."""
    found = select(TIME).where(TIME.c.size > index, TIME.c.kind == kind)
    row = tx.execute(found.order_by(TIME.c.size, TIME.c.source).limit(1)).mappings().one_or_none()
    return None if row is None else CheckpointTime(**row)
