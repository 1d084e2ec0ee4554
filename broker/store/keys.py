"""Rows of keys and secrets; what is sealed stays sealed here."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from broker.store import tables

KEY = tables.SigningKey.__table__  # type: ignore[attr-defined]
SECRET = tables.Secret.__table__  # type: ignore[attr-defined]
SUBJECT = tables.Subject.__table__  # type: ignore[attr-defined]
TENANT = tables.Tenant.__table__  # type: ignore[attr-defined]

_CREATION_LOCK = 0x6B6579  # any number that no other advisory lock of the broker uses


@dataclass(frozen=True)
class KeyRow:
    """A stored key: algorithm, sealed private part, certificates as JSON text (leaf first)."""

    id: str
    tenant_id: str | None
    purpose: str
    alg: str
    public_jwk: str
    sealed: bytes
    chain: str
    state: str
    created_at: int


def hold_creation(tx: Connection) -> None:
    """Let nobody else create keys until the end of `tx`: whoever waited here sees what was created.

    SQLite has one writer anyway. A unique index would not do: two keys of a purpose may be active
    while one takes over from the other.
    """
    if tx.dialect.name != "sqlite":
        tx.execute(select(func.pg_advisory_xact_lock(_CREATION_LOCK)))


def active(tx: Connection, purpose: str, tenant_id: str | None) -> KeyRow | None:
    """The newest active key of a purpose, for a tenant or (None) for the whole broker."""
    owner = KEY.c.tenant_id.is_(None) if tenant_id is None else KEY.c.tenant_id == tenant_id
    row = tx.execute(
        select(KEY)
        .where(KEY.c.purpose == purpose, KEY.c.state == "active", owner)
        .order_by(KEY.c.created_at.desc(), KEY.c.id)
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return KeyRow(
        row.id,
        row.tenant_id,
        row.purpose,
        row.alg,
        row.public_jwk,
        row.sealed,
        row.chain,
        row.state,
        row.created_at,
    )


def roots(tx: Connection) -> list[str]:
    """The certificate chains (JSON text) of every root that is not compromised."""
    return list(
        tx.execute(
            select(KEY.c.chain).where(KEY.c.purpose == "root", KEY.c.state != "compromised")
        ).scalars()
    )


def add(tx: Connection, row: KeyRow) -> None:
    """Store a new key."""
    tx.execute(
        insert(KEY).values(
            id=row.id,
            tenant_id=row.tenant_id,
            purpose=row.purpose,
            alg=row.alg,
            public_jwk=row.public_jwk,
            sealed=row.sealed,
            chain=row.chain,
            state=row.state,
            created_at=row.created_at,
        )
    )


def secret(tx: Connection, label: str) -> bytes | None:
    """The sealed secret of a label."""
    return tx.execute(select(SECRET.c.sealed).where(SECRET.c.label == label)).scalar_one_or_none()


def add_secret(tx: Connection, label: str, sealed: bytes, now: int) -> bool:
    """Store a secret; False when another process has stored one under this label first."""
    try:
        with tx.begin_nested():
            tx.execute(insert(SECRET).values(label=label, sealed=sealed, created_at=now))
    except IntegrityError:
        return False
    return True


def subject_log_key(tx: Connection, subject_id: str) -> bytes | None:
    """The sealed log key of a customer; None once it has been destroyed."""
    return tx.execute(
        select(SUBJECT.c.sealed_log_key).where(SUBJECT.c.id == subject_id)
    ).scalar_one_or_none()


def tenant_log_key(tx: Connection, tenant_id: str) -> bytes | None:
    """The sealed log key of a tenant."""
    return tx.execute(
        select(TENANT.c.sealed_log_key).where(TENANT.c.id == tenant_id)
    ).scalar_one_or_none()
