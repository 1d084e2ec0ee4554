"""Purposes may demand proofs, and tenants say whose word counts for them."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what purposes demand, what proofs showed, and the issuers that are trusted."""
    op.add_column("purpose", sa.Column("demand", sa.Text(), nullable=True))
    op.add_column("proof_request", sa.Column("shown", sa.Text(), nullable=True))
    op.create_table(
        "trusted_issuer",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("schema_id", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_trusted_issuer_tenant_id")
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "schema_id", "issuer", "key", name=op.f("pk_trusted_issuer")
        ),
    )
    for statement in row_security.protect(op.get_bind().dialect.name, "trusted_issuer"):
        op.execute(statement)
    # Older brokers would permit what a demand denies.
    op.execute("UPDATE schema_support SET oldest = '0013'")


def downgrade() -> None:
    """Only where no purpose demands a proof: older brokers would permit without it."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM purpose WHERE demand IS NOT NULL")):
        raise RuntimeError(
            "there are purposes that demand proofs, which older brokers do not ask for: "
            "end the demands first (consent-broker purpose demand ID --none)"
        )
    op.execute("UPDATE schema_support SET oldest = '0011'")
    op.drop_table("trusted_issuer")
    op.drop_column("proof_request", "shown")
    op.drop_column("purpose", "demand")
