"""Status lists: the places of what has ended stand in the index, with what policies look at."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = {
    "consent": sa.text("state IN ('withdrawn', 'superseded')"),
    "credential_copy": sa.text("state = 'superseded'"),
}


def upgrade() -> None:
    """A list is read from one part of the index, not from a page of the table for each place."""
    _create(["status_list_id", "status_index", "tenant_id"])


def downgrade() -> None:
    """Keep only which list a row belongs to in the index."""
    _create(["status_list_id"])


def _create(columns: list[str]) -> None:
    for table, ended in _TABLES.items():
        op.drop_index(f"ix_{table}_ended", table_name=table)
        op.create_index(
            f"ix_{table}_ended", table, columns, sqlite_where=ended, postgresql_where=ended
        )
