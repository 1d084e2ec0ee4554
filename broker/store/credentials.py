"""Rows of copies of customer credentials: the id shown in each and the key it is bound to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from broker.store import tables
from broker.store.prepared import Prepared

COPY = tables.CredentialCopy.__table__  # type: ignore[attr-defined]

_ADD = Prepared(insert(COPY))


@dataclass(frozen=True)
class CopyRow:
    """One copy: `id` is the credential's `jti`, `holder_thumbprint` that of its key (RFC 7638)."""

    id: str
    tenant_id: str
    subject_id: str
    invitation_id: str
    holder_thumbprint: str
    grade: str
    status_list_id: str
    status_index: int
    state: str
    issued_at: int
    expires_at: int


def add(tx: Connection, rows: Sequence[CopyRow]) -> None:
    """Store new copies; raises SQLAlchemy's `IntegrityError` when a key is bound already."""
    for row in rows:
        _ADD.changed(tx, vars(row))


def find_copy(tx: Connection, tenant_id: str, copy_id: str) -> CopyRow | None:
    """A copy of the tenant by its id; it cannot change before the transaction ends."""
    found = select(COPY).where(COPY.c.id == copy_id, COPY.c.tenant_id == tenant_id)
    row = tx.execute(found.with_for_update(read=True)).one_or_none()
    return None if row is None else _copy(row)


def states_of_invitation(tx: Connection, subject_id: str, invitation_id: str) -> list[str]:
    """The states of the copies that an invitation has brought its customer."""
    rows = tx.execute(
        select(COPY.c.state).where(
            COPY.c.subject_id == subject_id, COPY.c.invitation_id == invitation_id
        )
    )
    return list(rows.scalars())


def of_subject(tx: Connection, subject_id: str, state: str | None = "active") -> list[CopyRow]:
    """A customer's copies in a state, or (None) in any, oldest first."""
    chosen = select(COPY).where(COPY.c.subject_id == subject_id)
    if state is not None:
        chosen = chosen.where(COPY.c.state == state)
    return [_copy(row) for row in tx.execute(chosen.order_by(COPY.c.issued_at, COPY.c.id))]


def supersede(tx: Connection, subject_id: str) -> list[CopyRow]:
    """End every active copy of a customer and return them; their status bits are now set.

    The caller marks the status lists of what is returned as changed.
    """
    rows = tx.execute(
        update(COPY)
        .where(COPY.c.subject_id == subject_id, COPY.c.state == "active")
        .values(state="superseded")
        .returning(*COPY.c)
    ).all()
    return sorted((_copy(row) for row in rows), key=lambda copy: copy.id)


def issued_since(tx: Connection, tenant_id: str, since: int) -> int:
    """How many copies in use were issued at `since` or later."""
    found = select(func.count()).where(
        COPY.c.tenant_id == tenant_id, COPY.c.state == "active", COPY.c.issued_at >= since
    )
    return int(tx.execute(found).scalar_one())


def _copy(row: Row[Any]) -> CopyRow:
    return CopyRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)
