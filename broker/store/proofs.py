"""Rows of proof requests: what a partner asks to be proven, and the sealed proof."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from broker.domain.errors import NotFound
from broker.store import tables, wallet_requests
from broker.store.unheld import unheld

REQUEST = tables.ProofRequest.__table__  # type: ignore[attr-defined]

PREFIX = "zp"


@dataclass(frozen=True)
class ProofRequestRow:
    """What is asked; `document` is the JSON of the wallet's request. Times are Unix seconds.

    `state` is open, proven, refused (by the wallet) or closed (its key may be somebody else's).
    """

    id: str
    tenant_id: str
    partner_id: str
    template_id: str
    template_version: int
    contact_id: str | None
    nonce: str
    document: str
    request_hash: str
    state: str
    expires_at: int
    created_at: int
    shown: str | None = None
    sealed_proof: bytes | None = None
    entry_id: str | None = None
    rejections: int = 0
    proven_at: int | None = None
    kept_until: int | None = None

    def state_at(self, now: int) -> str:
        """The state as the partner sees it: one that nobody answered in time has expired."""
        return "expired" if self.state == "open" and self.expires_at <= now else self.state


def is_one(request_id: str) -> bool:
    """Whether an id is one of a proof request, by its prefix."""
    return request_id.startswith(f"{PREFIX}-")


def add(tx: Connection, row: ProofRequestRow) -> None:
    """Store a new proof request."""
    tx.execute(insert(REQUEST).values(**vars(row)))


def find(
    tx: Connection, tenant_id: str, request_id: str, partner_id: str | None = None
) -> ProofRequestRow:
    """A proof request of the tenant (of a partner's own, when named); raises `NotFound`."""
    query = select(REQUEST).where(REQUEST.c.id == request_id, REQUEST.c.tenant_id == tenant_id)
    if partner_id is not None:
        query = query.where(REQUEST.c.partner_id == partner_id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound("no such proof request")
    return _request(row)


def prove(
    tx: Connection,
    request_id: str,
    *,
    sealed: bytes,
    shown: str,
    entry_id: str,
    now: int,
    kept_until: int,
) -> ProofRequestRow | None:
    """Note that an open request was proven, and give it; None when another answer came first."""
    changed = tx.execute(
        update(REQUEST)
        .where(REQUEST.c.id == request_id, REQUEST.c.state == "open", REQUEST.c.expires_at > now)
        .values(
            state="proven",
            shown=shown,
            sealed_proof=sealed,
            entry_id=entry_id,
            proven_at=now,
            kept_until=kept_until,
        )
        .returning(REQUEST)
    ).one_or_none()
    return None if changed is None else _request(changed)


def refuse(tx: Connection, request_id: str) -> bool:
    """Note that the holder refused an open request; False when it is not open any more."""
    return wallet_requests.refuse(tx, REQUEST, request_id)


def count_rejection(tx: Connection, request_id: str) -> int:
    """Count a proof that did not count; how many there were, this one included.

    0 where the request was erased meanwhile.
    """
    return wallet_requests.count_rejection(tx, REQUEST, request_id)


def close_of_clients(tx: Connection, tenant_id: str, client_ids: Sequence[str]) -> int:
    """Close a tenant's open requests of these client ids; how many there were."""
    return wallet_requests.close_of_clients(tx, REQUEST, tenant_id, client_ids)


def close_of_partner(tx: Connection, partner_id: str) -> int:
    """Close a partner's open requests; how many there were."""
    query = update(REQUEST).where(REQUEST.c.partner_id == partner_id, REQUEST.c.state == "open")
    return tx.execute(query.values(state="closed")).rowcount


def forget_due(tx: Connection, now: int) -> int:
    """Delete the proofs whose retention is over; how many there were. The outcome stays."""
    due = unheld(REQUEST, REQUEST.c.sealed_proof.is_not(None), REQUEST.c.kept_until <= now)
    return tx.execute(update(REQUEST).where(due).values(sealed_proof=None)).rowcount


def of_contacts(tx: Connection, contact_ids: Sequence[str]) -> list[ProofRequestRow]:
    """What partners asked to be proven of these contacts, oldest first."""
    rows = tx.execute(
        select(REQUEST)
        .where(REQUEST.c.contact_id.in_(contact_ids))
        .order_by(REQUEST.c.created_at, REQUEST.c.id)
    )
    return [_request(row) for row in rows]


def _request(row: Row[Any]) -> ProofRequestRow:
    return ProofRequestRow(**row._mapping)  # noqa: SLF001
