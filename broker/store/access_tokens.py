"""Rows of bearer tokens, by their SHA-256, with the state of whoever holds them."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from broker.store import tables
from broker.store.prepared import Prepared
from broker.store.unheld import unheld

TOKEN = tables.AccessToken.__table__  # type: ignore[attr-defined]
PARTNER = tables.Partner.__table__  # type: ignore[attr-defined]
INVITATION = tables.Invitation.__table__  # type: ignore[attr-defined]
CONTACT = tables.Contact.__table__  # type: ignore[attr-defined]
OFFICER = tables.Officer.__table__  # type: ignore[attr-defined]
COORDINATOR = tables.Coordinator.__table__  # type: ignore[attr-defined]

Role = Literal["partner", "officer", "wallet", "coordinator"]

# Every call of the API runs it.
_FIND = Prepared(
    select(
        TOKEN.c.subject,
        TOKEN.c.role,
        TOKEN.c.expires_at,
        PARTNER.c.state,
        OFFICER.c.state,
        COORDINATOR.c.state,
    )
    .outerjoin(PARTNER, PARTNER.c.id == TOKEN.c.subject)
    .outerjoin(OFFICER, OFFICER.c.id == TOKEN.c.subject)
    .outerjoin(COORDINATOR, COORDINATOR.c.id == TOKEN.c.subject)
    .where(TOKEN.c.token_hash == bindparam("b_hash"), TOKEN.c.tenant_id == bindparam("b_tenant"))
)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token: whose it is, until when (Unix seconds), and whether its holder is suspended."""

    subject: str
    role: Role
    expires_at: int
    suspended: bool


@dataclass(frozen=True, slots=True)
class RevocableRow:
    """A token as its holder finds it to give it back, and by nothing but the token itself."""

    token_hash: str
    subject: str
    role: Role


def add(
    tx: Connection,
    *,
    token_hash: str,
    tenant_id: str,
    subject: str,
    role: str,
    expires_at: int,
    revocation_hash: str | None = None,
) -> None:
    """Store a token; `subject` is the client by its id, or (role wallet) an invitation.

    `revocation_hash` is for a bound token, which is not found by its own hash otherwise.
    """
    tx.execute(
        insert(TOKEN).values(
            token_hash=token_hash,
            revocation_hash=revocation_hash,
            tenant_id=tenant_id,
            subject=subject,
            role=role,
            expires_at=expires_at,
        )
    )


def find(tx: Connection, tenant_id: str, token_hash: str) -> TokenRow | None:
    """A tenant's token; None when there is no such token."""
    for subject, role, expires_at, *states in _FIND.rows(
        tx, {"b_hash": token_hash, "b_tenant": tenant_id}
    ):
        return TokenRow(subject, role, expires_at, suspended="suspended" in states)
    return None


def revocable(tx: Connection, tenant_id: str, own_hash: str) -> RevocableRow | None:
    """A tenant's token, bound or not, by the hash of the token alone: good for ending it."""
    row = tx.execute(
        select(TOKEN.c.token_hash, TOKEN.c.subject, TOKEN.c.role).where(
            TOKEN.c.tenant_id == tenant_id,
            or_(TOKEN.c.revocation_hash == own_hash, TOKEN.c.token_hash == own_hash),
        )
    ).one_or_none()
    return None if row is None else RevocableRow(row.token_hash, row.subject, row.role)


def end(tx: Connection, tenant_id: str, token_hash: str) -> bool:
    """End one token of a tenant; False when another was first."""
    return (
        tx.execute(
            delete(TOKEN).where(TOKEN.c.token_hash == token_hash, TOKEN.c.tenant_id == tenant_id)
        ).rowcount
        == 1
    )


def end_of(tx: Connection, *, tenant_id: str, subject: str) -> int:
    """End every token of a partner, an officer or an invitation at once; how many there were."""
    return tx.execute(
        delete(TOKEN).where(TOKEN.c.subject == subject, TOKEN.c.tenant_id == tenant_id)
    ).rowcount


def end_of_wallets(tx: Connection, partner_id: str) -> int:
    """End the tokens of wallets that redeemed an invitation of a partner's; how many there were."""
    return _end_invited(tx, CONTACT.c.partner_id == partner_id)


def end_of_contact(tx: Connection, contact_id: str) -> int:
    """End the tokens of wallets that redeemed an invitation of a contact; how many there were."""
    return _end_invited(tx, CONTACT.c.id == contact_id)


def _end_invited(tx: Connection, of_contacts: Any) -> int:  # noqa: ANN401 (a condition)
    invitations = (
        select(INVITATION.c.id)
        .join(CONTACT, CONTACT.c.id == INVITATION.c.contact_id)
        .where(of_contacts)
    )
    return tx.execute(
        delete(TOKEN).where(TOKEN.c.role == "wallet", TOKEN.c.subject.in_(invitations))
    ).rowcount


def prolong(tx: Connection, token_hash: str, expires_at: int) -> None:
    """Let a token live until `expires_at`, unless it lives longer."""
    tx.execute(
        update(TOKEN)
        .where(TOKEN.c.token_hash == token_hash, TOKEN.c.expires_at < expires_at)
        .values(expires_at=expires_at)
    )


def prune(tx: Connection, now: int) -> int:
    """Forget tokens that have expired; how many there were."""
    return tx.execute(delete(TOKEN).where(unheld(TOKEN, TOKEN.c.expires_at <= now))).rowcount
