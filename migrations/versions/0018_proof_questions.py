"""What partners have asked to be proven of each attribute: so many different statements a year."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the questions; those from before the upgrade are not counted."""
    op.create_table(
        "proof_question",
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("attribute_hash", sa.String(), nullable=False),
        sa.Column("statement_hash", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("schema_id", sa.Text(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_proof_question_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_proof_question_tenant_id")
        ),
        sa.PrimaryKeyConstraint(
            "partner_id", "attribute_hash", "statement_hash", name=op.f("pk_proof_question")
        ),
    )
    op.create_index("ix_proof_question_last_at", "proof_question", ["last_at"], unique=False)
    for statement in row_security.protect(op.get_bind().dialect.name, "proof_question"):
        op.execute(statement)


def downgrade() -> None:
    """Take them away: older brokers do not count."""
    op.drop_table("proof_question")
