"""What makes PostgreSQL itself keep tenants apart; migrations execute these statements.

Every table with a `tenant_id` shows and takes the rows of the tenant alone that the transaction
was begun for (`acting`); where nobody said it, none. The policies are forced: they bind the owner
of the tables too. Superusers and roles with BYPASSRLS are bound by nothing, so `weakness` has to
be asked before serving. Foreign keys and unique constraints look at every tenant's rows, as ever.

The setting is said by the program: this holds when a statement names a wrong tenant or none, not
against somebody who can send statements of their own.
"""

from sqlalchemy import Connection, text

SETTING = "broker.tenant"

# Unset it reads NULL, and '' once a transaction has set it: both make this NULL, which refuses.
_WHOM = f"nullif(current_setting('{SETTING}', true), '')"
_POLICY, _SHARED = "of_the_tenant", "of_the_broker"

# An error undoes the setting together with the transaction or the savepoint.
_PUBLISH_LEAVES = """
CREATE FUNCTION log_leaf_data(first bigint, past bigint) RETURNS SETOF bytea LANGUAGE plpgsql AS $$
DECLARE whom text := current_setting('broker.tenant', true);
BEGIN
  PERFORM set_config('broker.tenant', '*', true);
  RETURN QUERY SELECT leaf_data FROM audit_entry
    WHERE log_index >= first AND log_index < past ORDER BY log_index;
  PERFORM set_config('broker.tenant', whom, true);
END $$
"""
_UNPROTECTED = text(
    """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
      AND (c.relname = 'tenant' OR EXISTS (
        SELECT FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
      AND NOT (c.relrowsecurity AND c.relforcerowsecurity
        AND EXISTS (
          SELECT FROM pg_policy p
          WHERE p.polrelid = c.oid AND p.polname = :policy AND p.polcmd = '*'
            AND p.polwithcheck IS NOT NULL)
        AND NOT EXISTS (
          SELECT FROM pg_policy p
          WHERE p.polrelid = c.oid AND p.polpermissive
            AND (strpos(pg_get_expr(p.polqual, c.oid), :setting) = 0
              OR strpos(pg_get_expr(p.polwithcheck, c.oid), :setting) = 0)))
    ORDER BY c.relname
    """
)
_FREE_ROLE = text(
    "SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)"
)


def protect(dialect: str, table: str, *, column: str = "tenant_id") -> tuple[str, ...]:
    """The statements that show and take rows of `table` for their tenant alone.

    A migration that makes a table with a tenant calls it, on `sqlite` in vain.
    """
    if dialect == "sqlite":
        return ()
    own = f"{_WHOM} IN ({column}, '*')"
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY {_POLICY} ON {table} USING ({own}) WITH CHECK ({own})",
    )


def unprotect(dialect: str, table: str) -> tuple[str, ...]:
    """The statements that undo `protect` and `share`; not needed before `DROP TABLE`."""
    if dialect == "sqlite":
        return ()
    return (
        f"DROP POLICY {_POLICY} ON {table}",
        f"DROP POLICY IF EXISTS {_SHARED} ON {table}",
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    )


def share(dialect: str, table: str) -> tuple[str, ...]:
    """The statement that lets every tenant read, and none write, the rows without a tenant."""
    if dialect == "sqlite":
        return ()
    shared = f"tenant_id IS NULL AND {_WHOM} IS NOT NULL"
    return (f"CREATE POLICY {_SHARED} ON {table} FOR SELECT USING ({shared})",)


def publish_leaves(dialect: str) -> tuple[str, ...]:
    """The function that reads what of the log is public: salted hashes by index, of all tenants."""
    return () if dialect == "sqlite" else (_PUBLISH_LEAVES,)


def hide_leaves(dialect: str) -> tuple[str, ...]:
    """The statement that undoes `publish_leaves`."""
    return () if dialect == "sqlite" else ("DROP FUNCTION log_leaf_data(bigint, bigint)",)


def unprotected(tx: Connection) -> list[str]:
    """The tables with a tenant that PostgreSQL would show to other tenants too."""
    named = {"policy": _POLICY, "setting": SETTING}
    return list(tx.execute(_UNPROTECTED, named).scalars())


def weakness(tx: Connection) -> str | None:
    """Why the database would not keep tenants apart, and the cure; None when it does, on SQLite."""
    if tx.dialect.name == "sqlite":
        return None
    role = tx.execute(_FREE_ROLE).scalar_one_or_none()
    if role is not None:
        return (
            f"DATABASE_URL connects as the role {role}, which row-level security does not bind "
            "(SUPERUSER or BYPASSRLS), so that the database would not keep tenants apart. Connect "
            "as an ordinary role: CREATE ROLE broker LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '...'; "
            "docs/deployment.md says what to grant it"
        )
    open_tables = unprotected(tx)
    if open_tables:
        return (
            f"the row-level security of {', '.join(open_tables)} was switched off or changed, so "
            "that the database would not keep tenants apart: make it as the migrations do "
            "(broker/store/row_security.py)"
        )
    return None
