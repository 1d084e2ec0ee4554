"""Keys that are rotated, compromised, or in a device, and the count of their changes."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIMES = ("compromised_since", "signs_until", "log_size")


def upgrade() -> None:
    for name in TIMES:
        op.add_column("signing_key", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("signing_key", sa.Column("device", sa.Text(), nullable=True))
    made = op.create_table(
        "key_generation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_generation")),
    )
    op.bulk_insert(made, [{"id": 1, "generation": 0}])
    # Older brokers follow no rotation and know of no stolen key.
    op.execute("UPDATE schema_support SET oldest = '0007'")


def downgrade() -> None:
    told = " OR ".join(f"{name} IS NOT NULL" for name in (*TIMES, "device"))
    if op.get_bind().scalar(sa.text(f"SELECT count(*) FROM signing_key WHERE {told}")):  # noqa: S608
        raise RuntimeError(
            "keys were rotated, stolen or are in a device, which the older schema cannot say: "
            "without it retired log keys would be trusted without a bound"
        )
    oldest = "0002" if op.get_bind().dialect.name == "sqlite" else "0005"
    op.execute(f"UPDATE schema_support SET oldest = '{oldest}'")  # noqa: S608
    op.drop_table("key_generation")
    with op.batch_alter_table("signing_key") as table:
        for name in (*TIMES, "device"):
            table.drop_column(name)
