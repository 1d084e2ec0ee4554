"""The partition plan: consents by the hash of their contact, the log by ranges of its index.

A partitioned table's keys have to hold the partition's own column. So `consent` can be unique by
(id, contact_id) alone, and nothing can refer to it by its id any more; `audit_entry` by
(id, log_index). Triggers for a statement and row-level security bind who goes through the parent:
each partition needs its own. `guards` tries what holds.
"""

from collections.abc import Iterator

from psycopg import Connection, errors, sql

from broker.store import append_only, row_security
from tests.postgres import ROLE

CONSENT_PARTITIONS = 16
ENTRIES_PER_PARTITION = 1_000_000


def partition(connection: Connection, entries: int) -> None:
    """Turn both tables into partitioned ones, keeping their rows and the guards of the log."""
    _replace(connection, "consent", "HASH (contact_id)", "(id, contact_id)", _by_hash())
    last = entries // ENTRIES_PER_PARTITION + 1
    _replace(connection, "audit_entry", "RANGE (log_index)", "(log_index)", _by_range(last))
    connection.execute("CREATE INDEX ix_audit_entry_id ON audit_entry (id, log_index)")
    for name in ("audit_entry", *partitions(connection, "audit_entry")):
        guard(connection, name)


def partitions(connection: Connection, table: str) -> list[str]:
    """The partitions of a table."""
    found = connection.execute(
        "SELECT relid::regclass::text FROM pg_partition_tree(%s) WHERE isleaf", (table,)
    )
    return [str(name) for (name,) in found]


def guard(connection: Connection, table: str) -> None:
    """Have a table of the log refuse changes, as the migrations do for the whole."""
    made = next(
        statement
        for statement in append_only.create("postgresql")
        if "audit_entry_append_only" in statement
    )
    connection.execute(made.replace("ON audit_entry", f"ON {table}"))


def guards(connection: Connection) -> dict[str, bool]:
    """Whether the log refuses changes: through the parent, in a partition, in one without guard."""
    first = partitions(connection, "audit_entry")[0]
    found = {
        "delete from audit_entry": _refused(connection, "DELETE FROM audit_entry"),
        "truncate audit_entry": _refused(connection, "TRUNCATE audit_entry"),
        "delete from a partition": _refused(connection, f"DELETE FROM {first}"),
        "truncate a partition": _refused(connection, f"TRUNCATE {first}"),
    }
    with connection.transaction(force_rollback=True):
        connection.execute(f"DROP TRIGGER audit_entry_append_only ON {first}")
        found["delete from a partition that has only its parent's guard"] = _refused(
            connection, f"DELETE FROM {first} WHERE false"
        )
    return found


def _refused(connection: Connection, statement: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except errors.RaiseException:
        return True
    return False


def _by_hash() -> Iterator[str]:
    for number in range(CONSENT_PARTITIONS):
        yield f"WITH (MODULUS {CONSENT_PARTITIONS}, REMAINDER {number})"


def _by_range(count: int) -> Iterator[str]:
    for number in range(count):
        start = number * ENTRIES_PER_PARTITION
        yield f"FROM ({start}) TO ({start + ENTRIES_PER_PARTITION})"


def _replace(connection: Connection, table: str, by: str, key: str, values: Iterator[str]) -> None:
    indexes = [
        definition
        for (definition,) in connection.execute(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid = %s::regclass AND NOT indisunique",
            (table,),
        )
    ]
    connection.execute(
        f"CREATE TABLE parted (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS "
        f"INCLUDING COMPRESSION) PARTITION BY {by}"
    )
    for number, part in enumerate(values):
        connection.execute(
            f"CREATE TABLE {table}_{number:03} PARTITION OF parted FOR VALUES {part}"
        )
    connection.execute(f"ALTER TABLE parted OWNER TO {ROLE}")
    for statement in row_security.protect("postgresql", "parted"):
        connection.execute(statement)
    connection.execute(f"INSERT INTO parted SELECT * FROM {table}")
    connection.execute(f"DROP TABLE {table} CASCADE")
    connection.execute(f"ALTER TABLE parted RENAME TO {table}")
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY {}").format(
            sql.Identifier(table), sql.Identifier(f"pk_{table}"), sql.SQL(key)
        )
    )
    for definition in indexes:
        connection.execute(definition)
