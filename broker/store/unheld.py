"""What a sweep may take: rows that no other transaction holds.

A sweep takes many rows of several tables in an order of its own. If it waited for one of them while
it holds others, an act that goes the other way round would wait for it in turn, until PostgreSQL
ended one of the two. So sweeps wait for nobody: what they pass over is still there the next time.
SQLite has one writer.
"""

from sqlalchemy import ColumnElement, Table, TextClause, select, tuple_


def unheld(
    table: Table, *which: ColumnElement[bool] | TextClause, limit: int | None = None
) -> ColumnElement[bool]:
    """The condition that a row is one of `which` and that nobody else holds it; `limit` at most."""
    key = tuple(table.primary_key)
    free = select(*key).where(*which).limit(limit).with_for_update(skip_locked=True)
    return key[0].in_(free) if len(key) == 1 else tuple_(*key).in_(free)
