"""Rows of keys and secrets; what is sealed stays sealed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.store import tables

KEY = tables.SigningKey.__table__  # type: ignore[attr-defined]
GENERATION = tables.KeyGeneration.__table__  # type: ignore[attr-defined]
SECRET = tables.Secret.__table__  # type: ignore[attr-defined]
SUBJECT = tables.Subject.__table__  # type: ignore[attr-defined]
TENANT = tables.Tenant.__table__  # type: ignore[attr-defined]

_CREATION_LOCK = 0x6B6579  # any number that no other advisory lock of the broker uses


@dataclass(frozen=True)
class KeyRow:
    """A stored key: algorithm, sealed private part, certificates as JSON text (leaf first).

    `sealed` is empty where `device` names the key in a device. Times are Unix seconds.
    """

    id: str
    tenant_id: str | None
    purpose: str
    alg: str
    public_jwk: str
    sealed: bytes
    chain: str
    state: str
    created_at: int
    retired_at: int | None = None
    compromised_since: int | None = None
    signs_until: int | None = None
    log_size: int | None = None
    device: str | None = None


def hold_creation(tx: Connection) -> None:
    """Let nobody else create keys until the end of `tx`: whoever waited here sees what was created.

    SQLite has one writer anyway. A unique index would not do: two keys of a purpose may be active
    while one takes over from the other.
    """
    if tx.dialect.name != "sqlite":
        tx.execute(select(func.pg_advisory_xact_lock(_CREATION_LOCK)))


def active(tx: Connection, purpose: str, tenant_id: str | None) -> KeyRow | None:
    """The newest active key of a purpose, for a tenant or (None) for the whole broker."""
    found = of(tx, purpose, tenant_id, "active")
    return found[0] if found else None


def of(tx: Connection, purpose: str, tenant_id: str | None, *states: str) -> list[KeyRow]:
    """The keys of a purpose and owner in one of `states` (any when none is named), newest first."""
    owner = KEY.c.tenant_id.is_(None) if tenant_id is None else KEY.c.tenant_id == tenant_id
    query = select(KEY).where(KEY.c.purpose == purpose, owner)
    if states:
        query = query.where(KEY.c.state.in_(states))
    # The active one first: keys may be rotated twice in a second.
    order = (KEY.c.state != "active", KEY.c.created_at.desc(), KEY.c.id.desc())
    return _rows(tx.execute(query.order_by(*order)).all())


def find(tx: Connection, key_id: str) -> KeyRow | None:
    """The key with this id."""
    found = _rows(tx.execute(select(KEY).where(KEY.c.id == key_id)).all())
    return found[0] if found else None


def every(tx: Connection) -> list[KeyRow]:
    """All keys: the broker's own first, then by tenant and purpose, newest first."""
    order = (KEY.c.tenant_id.is_not(None), KEY.c.tenant_id, KEY.c.purpose)
    return _rows(
        tx.execute(select(KEY).order_by(*order, KEY.c.created_at.desc(), KEY.c.id.desc())).all()
    )


def compromised(tx: Connection) -> list[KeyRow]:
    """All keys that somebody else may hold."""
    return _rows(tx.execute(select(KEY).where(KEY.c.state == "compromised")).all())


def roots(tx: Connection) -> list[str]:
    """The certificate chains (JSON text) of every root that is not compromised."""
    return list(
        tx.execute(
            select(KEY.c.chain).where(KEY.c.purpose == "root", KEY.c.state != "compromised")
        ).scalars()
    )


def add(tx: Connection, row: KeyRow) -> None:
    """Store a new key."""
    tx.execute(insert(KEY).values(**vars(row)))


def retire_others(
    tx: Connection, newest: KeyRow, now: int, *, signs_until: int | None = None
) -> list[str]:
    """Retire the active keys whose place `newest` takes; their ids.

    `signs_until`: a log key goes on signing beside the new one until then.
    """
    owner = KEY.c.tenant_id.is_not_distinct_from(newest.tenant_id)
    done = tx.execute(
        update(KEY)
        .where(KEY.c.purpose == newest.purpose, owner)
        .where(KEY.c.state == "active", KEY.c.id != newest.id)
        .values(state="retired", retired_at=now, signs_until=signs_until)
        .returning(KEY.c.id)
    )
    return list(done.scalars())


def bound(tx: Connection, key_ids: Sequence[str], log_size: int) -> None:
    """Note the largest tree that these keys have signed; what is noted already stays."""
    tx.execute(
        update(KEY).where(KEY.c.id.in_(key_ids), KEY.c.log_size.is_(None)).values(log_size=log_size)
    )


def compromise(tx: Connection, key_id: str, *, since: int, log_size: int, now: int) -> None:
    """Mark a key as held by somebody else since a time, when the log had `log_size` entries.

    A second word can only move the time back.
    """
    values = {
        "state": "compromised",
        "retired_at": func.coalesce(KEY.c.retired_at, now),
        "compromised_since": since,
        "log_size": log_size,
        "signs_until": None,
    }
    known = KEY.c.compromised_since
    earlier = (known.is_(None)) | (known > since)
    tx.execute(update(KEY).where(KEY.c.id == key_id, earlier).values(values))


def generation(tx: Connection) -> int:
    """How often keys were changed: whoever holds keys in memory compares it."""
    return int(tx.execute(select(GENERATION.c.generation)).scalar_one())


def count_change(tx: Connection) -> None:
    """Say to every process that keys have changed."""
    tx.execute(update(GENERATION).values(generation=GENERATION.c.generation + 1))


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


def _rows(found: Sequence[Row[Any]]) -> list[KeyRow]:
    return [KeyRow(**row._mapping) for row in found]  # noqa: SLF001 (SQLAlchemy's public accessor)
