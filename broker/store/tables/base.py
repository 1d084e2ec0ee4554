"""How tables are written: the names of constraints, and the columns that many tables have."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Integer
from sqlalchemy import Text as SqlText
from sqlmodel import Field, SQLModel

metadata = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# What the query for a status list's places reads, the row's policy, and what SQLite asks for again:
# all of it is in the index, or each place costs a page of the table.
PLACES = ("status_list_id", "status_index", "tenant_id", "state")

# SQLite's fast row number is an INTEGER PRIMARY KEY; PostgreSQL needs the 64 bits said.
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


def time(*, nullable: bool = False) -> Any:  # noqa: ANN401 (SQLModel's Field is untyped)
    """A time in Unix seconds."""
    return Field(sa_type=BigInteger, nullable=nullable)


def text() -> Any:  # noqa: ANN401
    """Text of any length."""
    return Field(sa_type=SqlText)


def one_of(column: str, *values: str) -> CheckConstraint:
    """The check that a column holds one of a few values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")
