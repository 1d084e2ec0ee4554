"""Statements for the hot path, compiled once and handed to the driver itself.

For these, SQLAlchemy's way to an execution and back takes longer than the execution.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Dialect, String, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
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


_NAMES: Final = "b_names"
_LISTED: Final = {
    "sqlite": select(func.json_each(bindparam(_NAMES)).table_valued("value").c.value),
    "postgresql": select(
        func.jsonb_array_elements_text(cast(bindparam(_NAMES, type_=String), JSONB)).column_valued(
            "value"
        )
    ),
}


class PreparedAmong:
    """A prepared statement about some names: they go in as one text, however many there are.

    SQLAlchemy writes a statement with a list in it anew each time, which takes ten times as long.
    """

    def __init__(
        self,
        column: ColumnElement[str],
        build: Callable[[ColumnElement[bool]], ClauseElement],
    ) -> None:
        """`build` makes the statement of the condition that the column is among the names."""
        self._statements = {
            name: Prepared(build(column.in_(listed))) for name, listed in _LISTED.items()
        }

    def rows(
        self, tx: Connection, names: Collection[str], values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """The rows that the statement finds for these names."""
        listed = {_NAMES: orjson.dumps(list(names)).decode()}
        return self._statements[tx.dialect.name].rows(tx, {**values, **listed})
