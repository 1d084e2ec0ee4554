"""Tenants' own attributes: declarations, values, and the values that were."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_COLUMNS = (("tenant", "own_attributes"), ("partner", "own"), ("attribute", "own"))


def upgrade() -> None:
    """Add them. Older brokers cannot load policies that use them, and would deny everything."""
    for table, column in _COLUMNS:
        op.add_column(table, sa.Column(column, sa.Text(), nullable=True))
    op.create_table(
        "own_value",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("of_id", sa.String(), nullable=False),
        sa.Column("own", sa.Text(), nullable=False),
        sa.Column("set_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('partner', 'attribute')", name=op.f("ck_own_value_kind_known")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_own_value_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "number", name=op.f("pk_own_value")),
    )
    for statement in row_security.protect(op.get_bind().dialect.name, "own_value"):
        op.execute(statement)
    op.execute("UPDATE schema_support SET oldest = '0031'")


def downgrade() -> None:
    """Only where nothing was declared: older brokers know no such policies."""
    declared = sa.table("tenant", sa.column("own_attributes"))
    counted = sa.select(sa.func.count()).where(declared.c.own_attributes.is_not(None))
    if op.get_bind().scalar(counted.select_from(declared)):
        raise RuntimeError(
            "own attributes were declared, which older brokers do not know: restore a backup from "
            "before instead"
        )
    op.drop_table("own_value")
    for table, column in reversed(_COLUMNS):
        op.drop_column(table, column)
    op.execute("UPDATE schema_support SET oldest = '0030'")
