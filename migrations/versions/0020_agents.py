"""Agents of partners, each with a key of its own, and what they have done."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "agent",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended')", name=op.f("ck_agent_state_known")),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_agent_partner_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_agent_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent")),
        sa.UniqueConstraint("partner_id", "name", name=op.f("uq_agent_partner_id_name")),
    )
    op.create_index(op.f("ix_agent_tenant_id"), "agent", ["tenant_id"], unique=False)
    op.create_table(
        "agent_action",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("jti", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("decisions", sa.Text(), nullable=False),
        sa.Column("consents", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name=op.f("fk_agent_action_agent_id")),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_agent_action_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_agent_action_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_action")),
        sa.UniqueConstraint("agent_id", "jti", name=op.f("uq_agent_action_agent_id_jti")),
    )
    op.create_index(
        "ix_agent_action_listed", "agent_action", ["tenant_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_agent_action_own", "agent_action", ["partner_id", "created_at", "id"], unique=False
    )
    dialect = op.get_bind().dialect.name
    for table in ("agent", "agent_action"):
        for statement in row_security.protect(dialect, table):
            op.execute(statement)
    # Older brokers would permit what a suspended agent asks.
    op.execute("UPDATE schema_support SET oldest = '0020'")


def downgrade() -> None:
    """Only where no agent is registered: what they signed would be forgotten."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM agent")):
        raise RuntimeError(
            "there are agents, which the older schema cannot hold: "
            "restore a backup from before instead"
        )
    op.drop_table("agent_action")
    op.drop_table("agent")
    op.execute("UPDATE schema_support SET oldest = '0019'")
