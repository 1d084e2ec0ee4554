"""Rows of bearer tokens, by their SHA-256."""

from sqlalchemy import Connection, insert

from broker.store import tables

TOKEN = tables.AccessToken.__table__  # type: ignore[attr-defined]


def add(
    tx: Connection, *, token_hash: str, tenant_id: str, subject: str, role: str, expires_at: int
) -> None:
    """Store a token; `subject` is a partner, an officer, or (role wallet) an invitation."""
    tx.execute(
        insert(TOKEN).values(
            token_hash=token_hash,
            tenant_id=tenant_id,
            subject=subject,
            role=role,
            expires_at=expires_at,
        )
    )
