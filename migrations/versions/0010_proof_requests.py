"""Proof requests: statements that are proven without being shown, and the sealed proofs."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; older brokers leave it alone."""
    op.create_table(
        "proof_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("template_id", sa.String(), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.String(), nullable=True),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("sealed_proof", sa.LargeBinary(), nullable=True),
        sa.Column("entry_id", sa.String(), nullable=True),
        sa.Column("rejections", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("proven_at", sa.BigInteger(), nullable=True),
        sa.Column("kept_until", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'proven', 'refused', 'closed')",
            name=op.f("ck_proof_request_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contact.id"], name=op.f("fk_proof_request_contact_id")
        ),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_proof_request_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_proof_request_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proof_request")),
    )
    kept = sa.text("sealed_proof IS NOT NULL")
    op.create_index(
        "ix_proof_request_kept",
        "proof_request",
        ["kept_until"],
        unique=False,
        sqlite_where=kept,
        postgresql_where=kept,
    )
    op.create_index(
        op.f("ix_proof_request_contact_id"), "proof_request", ["contact_id"], unique=False
    )
    for statement in row_security.protect(op.get_bind().dialect.name, "proof_request"):
        op.execute(statement)


def downgrade() -> None:
    """Forget what was proven; the log keeps that it was."""
    op.drop_table("proof_request")
