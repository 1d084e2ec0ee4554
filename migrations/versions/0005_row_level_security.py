"""PostgreSQL keeps tenants apart: row-level security on every table with a tenant."""

from alembic import op

from broker.store import row_security

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = (
    *("access_token", "algorithm", "attribute", "attribute_mapping", "audit_entry"),
    *("audit_pending", "consent", "consent_request", "contact", "credential_copy", "deletion_task"),
    *("deferred_issuance", "erasure", "evidence", "idempotency", "invitation", "issued_credential"),
    *("officer", "partner", "presentation_request", "purpose", "served_request"),
    *("signing_key", "status_list", "subject", "template", "wallet_authorization"),
)


def upgrade() -> None:
    """Protect the tables; the broker's own keys and the log's public hashes are for everybody."""
    dialect = op.get_bind().dialect.name
    _execute(row_security.protect(dialect, "tenant", column="id"))
    for table in _TABLES:
        _execute(row_security.protect(dialect, table))
    _execute(row_security.share(dialect, "signing_key"))
    _execute(row_security.publish_leaves(dialect))
    if dialect != "sqlite":  # older brokers do not say for which tenant they are
        op.execute("UPDATE schema_support SET oldest = '0005'")


def downgrade() -> None:
    """Leave keeping tenants apart to the program."""
    dialect = op.get_bind().dialect.name
    _execute(row_security.hide_leaves(dialect))
    for table in ("tenant", *_TABLES):
        _execute(row_security.unprotect(dialect, table))
    if dialect != "sqlite":
        op.execute("UPDATE schema_support SET oldest = '0002'")


def _execute(statements: tuple[str, ...]) -> None:
    for statement in statements:
        op.execute(statement)
