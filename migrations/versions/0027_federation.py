"""Federated training: coordinators, campaigns, members, rounds, receipts, models."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

TABLES = (
    "coordinator",
    "campaign",
    "campaign_salt",
    "federation_member",
    "training_round",
    "training_receipt",
    "model_version",
)
BEFORE = "role IN ('partner', 'officer', 'wallet')"
AFTER = "role IN ('partner', 'officer', 'wallet', 'coordinator')"


def upgrade() -> None:
    """Add the tables, and the role of coordinators' tokens; older brokers leave both alone."""
    op.create_table(
        "campaign",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("board", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("passed", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'running', 'paused', 'finished', 'stopped')",
            name=op.f("ck_campaign_state_known"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_campaign_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("tenant_id", "hash", name=op.f("uq_campaign_tenant_id_hash")),
    )
    op.create_table(
        "campaign_salt",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("salt_hash", sa.String(), nullable=False),
        sa.Column("sealed_salt", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_campaign_salt_tenant_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "salt_hash", name=op.f("pk_campaign_salt")),
    )
    op.create_table(
        "coordinator",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'suspended')", name=op.f("ck_coordinator_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_coordinator_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coordinator")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_coordinator_tenant_id_name")),
    )
    op.create_table(
        "federation_member",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("node_key", sa.Text(), nullable=False),
        sa.Column("receipt_key", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('invited', 'admitted', 'revoked')",
            name=op.f("ck_federation_member_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_federation_member_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_federation_member_tenant_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "partner_id", name=op.f("pk_federation_member")),
    )
    op.create_table(
        "model_version",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("campaign_id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("bundle_hash", sa.String(), nullable=False),
        sa.Column("parameters_hash", sa.String(), nullable=False),
        sa.Column("receipts_root", sa.String(), nullable=True),
        sa.Column("members", sa.Text(), nullable=False),
        sa.Column("epsilon", sa.String(), nullable=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('candidate', 'pilot', 'active', 'tainted', 'retired')",
            name=op.f("ck_model_version_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_model_version_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_model_version_tenant_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_model_version")),
    )
    op.create_index(
        "ix_model_version_of_campaign", "model_version", ["campaign_id", "created_at"], unique=False
    )
    op.create_table(
        "training_round",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("campaign_id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("model_in", sa.String(), nullable=False),
        sa.Column("model_out", sa.String(), nullable=True),
        sa.Column("taking_part", sa.Text(), nullable=False),
        sa.Column("lists", sa.Text(), nullable=False),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("over_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'closed', 'failed')", name=op.f("ck_training_round_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_training_round_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_training_round_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_round")),
        sa.UniqueConstraint(
            "campaign_id",
            "stage",
            "number",
            name=op.f("uq_training_round_campaign_id_stage_number"),
        ),
    )
    op.create_table(
        "training_receipt",
        sa.Column("round_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(), nullable=False),
        sa.Column("sealed_leaves", sa.LargeBinary(), nullable=False),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_training_receipt_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["training_round.id"], name=op.f("fk_training_receipt_round_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_training_receipt_tenant_id")
        ),
        sa.PrimaryKeyConstraint("round_id", "partner_id", name=op.f("pk_training_receipt")),
    )
    op.create_index(
        "ix_training_receipt_of_partner",
        "training_receipt",
        ["tenant_id", "partner_id"],
        unique=False,
    )
    op.add_column("status_list", sa.Column("renew_at", sa.BigInteger(), nullable=True))
    for table in TABLES:
        for statement in row_security.protect(op.get_bind().dialect.name, table):
            op.execute(statement)
    _roles(AFTER)


def downgrade() -> None:
    """Forget the training; the log keeps what was accepted."""
    op.drop_column("status_list", "renew_at")
    op.execute("DELETE FROM access_token WHERE role = 'coordinator'")
    _roles(BEFORE)
    for table in reversed(TABLES):
        op.drop_table(table)


def _roles(check: str) -> None:
    named = op.f("ck_access_token_role_known")
    with op.batch_alter_table("access_token") as table:  # SQLite makes the table anew
        table.drop_constraint(named, type_="check")
        table.create_check_constraint(named, check)
