"""Unlearning: withdrawals to be looked for in models, tasks, what each has tainted."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

TABLES = ("unlearning_search", "unlearning_task", "unlearning_taint")

# What ended after a tenant's first round: withdrawn, or erased after it had ended by itself.
ENDED = """
INSERT INTO unlearning_search (consent_id, tenant_id, due_at, counted)
SELECT past.id, past.tenant_id, past.due_at, false FROM (
  SELECT c.id, c.tenant_id, c.valid_from, CASE WHEN c.state = 'withdrawn'
      THEN coalesce(c.shown_from, c.ended_at) ELSE coalesce(e.shown_from, e.begun_at) END AS due_at
  FROM consent c JOIN contact k ON k.id = c.contact_id LEFT JOIN erasure e ON e.id = k.erasure_id
  WHERE c.state = 'withdrawn' OR (c.state = 'expired' AND e.id IS NOT NULL)
) past
WHERE past.valid_from IS NOT NULL AND EXISTS (
  SELECT 1 FROM training_round r
  WHERE r.tenant_id = past.tenant_id AND r.opened_at <= past.due_at + 60)
"""


def upgrade() -> None:
    """Add them; older brokers would mark nothing after a withdrawal, and do not start on it."""
    op.add_column("model_version", sa.Column("taint", sa.String(), nullable=True))
    op.create_table(
        "unlearning_search",
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_unlearning_search_consent_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_unlearning_search_tenant_id")
        ),
        sa.PrimaryKeyConstraint("consent_id", name=op.f("pk_unlearning_search")),
    )
    op.create_index(
        "ix_unlearning_search_due", "unlearning_search", ["due_at", "tenant_id"], unique=False
    )
    op.create_table(
        "unlearning_task",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("campaign_id", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("withdrawals", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("base", sa.String(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("residual_before", sa.String(), nullable=True),
        sa.Column("residual_after", sa.String(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.String(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'done')", name=op.f("ck_unlearning_task_state_known")
        ),
        sa.CheckConstraint(
            "policy IN ('exclude', 'rollback_replay', 'retrain')",
            name=op.f("ck_unlearning_task_policy_known"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_unlearning_task_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_unlearning_task_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unlearning_task")),
    )
    op.create_index(
        "ix_unlearning_task_listed",
        "unlearning_task",
        ["tenant_id", "opened_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_unlearning_task_of_campaign", "unlearning_task", ["campaign_id", "state"], unique=False
    )
    op.create_table(
        "unlearning_taint",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("state_before", sa.String(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["unlearning_task.id"], name=op.f("fk_unlearning_taint_task_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_unlearning_taint_tenant_id")
        ),
        sa.PrimaryKeyConstraint("task_id", "model_id", name=op.f("pk_unlearning_taint")),
    )
    op.execute(ENDED)
    for table in TABLES:
        for statement in row_security.protect(op.get_bind().dialect.name, table):
            op.execute(statement)
    op.execute("UPDATE schema_support SET oldest = '0032'")


def downgrade() -> None:
    """Only where nothing is to be unlearnt: older brokers would train on from a tainted model."""
    for table, what in (
        ("unlearning_task", "models were tainted, which older brokers do not know"),
        ("unlearning_search", "withdrawals are still looked for in models: close what is open"),
    ):
        if op.get_bind().scalar(sa.text(f"SELECT count(*) FROM {table}")):  # noqa: S608 (ours)
            raise RuntimeError(f"{what}: restore a backup from before instead")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("model_version", "taint")
    op.execute("UPDATE schema_support SET oldest = '0031'")
