"""Rows of pushed authorization requests and of the codes that came of them."""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, insert, select, update

from broker.store import tables
from broker.store.unheld import unheld

AUTHORIZATION = tables.Authorization.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class AuthorizationRow:
    """What a wallet pushed for an invitation; `thumbprint` is of the DPoP key, where bound.

    `by_details` says that the wallet asked by `authorization_details`. `expires_at` is the
    request's until it is agreed to, then the code's (Unix seconds).
    """

    id: str
    tenant_id: str
    invitation_id: str
    request_uri_hash: str
    code_hash: str | None
    client_id: str
    redirect_uri: str
    wallet_state: str | None
    code_challenge: str
    thumbprint: str | None
    by_details: bool
    state: str
    expires_at: int


def add(tx: Connection, row: AuthorizationRow) -> None:
    """Store a pushed request."""
    tx.execute(insert(AUTHORIZATION).values(**vars(row)))


def count_of(tx: Connection, invitation_id: str) -> int:
    """How many requests were pushed for an invitation and are not forgotten yet."""
    query = select(func.count()).select_from(AUTHORIZATION)
    return tx.execute(query.where(AUTHORIZATION.c.invitation_id == invitation_id)).scalar_one()


def by_request_uri(
    tx: Connection, tenant_id: str, hashed: str, *, lock: bool
) -> AuthorizationRow | None:
    """The request behind a `request_uri`, by its hash; with `lock` until the end of `tx`."""
    return _one(tx, tenant_id, AUTHORIZATION.c.request_uri_hash == hashed, lock=lock)


def by_code(tx: Connection, tenant_id: str, hashed: str) -> AuthorizationRow | None:
    """The request behind a code, by its hash; locked until the end of `tx`."""
    return _one(tx, tenant_id, AUTHORIZATION.c.code_hash == hashed, lock=True)


def move(
    tx: Connection,
    authorization_id: str,
    before: str,
    after: str,
    *,
    code_hash: str | None = None,
    expires_at: int | None = None,
) -> bool:
    """Move a request from one state to another; False when another was first."""
    values: dict[str, object] = {"state": after}
    if code_hash is not None:
        values |= {"code_hash": code_hash, "expires_at": expires_at}
    changed = tx.execute(
        update(AUTHORIZATION)
        .where(AUTHORIZATION.c.id == authorization_id, AUTHORIZATION.c.state == before)
        .values(**values)
    )
    return changed.rowcount == 1


def prune(tx: Connection, before: int) -> int:
    """Forget requests and codes that were over `before`; how many there were."""
    over = unheld(AUTHORIZATION, AUTHORIZATION.c.expires_at < before)
    return tx.execute(delete(AUTHORIZATION).where(over)).rowcount


def _one(
    tx: Connection, tenant_id: str, condition: object, *, lock: bool
) -> AuthorizationRow | None:
    chosen = select(AUTHORIZATION).where(
        condition,  # type: ignore[arg-type]  # SQLModel's columns are untyped
        AUTHORIZATION.c.tenant_id == tenant_id,
    )
    # PostgreSQL locks nothing in a transaction that only reads, but raises.
    row = tx.execute(chosen.with_for_update() if lock else chosen).one_or_none()
    if row is None:
        return None
    found = AuthorizationRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)
    return replace(found, by_details=bool(found.by_details))
