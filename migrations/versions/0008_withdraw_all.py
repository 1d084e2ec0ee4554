"""Withdraw everything: partners see each end at a time of its own, entries wait until then."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add when an end is shown, until when an entry waits, and which proof a request follows."""
    op.add_column("audit_pending", sa.Column("not_before", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_audit_pending_held",
        "audit_pending",
        ["not_before"],
        unique=False,
        sqlite_where=sa.text("not_before IS NOT NULL"),
        postgresql_where=sa.text("not_before IS NOT NULL"),
    )
    op.add_column("consent", sa.Column("shown_from", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_consent_held",
        "consent",
        ["status_list_id", "shown_from", "status_index", "tenant_id"],
        unique=False,
        sqlite_where=sa.text("shown_from IS NOT NULL"),
        postgresql_where=sa.text("shown_from IS NOT NULL"),
    )
    op.add_column("presentation_request", sa.Column("proof_id", sa.String(), nullable=True))
    # Older brokers would show at once what partners are to see in their own time.
    op.execute("UPDATE schema_support SET oldest = '0008'")


def downgrade() -> None:
    """Forget them; what still waits is shown at once."""
    op.execute("UPDATE schema_support SET oldest = '0007'")
    op.drop_column("presentation_request", "proof_id")
    op.drop_index("ix_consent_held", table_name="consent")
    op.drop_column("consent", "shown_from")
    op.drop_index("ix_audit_pending_held", table_name="audit_pending")
    op.drop_column("audit_pending", "not_before")
