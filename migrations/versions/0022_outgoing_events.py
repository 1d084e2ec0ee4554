"""Webhooks of partners, and the events that are sent to them."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    _webhook()
    _event()
    _delivery()
    dialect = op.get_bind().dialect.name
    for table in ("webhook", "outgoing_event", "delivery"):
        for statement in row_security.protect(dialect, table):
            op.execute(statement)
    # Older brokers would act, and tell no webhook.
    op.execute("UPDATE schema_support SET oldest = '0022'")


def downgrade() -> None:
    """Only where there is no webhook: what has not been sent would be lost."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM webhook")):
        raise RuntimeError(
            "there are webhooks, to which older brokers send nothing: remove them first "
            "(consent-broker webhook remove ID)"
        )
    op.drop_table("delivery")
    op.drop_table("outgoing_event")
    op.drop_table("webhook")
    op.execute("UPDATE schema_support SET oldest = '0021'")


def _webhook() -> None:
    op.create_table(
        "webhook",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_previous", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("retry_at", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_webhook_state_known")),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_webhook_partner_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_webhook_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
    )
    for column in ("tenant_id", "partner_id"):
        op.create_index(op.f(f"ix_webhook_{column}"), "webhook", [column], unique=False)


def _event() -> None:
    op.create_table(
        "outgoing_event",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_outgoing_event_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_outgoing_event_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outgoing_event")),
        sa.UniqueConstraint(
            "partner_id",
            "subject",
            "type",
            "time",
            name=op.f("uq_outgoing_event_partner_id_subject_type_time"),
        ),
    )
    op.create_index(
        op.f("ix_outgoing_event_created_at"), "outgoing_event", ["created_at"], unique=False
    )


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("webhook_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'dead')", name=op.f("ck_delivery_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["event_id"], ["outgoing_event.id"], name=op.f("fk_delivery_event_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_delivery_tenant_id")),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhook.id"], name=op.f("fk_delivery_webhook_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_delivery")),
        sa.UniqueConstraint("webhook_id", "event_id", name=op.f("uq_delivery_webhook_id_event_id")),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index("ix_delivery_state", "delivery", ["webhook_id", "state", "seq"], unique=False)
    op.create_index(
        "ix_delivery_order",
        "delivery",
        ["webhook_id", "subject", "seq"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index("ix_delivery_event", "delivery", ["event_id"], unique=False)
