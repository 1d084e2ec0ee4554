"""Rows of `Idempotency-Key`s: written in the transaction of the act that they stand for.

A row is there exactly when its act is. Without `status` the answer is still being kept; with
`status` and without `sealed` it was not to be kept.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.store import tables
from broker.store.unheld import unheld

IDEMPOTENCY = tables.Idempotency.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class KeyOf:
    """Whose key it is, and its keyed hash."""

    tenant_id: str
    client_id: str
    key_hash: str


@dataclass(frozen=True)
class IdempotencyRow:
    """What a key stands for; `expires_at` in Unix seconds."""

    request_hash: str
    status: int | None
    sealed: bytes | None
    expires_at: int


class KeyTaken(Exception):
    """Another call with this key was first; the transaction of this one is undone."""


def find(tx: Connection, key: KeyOf, now: int) -> IdempotencyRow | None:
    """What a key stands for; None when it is free or has expired."""
    row = tx.execute(
        select(IDEMPOTENCY).where(*_is(key), IDEMPOTENCY.c.expires_at > now)
    ).one_or_none()
    return (
        None
        if row is None
        else IdempotencyRow(row.request_hash, row.status, row.sealed, row.expires_at)
    )


def take(tx: Connection, key: KeyOf, *, request_hash: str, expires_at: int, now: int) -> None:
    """Write the key before its act; of several at once one goes on.

    The others wait for it here (SQLite: for the write lock; PostgreSQL: for the unique index) and
    then get `KeyTaken`; if it is undone, one of them goes on.
    """
    tx.execute(delete(IDEMPOTENCY).where(*_is(key), IDEMPOTENCY.c.expires_at <= now))
    try:
        tx.execute(
            insert(IDEMPOTENCY).values(
                tenant_id=key.tenant_id,
                client_id=key.client_id,
                key_hash=key.key_hash,
                request_hash=request_hash,
                expires_at=expires_at,
            )
        )
    except IntegrityError as error:
        raise KeyTaken from error


def keep(tx: Connection, key: KeyOf, *, status: int, sealed: bytes | None) -> bool:
    """Write the answer of an act that is done; False when its key was never taken."""
    written = update(IDEMPOTENCY).where(*_is(key)).values(status=status, sealed=sealed)
    return tx.execute(written).rowcount == 1


def prune(tx: Connection, now: int) -> int:
    """Forget expired keys; how many there were."""
    over = unheld(IDEMPOTENCY, IDEMPOTENCY.c.expires_at <= now)
    return tx.execute(delete(IDEMPOTENCY).where(over)).rowcount


def _is(key: KeyOf) -> tuple[ColumnElement[bool], ...]:
    return (
        IDEMPOTENCY.c.tenant_id == key.tenant_id,
        IDEMPOTENCY.c.client_id == key.client_id,
        IDEMPOTENCY.c.key_hash == key.key_hash,
    )
