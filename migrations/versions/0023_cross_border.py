"""Transfers abroad: the mechanisms that are filed, and the subjects of each year."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TABLES = ("transfer_mechanism", "transfer_subject", "transfer_count")
_KINDS = (
    "'standard_contract', 'certification', 'security_assessment', 'exemption', 'adequacy', "
    "'standard_clauses', 'binding_rules', 'derogation'"
)


def _of_tenant(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_tenant_id")
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=name)


def upgrade() -> None:
    """Add the tables. Older brokers would permit transfers that no mechanism covers."""
    op.create_table(
        "transfer_mechanism",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("exporter", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("ground", sa.String(), nullable=True),
        sa.Column("purpose", sa.String(), nullable=True),
        sa.Column("filing_number", sa.String(), nullable=True),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("registered_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(f"kind IN ({_KINDS})", name=op.f("ck_transfer_mechanism_kind_known")),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_transfer_mechanism_partner_id")
        ),
        _of_tenant("transfer_mechanism"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer_mechanism")),
    )
    op.create_index(
        "ix_transfer_mechanism_use",
        "transfer_mechanism",
        ["tenant_id", "partner_id", "destination"],
        unique=False,
    )
    op.create_table(
        "transfer_subject",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("exporter", sa.String(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("subject_key", sa.String(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        _of_tenant("transfer_subject"),
        sa.PrimaryKeyConstraint(
            "tenant_id",
            "exporter",
            "year",
            "category",
            "subject_key",
            name=op.f("pk_transfer_subject"),
        ),
    )
    op.create_table(
        "transfer_count",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("exporter", sa.String(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("general", sa.BigInteger(), nullable=False),
        sa.Column("sensitive", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "general >= 0 AND sensitive >= 0", name=op.f("ck_transfer_count_not_negative")
        ),
        _of_tenant("transfer_count"),
        sa.PrimaryKeyConstraint("tenant_id", "exporter", "year", name=op.f("pk_transfer_count")),
    )
    dialect = op.get_bind().dialect.name
    for table in _TABLES:
        for statement in row_security.protect(dialect, table):
            op.execute(statement)
    op.execute("UPDATE schema_support SET oldest = '0023'")


def downgrade() -> None:
    """Only where nothing was registered or counted: older brokers would permit it uncounted."""
    for table in _TABLES:
        counted = sa.select(sa.func.count()).select_from(sa.table(table))
        if op.get_bind().scalar(counted):
            raise RuntimeError(
                "transfers abroad were registered or counted, which older brokers do not know: "
                "restore a backup from before instead"
            )
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.execute("UPDATE schema_support SET oldest = '0022'")
