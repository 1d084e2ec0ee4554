"""What makes the database itself refuse to change the log; migrations execute these statements.

Rows of entries, tiles and checkpoints are inserted once. UPDATE, DELETE and TRUNCATE abort, also
for whoever holds the broker's own database password; `log_head` may only grow. SQLite would let
`INSERT OR REPLACE` delete without firing delete triggers, so there an insert is checked too.
"""

from collections.abc import Iterator

APPEND_ONLY = ("audit_entry", "log_tile", "checkpoint")

# What an insert must not find, or must follow, on SQLite.
_TAKEN = {
    "audit_entry": (
        "NEW.log_index <> (SELECT coalesce(max(log_index) + 1, 0) FROM audit_entry) "
        "OR EXISTS (SELECT 1 FROM audit_entry WHERE id = NEW.id)"
    ),
    "log_tile": (
        "EXISTS (SELECT 1 FROM log_tile WHERE level = NEW.level AND position = NEW.position)"
    ),
    "checkpoint": "EXISTS (SELECT 1 FROM checkpoint WHERE size = NEW.size)",
}
_FUNCTION = "refuse_change_of_the_log"
_LEDGER_FUNCTION = "refuse_change_of_the_ledger"


def create(dialect: str) -> tuple[str, ...]:
    """The statements that protect the tables, one each, for `sqlite` or `postgresql`."""
    return tuple(_create_on_sqlite() if dialect == "sqlite" else _create_on_postgresql())


def drop(dialect: str) -> tuple[str, ...]:
    """The statements that undo `create`."""
    if dialect == "sqlite":
        names = (statement.split()[2] for statement in _create_on_sqlite())
        return tuple(f"DROP TRIGGER {name}" for name in names)
    tables = (*APPEND_ONLY, "log_head")
    return (
        *(f"DROP TRIGGER {table}_append_only ON {table}" for table in tables),
        "DROP TRIGGER log_head_grows ON log_head",
        f"DROP FUNCTION {_FUNCTION}()",
    )


def guard_fees(dialect: str) -> tuple[str, ...]:
    """The statements that make `fee_charge` append-only; `DROP TABLE` undoes all but the function.

    They are apart from the log's: those are taken away while a log is reopened.
    """
    refuse = "BEGIN SELECT RAISE(ABORT, 'fee_charge is append-only'); END"
    if dialect == "sqlite":
        taken = (
            "EXISTS (SELECT 1 FROM fee_charge WHERE id = NEW.id OR decision_id = NEW.decision_id)"
        )
        return (
            f"CREATE TRIGGER fee_charge_no_update BEFORE UPDATE ON fee_charge {refuse}",
            f"CREATE TRIGGER fee_charge_no_delete BEFORE DELETE ON fee_charge {refuse}",
            f"CREATE TRIGGER fee_charge_next BEFORE INSERT ON fee_charge WHEN {taken} {refuse}",
        )
    return (
        (
            f"CREATE FUNCTION {_LEDGER_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
        ),
        (
            "CREATE TRIGGER fee_charge_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
            f"ON fee_charge FOR EACH STATEMENT EXECUTE FUNCTION {_LEDGER_FUNCTION}()"
        ),
    )


def unguard_fees(dialect: str) -> tuple[str, ...]:
    """What `DROP TABLE fee_charge` leaves behind of `guard_fees`."""
    return () if dialect == "sqlite" else (f"DROP FUNCTION {_LEDGER_FUNCTION}()",)


def _create_on_sqlite() -> Iterator[str]:
    for table in APPEND_ONLY:
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for change in ("update", "delete"):
            yield f"CREATE TRIGGER {table}_no_{change} BEFORE {change.upper()} ON {table} {refuse}"
        yield f"CREATE TRIGGER {table}_next BEFORE INSERT ON {table} WHEN {_TAKEN[table]} {refuse}"
    refuse = "BEGIN SELECT RAISE(ABORT, 'log_head only grows'); END"
    yield f"CREATE TRIGGER log_head_no_delete BEFORE DELETE ON log_head {refuse}"
    yield (
        "CREATE TRIGGER log_head_grows BEFORE UPDATE ON log_head "
        f"WHEN NEW.size <= OLD.size OR NEW.origin <> OLD.origin {refuse}"
    )
    # A head is there as soon as the largest size is not null.
    present = "(SELECT max(size) FROM log_head) IS NOT NULL"
    yield f"CREATE TRIGGER log_head_one BEFORE INSERT ON log_head WHEN {present} {refuse}"


def _create_on_postgresql() -> Iterator[str]:
    yield (
        f"CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
    )
    # By statement, so that it aborts whether or not it would have met a row.
    changes = dict.fromkeys(APPEND_ONLY, "UPDATE OR DELETE OR TRUNCATE")
    for table, change in {**changes, "log_head": "DELETE OR TRUNCATE"}.items():
        yield (
            f"CREATE TRIGGER {table}_append_only BEFORE {change} ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {_FUNCTION}()"
        )
    yield (
        "CREATE TRIGGER log_head_grows BEFORE UPDATE ON log_head FOR EACH ROW "
        "WHEN (NEW.size <= OLD.size OR NEW.origin <> OLD.origin) "
        f"EXECUTE FUNCTION {_FUNCTION}()"
    )
