"""Customers' vaults: sealed attributes, and the keys that they are sealed to."""

import sqlalchemy as sa
from alembic import op

from broker.store import row_security

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; older brokers would leave envelopes of ended consents where they are."""
    op.create_table(
        "sealing_key",
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_sealing_key_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_sealing_key_tenant_id")
        ),
        sa.PrimaryKeyConstraint("partner_id", name=op.f("pk_sealing_key")),
    )
    op.create_table(
        "envelope",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("attribute", sa.String(), nullable=False),
        sa.Column("masking", sa.String(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("pieces", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_reference", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delete_from", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("entry_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('writing', 'stored', 'ending', 'deleted')",
            name=op.f("ck_envelope_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_envelope_consent_id")
        ),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_envelope_partner_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_envelope_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_envelope")),
    )
    stored = sa.text("state = 'stored'")
    op.create_index(
        "ix_envelope_stored",
        "envelope",
        ["consent_id", "attribute", "masking"],
        unique=True,
        sqlite_where=stored,
        postgresql_where=stored,
    )
    going = sa.text("state IN ('writing', 'ending')")
    op.create_index(
        "ix_envelope_going",
        "envelope",
        ["delete_from"],
        unique=False,
        sqlite_where=going,
        postgresql_where=going,
    )
    op.create_index("ix_envelope_consent", "envelope", ["consent_id"], unique=False)
    for table in ("sealing_key", "envelope"):
        for statement in row_security.protect(op.get_bind().dialect.name, table):
            op.execute(statement)
    # Older brokers would end consents and leave in a vault what was put there under them.
    op.execute("UPDATE schema_support SET oldest = '0019'")


def downgrade() -> None:
    """Only where no envelope lies in a vault: older brokers would never delete it."""
    there = op.get_bind().scalar(sa.text("SELECT count(*) FROM envelope WHERE state <> 'deleted'"))
    if there:
        raise RuntimeError(
            "envelopes lie in vaults, which older brokers do not delete when consents end: end "
            "those consents first"
        )
    op.execute("UPDATE schema_support SET oldest = '0017'")
    op.drop_table("envelope")
    op.drop_table("sealing_key")
