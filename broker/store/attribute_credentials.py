"""Rows of the kinds of credentials of attributes, and of offers of them."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from broker.domain.errors import NotFound, StateConflict
from broker.store import tables
from broker.store.unheld import unheld

TYPE = tables.AttributeType.__table__  # type: ignore[attr-defined]
OFFER = tables.AttributeOffer.__table__  # type: ignore[attr-defined]
TOKEN = tables.AccessToken.__table__  # type: ignore[attr-defined]

PREFIX = "ao"


@dataclass(frozen=True)
class OfferRow:
    """An offer; `claims` are encrypted under a key that is not here. Times are Unix seconds."""

    id: str
    tenant_id: str
    offered_by: str
    type_id: str
    code_hash: str
    tx_code_hash: str
    claims: bytes | None
    state: str
    expires_at: int
    created_at: int
    refusals: int = 0
    key_id: str | None = None
    revocation_id: str | None = None
    revocation_place: int | None = None
    revoked_at: int | None = None


def is_one(subject: str) -> bool:
    """Whether a token's subject is an offer of attributes, by its prefix."""
    return subject.startswith(f"{PREFIX}-")


def add_type(tx: Connection, tenant_id: str, type_id: str, document: str, now: int) -> None:
    """Store a kind of credential; raises `StateConflict` where its id is taken."""
    known = select(TYPE.c.id).where(TYPE.c.tenant_id == tenant_id, TYPE.c.id == type_id)
    if tx.execute(known).first() is not None:
        raise StateConflict(
            f"there is a kind of credential {type_id}: what was signed under it stays as it is, "
            "take the next version"
        )
    tx.execute(
        insert(TYPE).values(tenant_id=tenant_id, id=type_id, document=document, created_at=now)
    )


def types(tx: Connection, tenant_id: str) -> dict[str, str]:
    """The documents of a tenant's kinds of credentials, by id."""
    rows = tx.execute(
        select(TYPE.c.id, TYPE.c.document).where(TYPE.c.tenant_id == tenant_id).order_by(TYPE.c.id)
    )
    return {row.id: row.document for row in rows}


def type_document(tx: Connection, tenant_id: str, type_id: str) -> str:
    """The document of a kind of credential; raises `NotFound`."""
    found = select(TYPE.c.document).where(TYPE.c.tenant_id == tenant_id, TYPE.c.id == type_id)
    document: str | None = tx.execute(found).scalar_one_or_none()
    if document is None:
        raise NotFound(f"no kind of credential {type_id}: GET /v1/attribute-types lists them")
    return document


def add_offer(tx: Connection, row: OfferRow) -> None:
    """Store a new offer."""
    tx.execute(insert(OFFER).values(**vars(row)))


def offer_by_code(tx: Connection, tenant_id: str, code_hash: str) -> OfferRow | None:
    """The offer of a code, held until the end of `tx`: of guesses at once each is counted."""
    row = tx.execute(
        select(OFFER)
        .where(OFFER.c.code_hash == code_hash, OFFER.c.tenant_id == tenant_id)
        .with_for_update()
    ).one_or_none()
    return None if row is None else OfferRow(**row._mapping)  # noqa: SLF001


def offer(tx: Connection, tenant_id: str, offer_id: str) -> OfferRow | None:
    """An offer of the tenant."""
    row = tx.execute(
        select(OFFER).where(OFFER.c.id == offer_id, OFFER.c.tenant_id == tenant_id)
    ).one_or_none()
    return None if row is None else OfferRow(**row._mapping)  # noqa: SLF001


def redeem(tx: Connection, offer_id: str, claims: bytes, expires_at: int) -> bool:
    """Redeem an open offer, its claims sealed anew; False when another was first."""
    done = tx.execute(
        update(OFFER)
        .where(OFFER.c.id == offer_id, OFFER.c.state == "open")
        .values(state="redeemed", claims=claims, expires_at=expires_at)
    )
    return done.rowcount == 1


def finish(
    tx: Connection, offer_id: str, key_id: str, revocation_id: str | None, place: int | None
) -> bool:
    """Note that the credential was issued, and delete the claims; False when it was before."""
    done = tx.execute(
        update(OFFER)
        .where(OFFER.c.id == offer_id, OFFER.c.state == "redeemed")
        .values(
            state="issued",
            claims=None,
            key_id=key_id,
            revocation_id=revocation_id,
            revocation_place=place,
        )
    )
    return done.rowcount == 1


def count_revocable(tx: Connection, tenant_id: str, key_id: str) -> int:
    """How many credentials that can be revoked a key has signed, revoked ones included."""
    found = select(func.count()).where(
        OFFER.c.tenant_id == tenant_id,
        OFFER.c.key_id == key_id,
        OFFER.c.revocation_place.is_not(None),
    )
    return int(tx.execute(found).scalar_one())


def live(tx: Connection, tenant_id: str, key_id: str, first: int, past: int) -> list[str]:
    """The identifiers of a key's credentials that stand, by their places."""
    found = (
        select(OFFER.c.revocation_id)
        .where(
            OFFER.c.tenant_id == tenant_id,
            OFFER.c.key_id == key_id,
            OFFER.c.revocation_place >= first,
            OFFER.c.revocation_place < past,
            OFFER.c.revoked_at.is_(None),
        )
        .order_by(OFFER.c.revocation_place, OFFER.c.revocation_id)
    )
    return list(tx.execute(found).scalars())


def revoke(tx: Connection, offer_id: str, now: int) -> bool:
    """Revoke the credential of an offer; False when it was revoked before."""
    done = tx.execute(
        update(OFFER)
        .where(OFFER.c.id == offer_id, OFFER.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return done.rowcount == 1


def count_refused(tx: Connection, offer_id: str) -> int:
    """Count a wrong transaction code; how many there were, this one included."""
    tx.execute(update(OFFER).where(OFFER.c.id == offer_id).values(refusals=OFFER.c.refusals + 1))
    return int(tx.execute(select(OFFER.c.refusals).where(OFFER.c.id == offer_id)).scalar_one())


def close(tx: Connection, offer_id: str) -> None:
    """End an offer and delete its claims."""
    tx.execute(
        update(OFFER)
        .where(OFFER.c.id == offer_id, OFFER.c.state != "issued")
        .values(state="closed", claims=None)
    )


def close_of(tx: Connection, tenant_id: str, offered_by: str) -> int:
    """End what somebody has offered, with the tokens of wallets that redeemed it; how many."""
    # The rows first, as whoever redeems or issues takes them, and by the state that they then have.
    done = (
        update(OFFER)
        .where(
            OFFER.c.tenant_id == tenant_id,
            OFFER.c.offered_by == offered_by,
            OFFER.c.state.in_(("open", "redeemed")),
        )
        .values(state="closed", claims=None)
        .returning(OFFER.c.id)
    )
    closed = list(tx.execute(done).scalars())
    if closed:
        tx.execute(delete(TOKEN).where(TOKEN.c.role == "wallet", TOKEN.c.subject.in_(closed)))
    return len(closed)


def forget_due(tx: Connection, now: int) -> int:
    """Delete the claims of offers that are over; how many there were."""
    done = tx.execute(
        update(OFFER)
        .where(unheld(OFFER, OFFER.c.claims.is_not(None), OFFER.c.expires_at <= now))
        .values(state="closed", claims=None)
    )
    return done.rowcount
