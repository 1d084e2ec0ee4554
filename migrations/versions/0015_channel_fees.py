"""Channel fees: each tenant's tariff, and what was charged, append-only."""

import sqlalchemy as sa
from alembic import op

from broker.store import append_only, row_security

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tariffs and charges; older brokers decide as before and charge nothing."""
    op.add_column("tenant", sa.Column("fee_rate", sa.Integer(), nullable=True))
    op.add_column("tenant", sa.Column("fee_currency", sa.String(), nullable=True))
    op.create_table(
        "fee_charge",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("debit", sa.String(), nullable=False),
        sa.Column("credit", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "value >= 0 AND rate >= 0 AND amount >= 0", name=op.f("ck_fee_charge_not_negative")
        ),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_fee_charge_two_accounts")),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_fee_charge_partner_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_fee_charge_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fee_charge")),
        sa.UniqueConstraint("decision_id", name=op.f("uq_fee_charge_decision_id")),
    )
    op.create_index(
        "ix_fee_charge_month", "fee_charge", ["tenant_id", "created_at", "partner_id"], unique=False
    )
    charged = sa.text("type = 'fee.charged'")
    op.create_index(
        "ix_audit_entry_fee",
        "audit_entry",
        ["tenant_id", "log_index"],
        unique=False,
        sqlite_where=charged,
        postgresql_where=charged,
        if_not_exists=True,
    )
    dialect = op.get_bind().dialect.name
    for statement in (
        *row_security.protect(dialect, "fee_charge"),
        *append_only.guard_fees(dialect),
    ):
        op.execute(statement)


def downgrade() -> None:
    """Only where nothing was charged: what partners owe would be forgotten."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM fee_charge")):
        raise RuntimeError(
            "there are channel fees, which the older schema cannot hold: "
            "restore a backup from before instead"
        )
    op.drop_index("ix_audit_entry_fee", table_name="audit_entry")
    op.drop_table("fee_charge")
    for statement in append_only.unguard_fees(op.get_bind().dialect.name):
        op.execute(statement)
    op.drop_column("tenant", "fee_currency")
    op.drop_column("tenant", "fee_rate")
