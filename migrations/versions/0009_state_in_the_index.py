"""Status lists: what has ended is read from the index alone on SQLite too."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = {
    "consent": sa.text("state IN ('withdrawn', 'superseded')"),
    "credential_copy": sa.text("state = 'superseded'"),
}


def upgrade() -> None:
    """SQLite asks a row for its state even where the index holds no other; so the index has it."""
    _create(["status_list_id", "status_index", "tenant_id", "state"])


def downgrade() -> None:
    """Leave the state out of the index again."""
    _create(["status_list_id", "status_index", "tenant_id"])


def _create(columns: list[str]) -> None:
    for table, ended in _TABLES.items():
        op.drop_index(f"ix_{table}_ended", table_name=table)
        op.create_index(
            f"ix_{table}_ended", table, columns, sqlite_where=ended, postgresql_where=ended
        )
