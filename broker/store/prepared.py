"""Statements for the hot path, compiled once to the driver's own text.

For these, SQLAlchemy's way to an execution takes longer than the execution.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect
from sqlalchemy.sql import ClauseElement


class Prepared:
    """A statement, compiled once for each dialect and executed as the driver's own text."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, list[str] | None, dict[str, Any]]] = {}

    def rows(self, tx: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that the statement finds, as the driver gives them."""
        return [tuple(row) for row in self._execute(tx, values)]

    def changed(self, tx: Connection, values: Mapping[str, Any]) -> int:
        """How many rows the statement changes."""
        return self._execute(tx, values).rowcount

    def _execute(self, tx: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        compiled = self._compiled.get(tx.dialect.name) or self._compile(tx.dialect)
        text, order, constants = compiled
        if order is None:
            return tx.exec_driver_sql(text, {**constants, **values})
        given = [values[name] if name in values else constants[name] for name in order]
        return tx.exec_driver_sql(text, tuple(given))

    def _compile(self, dialect: Dialect) -> tuple[str, list[str] | None, dict[str, Any]]:
        """The text, the order of its parameters where they have no names, and its constants."""
        compiled: Any = self._statement.compile(dialect=dialect)
        order = list(compiled.positiontup) if compiled.positional else None
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        found = self._compiled[dialect.name] = (str(compiled), order, constants)
        return found
