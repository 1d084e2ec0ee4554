"""Credentials of attributes: their kinds, offers that nobody here can open, keys of BBS."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BEFORE = "purpose IN ('root', 'issuer', 'request', 'log')"
AFTER = "purpose IN ('root', 'issuer', 'request', 'log', 'attributes')"


def upgrade() -> None:
    """Add two tables; keys may be for attributes."""
    _purposes(AFTER)
    op.create_table(
        "attribute_type",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_attribute_type_tenant_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_attribute_type")),
    )
    op.create_table(
        "attribute_offer",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("offered_by", sa.String(), nullable=False),
        sa.Column("type_id", sa.String(), nullable=False),
        sa.Column("code_hash", sa.String(), nullable=False),
        sa.Column("tx_code_hash", sa.String(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("claims", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'redeemed', 'issued', 'closed')",
            name=op.f("ck_attribute_offer_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_attribute_offer_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribute_offer")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_attribute_offer_code_hash")),
    )
    kept = sa.text("claims IS NOT NULL")
    op.create_index(
        "ix_attribute_offer_kept",
        "attribute_offer",
        ["expires_at"],
        unique=False,
        sqlite_where=kept,
        postgresql_where=kept,
    )
    dialect = op.get_bind().dialect.name
    for table in ("attribute_type", "attribute_offer"):
        for statement in row_security.protect(dialect, table):
            op.execute(statement)


def downgrade() -> None:
    """Only where no credential of attributes was ever issued: its key would be lost."""
    found = "SELECT count(*) FROM signing_key WHERE purpose = 'attributes'"
    if op.get_bind().scalar(sa.text(found)):
        raise RuntimeError(
            "there are keys that have signed credentials of attributes, which the older schema "
            "cannot hold: restore a backup from before instead"
        )
    op.drop_table("attribute_offer")
    op.drop_table("attribute_type")
    _purposes(BEFORE)


def _purposes(check: str) -> None:
    named = op.f("ck_signing_key_purpose_known")
    with op.batch_alter_table("signing_key") as table:  # SQLite makes the table anew
        table.drop_constraint(named, type_="check")
        table.create_check_constraint(named, check)
