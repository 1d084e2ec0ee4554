"""Minors with a guardian: what a partner says of a contact, and who signed for it."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_GUARDED = sa.text("guardian_id IS NOT NULL")
_BEFORE = "kind IN ('grant', 'withdrawal')"
_AFTER = "kind IN ('grant', 'guardian', 'withdrawal')"


def upgrade() -> None:
    """Older brokers beside it know no minors: mark none before all of them are new."""
    op.add_column("contact", sa.Column("minor", sa.Text(), nullable=True))
    op.add_column("consent", sa.Column("guardian_id", sa.String(), nullable=True))
    op.create_index(
        "ix_consent_guardian",
        "consent",
        ["guardian_id"],
        unique=False,
        sqlite_where=_GUARDED,
        postgresql_where=_GUARDED,
    )
    _kinds(_AFTER)


def downgrade() -> None:
    """Only without minors and their guardians' signatures: it would take the minor's word alone."""
    minors = "SELECT count(*) FROM contact WHERE minor IS NOT NULL"
    if op.get_bind().scalar(sa.text(minors)):
        raise RuntimeError(
            "there are contacts marked as minors, whom the older brokers would take for adults: "
            "restore a backup from before instead, or take the marks away if nobody needs them"
        )
    found = "SELECT count(*) FROM consent WHERE guardian_id IS NOT NULL"
    kept = "SELECT count(*) FROM evidence WHERE kind = 'guardian'"
    if op.get_bind().scalar(sa.text(found)) or op.get_bind().scalar(sa.text(kept)):
        raise RuntimeError(
            "there are consents that a guardian has signed, which the older schema cannot hold: "
            "restore a backup from before instead"
        )
    _kinds(_BEFORE)
    op.drop_index("ix_consent_guardian", table_name="consent")
    op.drop_column("consent", "guardian_id")
    op.drop_column("contact", "minor")


def _kinds(check: str) -> None:
    named = op.f("ck_evidence_kind_known")
    with op.batch_alter_table("evidence") as table:  # SQLite makes the table anew
        table.drop_constraint(named, type_="check")
        table.create_check_constraint(named, check)
