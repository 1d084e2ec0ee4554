"""Sources of events, and the events that they have sent."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables. Older brokers can serve beside: they take no events."""
    op.create_table(
        "event_source",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_previous", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_event_source_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_source")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_event_source_tenant_id_name")),
    )
    op.create_table(
        "incoming_event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("subject_hash", sa.String(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("sealed_body", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["source_id"], ["event_source.id"], name=op.f("fk_incoming_event_source_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_incoming_event_tenant_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_incoming_event")),
        sa.UniqueConstraint(
            "source_id", "event_id", name=op.f("uq_incoming_event_source_id_event_id")
        ),
        sa.UniqueConstraint(
            "source_id",
            "subject_hash",
            "type",
            "time",
            name=op.f("uq_incoming_event_source_id_subject_hash_type_time"),
        ),
    )
    kept = sa.text("acknowledged_at IS NULL")
    op.create_index(
        "ix_incoming_event_kept",
        "incoming_event",
        ["tenant_id", "seq"],
        unique=False,
        sqlite_where=kept,
        postgresql_where=kept,
    )
    op.create_index(
        "ix_incoming_event_acknowledged", "incoming_event", ["acknowledged_at"], unique=False
    )
    for table in ("event_source", "incoming_event"):
        for statement in row_security.protect(op.get_bind().dialect.name, table):
            op.execute(statement)


def downgrade() -> None:
    """Only where no event waits: it would be lost."""
    waiting = "SELECT count(*) FROM incoming_event WHERE acknowledged_at IS NULL"
    if op.get_bind().scalar(sa.text(waiting)):
        raise RuntimeError(
            "events of others wait, which older brokers cannot give to anybody: have their "
            "consumer acknowledge them first (POST /v1/events-acknowledged)"
        )
    op.drop_table("incoming_event")
    op.drop_table("event_source")
