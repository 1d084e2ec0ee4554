"""What a residual was measured from: kept with its unlearning task, not in the log alone."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; which of earlier residuals were measured is in their sealed entries of the log."""
    op.add_column("unlearning_task", sa.Column("residual_models", sa.Text(), nullable=True))


def downgrade() -> None:
    """The log's entries name the files still."""
    op.drop_column("unlearning_task", "residual_models")
