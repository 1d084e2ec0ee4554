"""Rows of membership credentials, from their offer to their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from broker.store import tables
from broker.store.unheld import unheld

MEMBERSHIP = tables.Membership.__table__  # type: ignore[attr-defined]
TOKEN = tables.AccessToken.__table__  # type: ignore[attr-defined]

PREFIX = "mb"
_OFFERED = ("open", "redeemed")
_LOCK: Final = 0x6D6273  # any number that no other advisory lock of the broker uses


@dataclass(frozen=True)
class MembershipRow:
    """A membership credential; its `id` is the credential's `jti`. Times are Unix seconds.

    Offered, it is `open`, then `redeemed` by whoever had the code until `expires_at`; an offer that
    came to nothing is `closed`. What was `issued` stands until `valid_until`, or is `revoked`.
    """

    id: str
    tenant_id: str
    partner_id: str
    code_hash: str
    tx_code_hash: str
    state: str
    expires_at: int
    created_at: int
    refusals: int = 0
    holder_thumbprint: str | None = None
    status_list_id: str | None = None
    status_index: int | None = None
    issued_at: int | None = None
    valid_until: int | None = None


def is_one(subject: str) -> bool:
    """Whether a token's subject is a membership, by its prefix."""
    return subject.startswith(f"{PREFIX}-")


def add(tx: Connection, row: MembershipRow) -> None:
    """Store a new offer."""
    tx.execute(insert(MEMBERSHIP).values(**vars(row)))


def by_code(tx: Connection, tenant_id: str, code_hash: str) -> MembershipRow | None:
    """The offer of a code, held until the end of `tx`: of guesses at once each is counted."""
    row = tx.execute(
        select(MEMBERSHIP)
        .where(MEMBERSHIP.c.code_hash == code_hash, MEMBERSHIP.c.tenant_id == tenant_id)
        .with_for_update()
    ).one_or_none()
    return None if row is None else MembershipRow(**row._mapping)  # noqa: SLF001


def find(
    tx: Connection, tenant_id: str, membership_id: str, *, lock: bool = False
) -> MembershipRow | None:
    """A membership of the tenant; with `lock` whoever ends it waits."""
    found = select(MEMBERSHIP).where(
        MEMBERSHIP.c.id == membership_id, MEMBERSHIP.c.tenant_id == tenant_id
    )
    row = tx.execute(found.with_for_update() if lock else found).one_or_none()
    return None if row is None else MembershipRow(**row._mapping)  # noqa: SLF001


def redeem(tx: Connection, membership_id: str, expires_at: int) -> bool:
    """Redeem an open offer; False when another was first."""
    done = tx.execute(
        update(MEMBERSHIP)
        .where(MEMBERSHIP.c.id == membership_id, MEMBERSHIP.c.state == "open")
        .values(state="redeemed", expires_at=expires_at)
    )
    return done.rowcount == 1


def issue(
    tx: Connection,
    membership_id: str,
    *,
    holder_thumbprint: str,
    place: tuple[str, int],
    now: int,
    valid_until: int,
) -> bool:
    """Note that the credential was issued, at its `place` (list, index); False when not offered."""
    done = tx.execute(
        update(MEMBERSHIP)
        .where(MEMBERSHIP.c.id == membership_id, MEMBERSHIP.c.state == "redeemed")
        .values(
            state="issued",
            holder_thumbprint=holder_thumbprint,
            status_list_id=place[0],
            status_index=place[1],
            issued_at=now,
            valid_until=valid_until,
        )
    )
    return done.rowcount == 1


def hold_keys(tx: Connection, tenant_id: str) -> None:
    """Let no other transaction bind a node's key in this tenant until the end of `tx`.

    SQLite has one writer anyway.
    """
    if tx.dialect.name != "sqlite":
        tx.execute(select(func.pg_advisory_xact_lock(_LOCK, func.hashtext(tenant_id))))


def others_hold(tx: Connection, tenant_id: str, partner_id: str, thumbprint: str) -> bool:
    """Whether a credential of another member, that was not revoked, is bound to a key."""
    found = select(MEMBERSHIP.c.id).where(
        MEMBERSHIP.c.tenant_id == tenant_id,
        MEMBERSHIP.c.holder_thumbprint == thumbprint,
        MEMBERSHIP.c.partner_id != partner_id,
        MEMBERSHIP.c.state == "issued",
    )
    return tx.execute(found.limit(1)).first() is not None


def count_refused(tx: Connection, membership_id: str) -> int:
    """Count a wrong transaction code; how many there were, this one included."""
    mine = MEMBERSHIP.c.id == membership_id
    tx.execute(update(MEMBERSHIP).where(mine).values(refusals=MEMBERSHIP.c.refusals + 1))
    return int(tx.execute(select(MEMBERSHIP.c.refusals).where(mine)).scalar_one())


def close(tx: Connection, membership_id: str) -> None:
    """End an offer that was not taken."""
    tx.execute(
        update(MEMBERSHIP)
        .where(MEMBERSHIP.c.id == membership_id, MEMBERSHIP.c.state.in_(_OFFERED))
        .values(state="closed")
    )


def close_of(tx: Connection, tenant_id: str, partner_id: str) -> list[str]:
    """End what is offered to a partner, with the tokens of who redeemed it; the ids, ascending."""
    # The rows first, as whoever redeems or issues takes them, and by the state that they then have:
    # what was issued meanwhile stays so, and can be revoked.
    done = (
        update(MEMBERSHIP)
        .where(
            MEMBERSHIP.c.tenant_id == tenant_id,
            MEMBERSHIP.c.partner_id == partner_id,
            MEMBERSHIP.c.state.in_(_OFFERED),
        )
        .values(state="closed")
        .returning(MEMBERSHIP.c.id)
    )
    closed = sorted(tx.execute(done).scalars())
    if closed:
        tx.execute(delete(TOKEN).where(TOKEN.c.role == "wallet", TOKEN.c.subject.in_(closed)))
    return closed


def revoke_of(tx: Connection, tenant_id: str, partner_id: str) -> list[MembershipRow]:
    """Revoke a partner's credentials and return them; their status bits are now set.

    The caller marks the status lists of what is returned as changed.
    """
    rows: Sequence[MembershipRow] = [
        MembershipRow(**row._mapping)  # noqa: SLF001
        for row in tx.execute(
            update(MEMBERSHIP)
            .where(
                MEMBERSHIP.c.tenant_id == tenant_id,
                MEMBERSHIP.c.partner_id == partner_id,
                MEMBERSHIP.c.state == "issued",
            )
            .values(state="revoked")
            .returning(*MEMBERSHIP.c)
        )
    ]
    return sorted(rows, key=lambda row: row.id)


def prune(tx: Connection, before: int) -> int:
    """Delete offers that nobody took and that were over at `before`; how many."""
    over = (MEMBERSHIP.c.state.in_((*_OFFERED, "closed")), MEMBERSHIP.c.expires_at <= before)
    return tx.execute(delete(MEMBERSHIP).where(unheld(MEMBERSHIP, *over))).rowcount
