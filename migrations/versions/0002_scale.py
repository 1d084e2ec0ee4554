"""Many consents: indexes for the sweeps alone, terms kept in their row, who may still serve."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

GRANTED = sa.text("state = 'granted'")
OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    """Index what a sweep looks for, not everything; let PostgreSQL compress with LZ4."""
    op.create_table(
        "schema_support",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("oldest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schema_support")),
    )
    op.execute("INSERT INTO schema_support (id, oldest) VALUES (1, '0002')")
    op.drop_index("ix_consent_expiry", table_name="consent")
    op.create_index(
        "ix_consent_expiry",
        "consent",
        ["valid_until"],
        sqlite_where=GRANTED,
        postgresql_where=GRANTED,
    )
    op.create_index(
        "ix_consent_request_open",
        "consent_request",
        ["expires_at"],
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    # PGLZ gives up on terms of usual length, which then lie outside of their row: a decision that
    # reads them visits two more places. Rows that exist stay as they are until they change.
    if _has_lz4():
        op.execute("ALTER TABLE consent ALTER COLUMN terms SET COMPRESSION lz4")


def downgrade() -> None:
    """Index every consent by its end again."""
    if _has_lz4():
        op.execute("ALTER TABLE consent ALTER COLUMN terms SET COMPRESSION default")
    op.drop_index("ix_consent_request_open", table_name="consent_request")
    op.drop_index("ix_consent_expiry", table_name="consent")
    op.create_index("ix_consent_expiry", "consent", ["state", "valid_until"])
    op.drop_table("schema_support")


def _has_lz4() -> bool:
    """Whether the database is a PostgreSQL that was built with LZ4, as the usual packages are."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return False
    built = sa.text(
        "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    )
    return bool(connection.execute(built).scalar())
