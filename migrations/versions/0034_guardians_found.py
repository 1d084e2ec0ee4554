"""Of a minor's contact, which contact is the guardian's, in a column by which it is found."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_NAMED = sa.text("guardian_contact_id IS NOT NULL")
_AT_ONCE = 1_000


def upgrade() -> None:
    """Older brokers beside it do not fill it: what they mark is not found as a guardian's."""
    op.add_column("contact", sa.Column("guardian_contact_id", sa.String(), nullable=True))
    contact = sa.table(
        "contact",
        *(sa.column(name, sa.String()) for name in ("id", "minor", "guardian_contact_id")),
    )
    bind, last = op.get_bind(), ""
    marked = sa.select(contact.c.id, contact.c.minor).where(contact.c.minor.is_not(None))
    while True:
        chosen = marked.where(contact.c.id > last).order_by(contact.c.id).limit(_AT_ONCE)
        rows = bind.execute(chosen).all()
        if not rows:
            break
        for row in rows:
            values = {"guardian_contact_id": json.loads(row.minor)["guardian"]}
            bind.execute(sa.update(contact).where(contact.c.id == row.id).values(**values))
        last = rows[-1].id
    op.create_index(
        "ix_contact_guardian",
        "contact",
        ["guardian_contact_id"],
        unique=False,
        sqlite_where=_NAMED,
        postgresql_where=_NAMED,
        if_not_exists=True,
    )


def downgrade() -> None:
    """The mark itself names the guardian too."""
    op.drop_index("ix_contact_guardian", table_name="contact")
    op.drop_column("contact", "guardian_contact_id")
