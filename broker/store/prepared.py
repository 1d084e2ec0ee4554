"""Statements for the hot path, compiled once and handed to the driver itself.

For these, SQLAlchemy's way to an execution and back takes longer than the execution.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement


class Prepared:
    """A statement that is compiled once for each dialect and runs in the caller's transaction.

    Values go in and come out as the driver has them. Errors are SQLAlchemy's, without the values.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, list[str] | None, dict[str, Any]]] = {}

    def rows(self, tx: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that the statement finds."""
        cursor = self._execute(tx, values)
        try:
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
        finally:
            cursor.close()

    def changed(self, tx: Connection, values: Mapping[str, Any]) -> int:
        """How many rows the statement changes."""
        cursor = self._execute(tx, values)
        try:
            count: int = cursor.rowcount
            return count
        finally:
            cursor.close()

    def _execute(self, tx: Connection, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 (driver)
        if not tx.in_transaction():
            tx.begin()
        text, order, constants = self._compiled.get(tx.dialect.name) or self._compile(tx.dialect)
        given: Any
        if order is None:
            given = {**constants, **values}
        else:
            given = [values[name] if name in values else constants[name] for name in order]
        cursor = tx.connection.cursor()
        try:
            cursor.execute(text, given)
        except tx.dialect.loaded_dbapi.Error as error:
            cursor.close()
            base = tx.dialect.loaded_dbapi.Error
            raise DBAPIError.instance(text, None, error, base, dialect=tx.dialect) from error
        return cursor

    def _compile(self, dialect: Dialect) -> tuple[str, list[str] | None, dict[str, Any]]:
        """The text, the order of its parameters where they have no names, and its constants."""
        compiled: Any = self._statement.compile(dialect=dialect)
        order = list(compiled.positiontup) if compiled.positional else None
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        found = self._compiled[dialect.name] = (str(compiled), order, constants)
        return found
