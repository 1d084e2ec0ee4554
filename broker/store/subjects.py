"""Rows of customers: an id and the sealed key of their log entries, nothing else."""

from sqlalchemy import Connection, insert, select

from broker.store import tables
from broker.store.prepared import Prepared

SUBJECT = tables.Subject.__table__  # type: ignore[attr-defined]

_ADD = Prepared(insert(SUBJECT))


def add(
    tx: Connection, subject_id: str, *, tenant_id: str, sealed_log_key: bytes, now: int
) -> None:
    """Store a new customer of a tenant."""
    _ADD.changed(
        tx,
        {
            "id": subject_id,
            "tenant_id": tenant_id,
            "sealed_log_key": sealed_log_key,
            "created_at": now,
        },
    )


def exists(tx: Connection, tenant_id: str, subject_id: str) -> bool:
    """Whether the tenant has this customer."""
    row = tx.execute(
        select(SUBJECT.c.id).where(SUBJECT.c.id == subject_id, SUBJECT.c.tenant_id == tenant_id)
    ).one_or_none()
    return row is not None
