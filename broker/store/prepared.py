"""Statements for the hot path, compiled once to the driver's own text.

For these, SQLAlchemy's way to an execution takes longer than the execution.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql import ClauseElement


class Prepared:
    """A statement, compiled once for each dialect and executed as the driver's own text."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, list[str] | None]] = {}

    def text(self, dialect: Dialect) -> tuple[str, list[str] | None]:
        """The text for a dialect, and the order of its parameters where they have no names."""
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled: Any = self._statement.compile(dialect=dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            found = self._compiled[dialect.name] = (str(compiled), order)
        return found

    def rows(self, tx: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that the statement finds, as the driver gives them."""
        text, order = self.text(tx.dialect)
        parameters: Any = values if order is None else tuple([values[name] for name in order])
        return [tuple(row) for row in tx.exec_driver_sql(text, parameters)]

    def changed(self, tx: Connection, values: Mapping[str, Any]) -> int:
        """How many rows the statement changes."""
        text, order = self.text(tx.dialect)
        parameters: Any = values if order is None else tuple([values[name] for name in order])
        return tx.exec_driver_sql(text, parameters).rowcount
