"""Requests for attributes that a wallet shows once, sealed to the partner."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; older brokers leave them alone: what is in them ends by itself."""
    op.create_table(
        "data_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("rejections", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'answered', 'refused', 'closed')",
            name=op.f("ck_data_request_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_data_request_consent_id")
        ),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_data_request_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_data_request_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_request")),
    )
    op.create_index("ix_data_request_expires_at", "data_request", ["expires_at"])
    op.create_index("ix_data_request_consent_id", "data_request", ["consent_id"])
    op.create_table(
        "data_answer",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("attribute", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("masking", sa.String(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_data_answer_consent_id")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["data_request.id"], name=op.f("fk_data_answer_request_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_data_answer_tenant_id")
        ),
        sa.PrimaryKeyConstraint("request_id", "attribute", name=op.f("pk_data_answer")),
    )
    op.create_index("ix_data_answer_expires_at", "data_answer", ["expires_at"])
    op.create_index("ix_data_answer_consent_id", "data_answer", ["consent_id"])
    for table in ("data_request", "data_answer"):
        for statement in row_security.protect(op.get_bind().dialect.name, table):
            op.execute(statement)


def downgrade() -> None:
    """Forget what was asked and not collected; the log keeps that it was."""
    op.drop_table("data_answer")
    op.drop_table("data_request")
