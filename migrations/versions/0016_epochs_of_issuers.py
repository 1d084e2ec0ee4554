"""How long the epochs of trusted issuers are: by them it is measured what is not revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the length; of issuers that are trusted already nobody knows it."""
    op.add_column("trusted_issuer", sa.Column("epoch_seconds", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Only where no purpose demands it: older brokers could not read such a demand."""
    found = "SELECT count(*) FROM purpose WHERE demand LIKE '%\"not_revoked\"%'"
    if op.get_bind().scalar(sa.text(found)):
        raise RuntimeError(
            "there are purposes that demand credentials which are not revoked, which older brokers "
            "cannot read: end these demands first (consent-broker purpose demand ID --none)"
        )
    op.drop_column("trusted_issuer", "epoch_seconds")
