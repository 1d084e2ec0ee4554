"""Minors that brokers of before 0034 marked beside it: whose contact the guardian's is."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_AT_ONCE = 1_000


def upgrade() -> None:
    """Brokers of before 0034 would go on marking without it: they do not serve any more."""
    contact = sa.table(
        "contact",
        *(sa.column(name, sa.String()) for name in ("id", "minor", "guardian_contact_id")),
    )
    bind, last = op.get_bind(), ""
    unfound = sa.select(contact.c.id, contact.c.minor).where(
        contact.c.minor.is_not(None), contact.c.guardian_contact_id.is_(None)
    )
    while True:
        chosen = unfound.where(contact.c.id > last).order_by(contact.c.id).limit(_AT_ONCE)
        rows = bind.execute(chosen).all()
        if not rows:
            break
        for row in rows:
            values = {"guardian_contact_id": json.loads(row.minor)["guardian"]}
            bind.execute(sa.update(contact).where(contact.c.id == row.id).values(**values))
        last = rows[-1].id
    op.execute("UPDATE schema_support SET oldest = '0034'")


def downgrade() -> None:
    """What is found stays found."""
    op.execute("UPDATE schema_support SET oldest = '0033'")
