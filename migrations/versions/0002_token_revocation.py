"""Bound tokens can be given back without a proof: found by their own hash, for that alone."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the hash under which a bound token is revoked; tokens of before live an hour at most."""
    with op.batch_alter_table("access_token") as table:
        table.add_column(sa.Column("revocation_hash", sa.String(), nullable=True))
        table.create_index(op.f("ix_access_token_revocation_hash"), ["revocation_hash"])


def downgrade() -> None:
    """Take it away again."""
    with op.batch_alter_table("access_token") as table:
        table.drop_index(op.f("ix_access_token_revocation_hash"))
        table.drop_column("revocation_hash")
