"""Credentials of attributes can be revoked: the random identifier of each, and when."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what status tokens are made of."""
    op.add_column("attribute_offer", sa.Column("key_id", sa.String(), nullable=True))
    op.add_column("attribute_offer", sa.Column("revocation_id", sa.String(), nullable=True))
    op.add_column("attribute_offer", sa.Column("revocation_place", sa.BigInteger(), nullable=True))
    op.add_column("attribute_offer", sa.Column("revoked_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_attribute_offer_status", "attribute_offer", ["key_id", "revocation_place"], unique=False
    )


def downgrade() -> None:
    """Only where none was issued that can be revoked: which were revoked would be forgotten."""
    found = "SELECT count(*) FROM attribute_offer WHERE revocation_id IS NOT NULL"
    if op.get_bind().scalar(sa.text(found)):
        raise RuntimeError(
            "there are credentials of attributes that can be revoked, which the older schema "
            "cannot hold: restore a backup from before instead"
        )
    op.drop_index("ix_attribute_offer_status", table_name="attribute_offer")
    for column in ("revoked_at", "revocation_place", "revocation_id", "key_id"):
        op.drop_column("attribute_offer", column)
