"""Bound tokens can be given back without a proof: found by their own hash, for that alone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the hash under which a bound token is revoked; tokens of before live an hour at most.

    Older brokers may go on serving: a bound token that they give is without it.
    """
    op.add_column("access_token", sa.Column("revocation_hash", sa.String(), nullable=True))
    op.create_index(
        op.f("ix_access_token_revocation_hash"), "access_token", ["revocation_hash"], unique=False
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_index(op.f("ix_access_token_revocation_hash"), table_name="access_token")
    op.drop_column("access_token", "revocation_hash")
