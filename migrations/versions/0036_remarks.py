"""Rounds: who was left out, who was noticed. Campaigns: why they are in their state."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them, empty: older brokers go on as they did."""
    op.add_column("training_round", sa.Column("left_out", sa.Text(), nullable=True))
    op.add_column("training_round", sa.Column("notices", sa.Text(), nullable=True))
    op.add_column("campaign", sa.Column("reason", sa.String(), nullable=True))


def downgrade() -> None:
    """Take them away; what was said of rounds is in the log."""
    op.drop_column("campaign", "reason")
    op.drop_column("training_round", "notices")
    op.drop_column("training_round", "left_out")
