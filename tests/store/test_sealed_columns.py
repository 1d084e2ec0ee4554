"""Every column of bytes is listed as sealed under the master key, or known to be another thing."""

from sqlalchemy import LargeBinary

from broker.store.sealed_columns import NOT_SEALED, SEALED
from broker.store.tables import metadata


def test_no_column_of_bytes_is_forgotten_by_a_rotation() -> None:
    of_bytes = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    listed = {f"{one.table}.{one.column}" for one in SEALED if one.member is None}
    assert not listed & NOT_SEALED
    assert of_bytes == listed | NOT_SEALED, (
        "a column of bytes that is sealed under the master key belongs into SEALED with its "
        "context, another into NOT_SEALED (broker/store/sealed_columns.py)"
    )
