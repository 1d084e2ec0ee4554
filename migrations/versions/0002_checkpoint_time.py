"""Other parties' word on when a checkpoint was there: timestamps and witnesses' cosignatures."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "checkpoint_time",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('rfc3161', 'witness')", name=op.f("ck_checkpoint_time_kind_known")
        ),
        sa.PrimaryKeyConstraint("size", "kind", "source", name=op.f("pk_checkpoint_time")),
    )
    op.create_index("ix_checkpoint_time_source", "checkpoint_time", ["kind", "source", "size"])


def downgrade() -> None:
    """Drop it, and with it the tokens."""
    op.drop_index("ix_checkpoint_time_source", table_name="checkpoint_time")
    op.drop_table("checkpoint_time")
