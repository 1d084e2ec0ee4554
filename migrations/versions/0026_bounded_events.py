"""How often a webhook refused, and indexes for what is due, over, dead, and waits to be fetched."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_WAITING, _DEAD = sa.text("state = 'waiting'"), sa.text("state = 'dead'")
_KEPT = sa.text("acknowledged_at IS NULL")
_INDEXES = (
    ("ix_delivery_due", "delivery", ["webhook_id", "next_at"], _WAITING),
    ("ix_delivery_turn", "delivery", ["webhook_id", "attempts", "seq"], _WAITING),
    ("ix_delivery_over", "delivery", ["expires_at"], _WAITING),
    ("ix_delivery_dead", "delivery", ["webhook_id", "seq"], _DEAD),
    ("ix_incoming_event_of_source", "incoming_event", ["source_id"], _KEPT),
    ("ix_incoming_event_unfetched", "incoming_event", ["received_at"], _KEPT),
)


def upgrade() -> None:
    """Add them; older brokers can serve beside."""
    op.add_column("webhook", sa.Column("refusals", sa.Integer(), nullable=True))
    for name, table, columns, where in _INDEXES:
        op.create_index(
            name, table, columns, unique=False, sqlite_where=where, postgresql_where=where
        )


def downgrade() -> None:
    """Take them away."""
    for name, table, _, _ in _INDEXES:
        op.drop_index(name, table_name=table)
    op.drop_column("webhook", "refusals")
