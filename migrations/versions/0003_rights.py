"""Erasures, and what recipients have to delete."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables, and let contacts name their erasure."""
    op.create_table(
        "erasure",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.id"], name=op.f("fk_erasure_subject_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_erasure_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
        sa.UniqueConstraint("subject_id", name=op.f("uq_erasure_subject_id")),
    )
    op.create_index("ix_erasure_finished", "erasure", ["finished_at"], unique=False)
    op.create_index(op.f("ix_erasure_tenant_id"), "erasure", ["tenant_id"], unique=False)
    op.create_table(
        "deletion_task",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed_receipt", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "reason IN ('withdrawn', 'erased')", name=op.f("ck_deletion_task_reason_known")
        ),
        sa.CheckConstraint("state IN ('open', 'done')", name=op.f("ck_deletion_task_state_known")),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_deletion_task_consent_id")
        ),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_deletion_task_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_deletion_task_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletion_task")),
        sa.UniqueConstraint("consent_id", name=op.f("uq_deletion_task_consent_id")),
    )
    op.create_index(
        "ix_deletion_task_listed", "deletion_task", ["tenant_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_deletion_task_own", "deletion_task", ["partner_id", "created_at", "id"], unique=False
    )
    op.create_index("ix_deletion_task_due", "deletion_task", ["state", "due_at"], unique=False)
    op.add_column("contact", sa.Column("erasure_id", sa.String(), nullable=True))
    op.create_index(op.f("ix_contact_erasure_id"), "contact", ["erasure_id"], unique=False)


def downgrade() -> None:
    """Forget which erasures there were; what they erased stays erased."""
    op.drop_index(op.f("ix_contact_erasure_id"), table_name="contact")
    op.drop_column("contact", "erasure_id")
    op.drop_table("deletion_task")
    op.drop_table("erasure")
