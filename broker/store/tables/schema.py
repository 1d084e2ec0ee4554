"""What the schema itself says about who may use it."""

from sqlmodel import Field, SQLModel


class SchemaSupport(SQLModel, table=True):
    """One row: the oldest migration whose brokers may still serve on this database.

    A migration that older brokers cannot live with (a column gone, a meaning changed) sets it to
    its own revision; one that only adds leaves it.
    """

    __tablename__ = "schema_support"
    id: int = Field(primary_key=True)
    oldest: str
