"""Approvals of models, as their board gave them: kept with the version that they let pass."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; those of pilots were kept with their campaign, others nowhere."""
    op.add_column("model_version", sa.Column("approvals", sa.Text(), nullable=True))
    campaign = sa.table(
        "campaign", *(sa.column(name, sa.String()) for name in ("tenant_id", "passed"))
    )
    version = sa.table(
        "model_version",
        *(sa.column(name, sa.String()) for name in ("tenant_id", "id", "approvals")),
    )
    bind = op.get_bind()
    for row in bind.execute(sa.select(campaign).where(campaign.c.passed.is_not(None))).all():
        passed = json.loads(row.passed)
        bind.execute(
            sa.update(version)
            .where(version.c.tenant_id == row.tenant_id, version.c.id == passed["model"])
            .values(approvals=json.dumps(passed["approvals"]))
        )


def downgrade() -> None:
    """Those of pilots are with their campaign still."""
    op.drop_column("model_version", "approvals")
