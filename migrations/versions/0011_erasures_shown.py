"""Erasures: each partner sees its own at a time of its own; evidence is found by its end."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add when an erasure is shown, and the index of what is to be deleted."""
    op.add_column("erasure", sa.Column("shown_from", sa.BigInteger(), nullable=True))
    op.create_index("ix_evidence_kept_until", "evidence", ["kept_until"], if_not_exists=True)
    # Older brokers would finish an erasure without emptying what its partner still sees.
    op.execute("UPDATE schema_support SET oldest = '0011'")


def downgrade() -> None:
    """Forget it; brokers of before show an erasure at once."""
    op.execute("UPDATE schema_support SET oldest = '0008'")
    op.drop_index("ix_evidence_kept_until", table_name="evidence")
    op.drop_column("erasure", "shown_from")
