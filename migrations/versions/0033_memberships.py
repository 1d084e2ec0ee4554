"""Membership credentials of a training consortium, and the requests that they be presented."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_TABLES = ("membership", "join_request")


def _reference(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    """Add them. Older brokers would sign status lists without those that were revoked."""
    op.add_column("federation_member", sa.Column("membership_id", sa.String(), nullable=True))
    op.add_column("federation_member", sa.Column("valid_until", sa.BigInteger(), nullable=True))
    op.create_table(
        "membership",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("code_hash", sa.String(), nullable=False),
        sa.Column("tx_code_hash", sa.String(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("holder_thumbprint", sa.String(), nullable=True),
        sa.Column("status_list_id", sa.String(), nullable=True),
        sa.Column("status_index", sa.Integer(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=True),
        sa.Column("valid_until", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'redeemed', 'issued', 'closed', 'revoked')",
            name=op.f("ck_membership_state_known"),
        ),
        _reference("membership", "tenant_id", "tenant"),
        _reference("membership", "partner_id", "partner"),
        _reference("membership", "status_list_id", "status_list"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_membership")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_membership_code_hash")),
    )
    op.create_index("ix_membership_of_partner", "membership", ["tenant_id", "partner_id"])
    op.create_index("ix_membership_status", "membership", ["status_list_id", "state"])
    op.create_table(
        "join_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("receipt_key", sa.Text(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("rejections", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'answered', 'refused', 'closed')",
            name=op.f("ck_join_request_state_known"),
        ),
        _reference("join_request", "tenant_id", "tenant"),
        _reference("join_request", "partner_id", "partner"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_request")),
    )
    op.create_index("ix_join_request_of_partner", "join_request", ["tenant_id", "partner_id"])
    op.create_index("ix_join_request_expires_at", "join_request", ["expires_at"])
    dialect = op.get_bind().dialect.name
    for table in _TABLES:
        for statement in row_security.protect(dialect, table):
            op.execute(statement)
    op.execute("UPDATE schema_support SET oldest = '0033'")


def downgrade() -> None:
    """Only where no membership was issued: older brokers would show revoked ones as valid."""
    issued = sa.table("membership", sa.column("issued_at"))
    counted = sa.select(sa.func.count()).where(issued.c.issued_at.is_not(None))
    if op.get_bind().scalar(counted.select_from(issued)):
        raise RuntimeError(
            "membership credentials were issued, which older brokers do not know: restore a "
            "backup from before instead"
        )
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.drop_column("federation_member", "valid_until")
    op.drop_column("federation_member", "membership_id")
    op.execute("UPDATE schema_support SET oldest = '0032'")
