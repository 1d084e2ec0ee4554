"""Rows of credential requests that wait for an officer's approval."""

from dataclasses import dataclass

from sqlalchemy import Connection, Select, delete, insert, select

from broker.store import tables
from broker.store.contacts import CONTACT, INVITATION
from broker.store.unheld import unheld

DEFERRED = tables.DeferredIssuance.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class DeferredRow:
    """A request that waits; `holder_keys` is a JSON list of the proven public JWKs."""

    transaction_hash: str
    tenant_id: str
    invitation_id: str
    holder_keys: str
    expires_at: int


def add(tx: Connection, row: DeferredRow) -> None:
    """Store a request that waits, in place of an earlier one of the same invitation."""
    _hold_invited(tx, select(INVITATION.c.id).where(INVITATION.c.id == row.invitation_id))
    tx.execute(delete(DEFERRED).where(DEFERRED.c.invitation_id == row.invitation_id))
    tx.execute(insert(DEFERRED).values(**vars(row)))


def find(tx: Connection, transaction_hash: str, invitation_id: str) -> DeferredRow | None:
    """The request of a transaction id, by its hash, if it is of that invitation."""
    row = tx.execute(
        select(DEFERRED).where(
            DEFERRED.c.transaction_hash == transaction_hash,
            DEFERRED.c.invitation_id == invitation_id,
        )
    ).one_or_none()
    return None if row is None else DeferredRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def remove(tx: Connection, transaction_hash: str) -> bool:
    """Take a request out, to answer it; False when another was first."""
    mine = DEFERRED.c.transaction_hash == transaction_hash
    _hold_invited(tx, select(DEFERRED.c.invitation_id).where(mine))
    done = tx.execute(delete(DEFERRED).where(mine))
    return done.rowcount == 1


def prune(tx: Connection, now: int) -> int:
    """Forget requests that waited too long; how many there were."""
    over = unheld(DEFERRED, DEFERRED.c.expires_at <= now)
    return tx.execute(delete(DEFERRED).where(over)).rowcount


def _hold_invited(tx: Connection, invitations: Select[tuple[str]]) -> None:
    # An erasure takes contacts first, then their invitations and what came of them.
    chosen = select(CONTACT.c.id).join(INVITATION, INVITATION.c.contact_id == CONTACT.c.id)
    chosen = chosen.where(INVITATION.c.id.in_(invitations)).order_by(CONTACT.c.id)
    tx.execute(chosen.with_for_update(of=CONTACT, key_share=True))
