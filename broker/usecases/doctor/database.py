"""The database: reached, at our schema, durable, closed to who should not, with room for us."""

from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from broker.domain.finding import Finding, fine, problem, warning
from broker.settings import Settings
from broker.store import health, row_security
from broker.store.db import Database
from broker.store.migrate import Standing, standing_of

CONNECTIONS_OF_A_WORKER = 20
SKEW_SECONDS = 5
DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


def standing(settings: Settings, db: Database) -> Iterator[Finding]:
    """Whether this broker could serve on the database."""
    if db.is_sqlite and not settings.database_url and not (settings.home / "broker.db").exists():
        yield problem("database", "schema_missing")
        return
    try:
        stands = standing_of(db)
        if stands.level != "current":
            yield _schema(stands)
            return
        with db.reading() as tx:
            damage = health.sqlite_damage(tx) if db.is_sqlite else None
            facts = None if db.is_sqlite else health.server_facts(tx)
            weakness = row_security.weakness(tx)
    except SQLAlchemyError as error:
        yield unreadable(error)
        return
    if damage is not None:
        yield problem("database", "sqlite_damaged", message=damage)
    else:
        kind = "SQLite" if db.is_sqlite else "PostgreSQL"
        yield fine("database", "database_fine", kind=kind, schema=stands.present)
    if weakness is not None:
        level = warning if settings.development else problem
        yield level("database", "tenants_not_apart", message=weakness)
    if facts is not None:
        yield from _server(settings, facts)


def clock(db: Database, now: int) -> Iterator[Finding]:
    """This machine's clock against the database's and against what the log says already."""
    with db.reading() as tx:
        theirs = now if db.is_sqlite else health.server_facts(tx).clock
        newest = health.newest_entry_time(tx)
    if abs(theirs - now) > SKEW_SECONDS:
        yield problem("clock", "clock_skew", seconds=now - theirs, against="PostgreSQL")
    elif newest is not None and newest - now > SKEW_SECONDS:
        yield problem("clock", "clock_behind_log", seconds=newest - now)
    else:
        yield fine("clock", "clock_fine")


def unreadable(error: SQLAlchemyError) -> Finding:
    """A database that cannot be read, in its driver's words: damaged, or not there at all."""
    # SQLAlchemy's own words would add the statement and its parameters.
    cause: object = error.orig if isinstance(error, DBAPIError) else error
    damaged = getattr(cause, "sqlite_errorname", "") in DAMAGED
    code = "sqlite_damaged" if damaged else "database_unreachable"
    return problem("database", code, message=str(cause).strip())


def _schema(stands: Standing) -> Finding:
    if stands.present is None:
        return problem("database", "schema_missing")
    values = {"present": stands.present, "newest": stands.newest}
    return problem("database", f"schema_{stands.level}", **values)


def _server(settings: Settings, facts: health.ServerFacts) -> Iterator[Finding]:
    for name, value in facts.durable.items():
        if value == "off":
            yield problem("database", "postgresql_unsafe", setting=name, value=value)
    wanted = settings.workers * CONNECTIONS_OF_A_WORKER
    allowed = facts.connections - facts.reserved
    if wanted > allowed:
        yield problem("database", "connections_few", wanted=wanted, allowed=allowed)
