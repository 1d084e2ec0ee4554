"""Outside sources of data with their checklists, the sandbox, and test subjects."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_TABLES = ("data_source", "trial")
_RUNNING = sa.text("ended_at IS NULL")


def _reference(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    """Add them. Older brokers would permit uses that are outside of a checklist or the sandbox."""
    op.add_column("partner", sa.Column("admission", sa.String(), nullable=True))
    op.add_column("contact", sa.Column("test_subject", sa.Boolean(), nullable=True))
    op.add_column("attribute", sa.Column("sole_source", sa.String(), nullable=True))
    op.create_table(
        "data_source",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("checklist", sa.Text(), nullable=False),
        sa.Column("signed_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'sandbox', 'open', 'closed')",
            name=op.f("ck_data_source_state_known"),
        ),
        _reference("data_source", "tenant_id", "tenant"),
        _reference("data_source", "partner_id", "partner"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_source")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_data_source_tenant_id_name")),
    )
    op.create_table(
        "trial",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=True),
        sa.Column("partner_id", sa.String(), nullable=True),
        sa.Column("opened_by", sa.String(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("quality", sa.Integer(), nullable=True),
        sa.Column("value", sa.Integer(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('signed_off', 'ended')", name=op.f("ck_trial_outcome_known")
        ),
        sa.CheckConstraint(
            "(source_id IS NULL) <> (partner_id IS NULL)", name=op.f("ck_trial_of_one")
        ),
        _reference("trial", "tenant_id", "tenant"),
        _reference("trial", "source_id", "data_source"),
        _reference("trial", "partner_id", "partner"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
    )
    op.create_index(
        "uq_trial_running",
        "trial",
        ["tenant_id"],
        unique=True,
        sqlite_where=_RUNNING,
        postgresql_where=_RUNNING,
    )
    dialect = op.get_bind().dialect.name
    for table in _TABLES:
        for statement in row_security.protect(dialect, table):
            op.execute(statement)
    op.execute("UPDATE schema_support SET oldest = '0029'")


def downgrade() -> None:
    """Only where nothing was registered or tried: older brokers would permit what is closed."""
    for table in _TABLES:
        if op.get_bind().scalar(sa.select(sa.func.count()).select_from(sa.table(table))):
            raise RuntimeError(
                "outside sources or trials were registered, which older brokers do not know: "
                "restore a backup from before instead"
            )
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.drop_column("attribute", "sole_source")
    op.drop_column("contact", "test_subject")
    op.drop_column("partner", "admission")
    op.execute("UPDATE schema_support SET oldest = '0023'")
