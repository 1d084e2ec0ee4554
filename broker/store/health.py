"""What a database says of itself, for who examines it; nothing is changed."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select, text

from broker.store import tables
from broker.store.sealed_columns import context_of

TENANT = tables.Tenant.__table__  # type: ignore[attr-defined]
ENTRY = tables.AuditEntry.__table__  # type: ignore[attr-defined]
PENDING = tables.AuditPending.__table__  # type: ignore[attr-defined]
KEY = tables.SigningKey.__table__  # type: ignore[attr-defined]
SECRET = tables.Secret.__table__  # type: ignore[attr-defined]
LIST = tables.StatusListRow.__table__  # type: ignore[attr-defined]

DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


@dataclass(frozen=True)
class ServerFacts:
    """What a PostgreSQL server says: settings of durability, its clock, its connections."""

    durable: Mapping[str, str]
    clock: int
    connections: int
    reserved: int


@dataclass(frozen=True)
class SealedValue:
    """A sealed value, what it is called, and for which context it was sealed."""

    name: str
    sealed: bytes
    context: str


def server_facts(tx: Connection) -> ServerFacts:
    """What the PostgreSQL server of this connection says of itself."""
    shown = {name: str(tx.execute(text(f"SHOW {name}")).scalar_one()) for name in DURABLE}
    clock = tx.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    most = int(tx.execute(text("SHOW max_connections")).scalar_one())
    reserved = int(tx.execute(text("SHOW superuser_reserved_connections")).scalar_one())
    return ServerFacts(shown, int(clock), most, reserved)


def sqlite_damage(tx: Connection) -> str | None:
    """What SQLite's quick check finds; None when all is well."""
    said = str(tx.execute(text("PRAGMA quick_check(1)")).scalar_one())
    return None if said == "ok" else said


def sealed_values(tx: Connection) -> list[SealedValue]:
    """Something of each kind that the master key has to open: keys, secrets, tenants' log keys."""
    own = and_(KEY.c.state == "active", KEY.c.device.is_(None))
    keys = tx.execute(select(KEY.c.id, KEY.c.purpose, KEY.c.sealed).where(own))
    secrets = tx.execute(select(SECRET.c.label, SECRET.c.sealed))
    tenants = tx.execute(select(TENANT.c.id, TENANT.c.sealed_log_key))
    return [
        *(
            SealedValue(f"{row.purpose} {row.id}", row.sealed, context_of("signing_key", row.id))
            for row in keys
        ),
        *(SealedValue(row.label, row.sealed, context_of("secret", row.label)) for row in secrets),
        *(
            SealedValue(f"log key {row.id}", row.sealed_log_key, context_of("tenant", row.id))
            for row in tenants
        ),
    ]


def certified_keys(tx: Connection) -> list[tuple[str, str, str]]:
    """Tenant, purpose and chain (JSON text) of each active key that has a certificate."""
    rows = tx.execute(
        select(KEY.c.tenant_id, KEY.c.purpose, KEY.c.chain)
        .where(KEY.c.state == "active", KEY.c.purpose.in_(("issuer", "request")))
        .order_by(KEY.c.tenant_id, KEY.c.purpose, KEY.c.created_at)
    )
    return [(str(row.tenant_id), row.purpose, row.chain) for row in rows]


def newest_entry_time(tx: Connection) -> int | None:
    """When the newest entry of the log was written, by the clock of whoever wrote it."""
    newest = [
        tx.execute(select(func.max(table.c.created_at))).scalar() for table in (ENTRY, PENDING)
    ]
    return max((int(time) for time in newest if time is not None), default=None)


def published_lists(tx: Connection) -> list[tuple[str, str, str, int]]:
    """Tenant, id, token and time of signing of each status list that was published."""
    rows = tx.execute(
        select(LIST.c.tenant_id, LIST.c.id, LIST.c.token, LIST.c.published_at)
        .where(LIST.c.token.is_not(None))
        .order_by(LIST.c.id)
    )
    return [(row.tenant_id, row.id, row.token, row.published_at) for row in rows]
