"""Rows of requests that a member's node presents its membership."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from broker.domain.errors import NotFound
from broker.store import tables, wallet_requests
from broker.store.unheld import unheld

REQUEST = tables.JoinRequest.__table__  # type: ignore[attr-defined]

PREFIX = "jr"


@dataclass(frozen=True)
class JoinRequestRow:
    """What is asked; `document` is the JSON of the wallet's request. Times are Unix seconds.

    `state` is open, answered, refused (by the node) or closed: replaced, its partner is suspended,
    its membership was revoked, or its key may be somebody else's. `receipt_key` is a JWK as JSON.
    """

    id: str
    tenant_id: str
    partner_id: str
    receipt_key: str
    nonce: str
    document: str
    state: str
    expires_at: int
    created_at: int
    rejections: int = 0

    def state_at(self, now: int) -> str:
        """The state as the member sees it: one that nobody answered in time has expired."""
        return "expired" if self.state == "open" and self.expires_at <= now else self.state


def is_one(request_id: str) -> bool:
    """Whether an id is one of a request to join, by its prefix."""
    return request_id.startswith(f"{PREFIX}-")


def add(tx: Connection, row: JoinRequestRow) -> None:
    """Store a new request."""
    tx.execute(insert(REQUEST).values(**vars(row)))


def find(tx: Connection, tenant_id: str, request_id: str) -> JoinRequestRow:
    """A request of the tenant; raises `NotFound`."""
    found = select(REQUEST).where(REQUEST.c.id == request_id, REQUEST.c.tenant_id == tenant_id)
    row = tx.execute(found).mappings().one_or_none()
    if row is None:
        raise NotFound("no such request to join")
    return JoinRequestRow(**row)


def answer(tx: Connection, request_id: str, now: int) -> bool:
    """Note that an open request was answered; False when another answer came first."""
    changed = tx.execute(
        update(REQUEST)
        .where(REQUEST.c.id == request_id, REQUEST.c.state == "open", REQUEST.c.expires_at > now)
        .values(state="answered")
    )
    return changed.rowcount == 1


def refuse(tx: Connection, request_id: str) -> bool:
    """Note that the node refused an open request; False when it is not open any more."""
    return wallet_requests.refuse(tx, REQUEST, request_id)


def count_rejection(tx: Connection, request_id: str) -> int:
    """Count an answer that did not count; how many there were, 0 where the request is gone."""
    return wallet_requests.count_rejection(tx, REQUEST, request_id)


def close_of_clients(tx: Connection, tenant_id: str, client_ids: Sequence[str]) -> int:
    """Close a tenant's open requests of these client ids; how many there were."""
    return wallet_requests.close_of_clients(tx, REQUEST, tenant_id, client_ids)


def close_of_partner(tx: Connection, tenant_id: str, partner_id: str) -> int:
    """Close a partner's open requests; how many there were."""
    query = update(REQUEST).where(
        REQUEST.c.tenant_id == tenant_id,
        REQUEST.c.partner_id == partner_id,
        REQUEST.c.state == "open",
    )
    return tx.execute(query.values(state="closed")).rowcount


def prune(tx: Connection, before: int) -> int:
    """Delete requests that were over at `before`; how many."""
    over = unheld(REQUEST, REQUEST.c.expires_at <= before)
    return tx.execute(delete(REQUEST).where(over)).rowcount
