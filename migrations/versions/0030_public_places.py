"""Attributes that devices in public places collect."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Older brokers, which would ask for no separate consent, do not start on it."""
    op.add_column("attribute", sa.Column("public_place", sa.Boolean(), nullable=True))
    op.execute("UPDATE schema_support SET oldest = '0030'")


def downgrade() -> None:
    """Only where no attribute is one: the older brokers would ask for no separate consent."""
    found = "SELECT count(*) FROM attribute WHERE public_place"
    if op.get_bind().scalar(sa.text(found)):
        raise RuntimeError(
            "there are attributes that devices in public places collect, which the older schema "
            "cannot tell from others: restore a backup from before instead"
        )
    op.drop_column("attribute", "public_place")
    op.execute("UPDATE schema_support SET oldest = '0029'")
