"""How attributes are masked, by role of who sees them."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Older brokers would give out what has to be masked."""
    op.add_column("attribute", sa.Column("maskings", sa.Text(), nullable=True))
    op.execute("UPDATE schema_support SET oldest = '0021'")


def downgrade() -> None:
    """Only where nothing has to be masked: older brokers would give it out as it is."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM attribute WHERE maskings IS NOT NULL")):
        raise RuntimeError(
            "attributes have to be masked, which older brokers do not ask for: end that first "
            "(consent-broker attribute mask ID --none)"
        )
    op.execute("UPDATE schema_support SET oldest = '0020'")
    op.drop_column("attribute", "maskings")
