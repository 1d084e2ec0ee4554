"""Tenants may have policies of their own, in sets that are switched."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of sets; `tenant.policy_version` names the one in force, as it always has."""
    op.create_table(
        "policy_set",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_policy_set_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "number", name=op.f("pk_policy_set")),
        sa.UniqueConstraint("tenant_id", "digest", name=op.f("uq_policy_set_tenant_id_digest")),
    )
    for statement in row_security.protect(op.get_bind().dialect.name, "policy_set"):
        op.execute(statement)
    # Older brokers would permit what a tenant's own policies deny.
    op.execute("UPDATE schema_support SET oldest = '0017'")


def downgrade() -> None:
    """Only where no tenant has a set in force: older brokers would permit what it denies."""
    found = "SELECT count(*) FROM tenant WHERE policy_version <> 'built-in'"
    if op.get_bind().scalar(sa.text(found)):
        raise RuntimeError(
            "there are tenants with policies of their own, which older brokers do not ask: "
            "switch them off first (consent-broker policy switch built-in --tenant ID)"
        )
    op.execute("UPDATE schema_support SET oldest = '0013'")
    op.drop_table("policy_set")
