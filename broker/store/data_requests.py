"""Rows of data requests, and of what was shown and not collected yet: sealed to the partner."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update
from sqlalchemy import literal_column as sql

from broker.domain.errors import NotFound
from broker.store import tables, wallet_requests
from broker.store.prepared import Prepared
from broker.store.unheld import unheld

REQUEST = tables.DataRequest.__table__  # type: ignore[attr-defined]
ANSWER = tables.DataAnswer.__table__  # type: ignore[attr-defined]

PREFIX = "dr"

# Run whenever a consent ends, mostly for one under which nothing waits and nothing is asked.
# Held in the order of consents: a suspension reaches those of many at once.
_BY_CONSENT = (REQUEST.c.consent_id, REQUEST.c.id)
_HOLD = Prepared(
    select(REQUEST.c.id)
    .where(REQUEST.c.consent_id == bindparam("b_consent"))
    .order_by(*_BY_CONSENT)
    .with_for_update(key_share=True)
)
_END = Prepared(delete(ANSWER).where(ANSWER.c.consent_id == bindparam("b_consent")))
_CLOSE = Prepared(
    update(REQUEST)
    .where(REQUEST.c.consent_id == bindparam("b_consent"), REQUEST.c.state == sql("'open'"))
    .values(state=sql("'closed'"))
)
_HAS_KEY = REQUEST.c.document.contains('"response_key":"', autoescape=True)


@dataclass(frozen=True)
class DataRequestRow:
    """What is asked; `document` is the JSON of the wallet's request. Times are Unix seconds.

    `state` is open, answered, refused (by the wallet) or closed: its consent has ended, its partner
    is suspended, or its key may be somebody else's. The key that answers are encrypted to is there
    while the request can be answered and no longer.
    """

    id: str
    tenant_id: str
    partner_id: str
    consent_id: str
    question: str
    nonce: str
    document: str
    request_hash: str
    state: str
    expires_at: int
    created_at: int
    rejections: int = 0
    answered_at: int | None = None

    def state_at(self, now: int) -> str:
        """The state as the partner sees it: one that nobody answered in time has expired."""
        return "expired" if self.state == "open" and self.expires_at <= now else self.state


@dataclass(frozen=True)
class DataAnswerRow:
    """An attribute that was shown; `envelope` is a JWE to the partner's key."""

    request_id: str
    attribute: str
    tenant_id: str
    consent_id: str
    masking: str
    envelope: str = field(repr=False)
    expires_at: int


def is_one(request_id: str) -> bool:
    """Whether an id is one of a data request, by its prefix."""
    return request_id.startswith(f"{PREFIX}-")


def add(tx: Connection, row: DataRequestRow) -> None:
    """Store a new data request."""
    tx.execute(insert(REQUEST).values(**vars(row)))


def find(
    tx: Connection, tenant_id: str, request_id: str, partner_id: str | None = None
) -> DataRequestRow:
    """A data request of the tenant (of a partner's own, when named); raises `NotFound`."""
    query = select(REQUEST).where(REQUEST.c.id == request_id, REQUEST.c.tenant_id == tenant_id)
    if partner_id is not None:
        query = query.where(REQUEST.c.partner_id == partner_id)
    row = tx.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("no such data request")
    return DataRequestRow(**row)


def answer(tx: Connection, request_id: str, answers: Sequence[DataAnswerRow], now: int) -> bool:
    """Keep what was shown for an open request; False when another answer came first."""
    changed = tx.execute(
        update(REQUEST)
        .where(REQUEST.c.id == request_id, REQUEST.c.state == "open", REQUEST.c.expires_at > now)
        .values(state="answered", answered_at=now)
    )
    if changed.rowcount != 1:
        return False
    _forget_keys(tx, REQUEST.c.id == request_id)
    for row in answers:
        tx.execute(insert(ANSWER).values(**vars(row)))
    return True


def refuse(tx: Connection, request_id: str) -> bool:
    """Note that the customer refused an open request; False when it is not open any more."""
    refused = wallet_requests.refuse(tx, REQUEST, request_id)
    _forget_keys(tx, REQUEST.c.id == request_id)
    return refused


def waiting(tx: Connection, request_id: str, now: int) -> list[DataAnswerRow]:
    """What waits to be collected of a request, by attribute."""
    chosen = select(ANSWER).where(ANSWER.c.request_id == request_id, ANSWER.c.expires_at > now)
    rows = tx.execute(chosen.order_by(ANSWER.c.attribute)).mappings()
    return [DataAnswerRow(**row) for row in rows]


def take(tx: Connection, request_id: str, attribute: str, now: int) -> DataAnswerRow | None:
    """Delete what waits and return it: of several who take it at once, one gets it."""
    gone = (
        delete(ANSWER)
        .where(
            ANSWER.c.request_id == request_id,
            ANSWER.c.attribute == attribute,
            ANSWER.c.expires_at > now,
        )
        .returning(*ANSWER.c)
    )
    row = tx.execute(gone).mappings().one_or_none()
    return None if row is None else DataAnswerRow(**row)


def end(tx: Connection, consent_id: str) -> None:
    """Close what is asked under a consent that has ended, and delete what waits under it."""
    # Requests first, as whoever answers one and whoever suspends the partner takes them.
    if not _HOLD.rows(tx, {"b_consent": consent_id}):
        return
    if _CLOSE.changed(tx, {"b_consent": consent_id}):
        _forget_keys(tx, REQUEST.c.consent_id == consent_id, REQUEST.c.state == "closed")
    _END.changed(tx, {"b_consent": consent_id})


def count_rejection(tx: Connection, request_id: str) -> int:
    """Count an answer that did not count; how many there were, 0 where the request is gone."""
    return wallet_requests.count_rejection(tx, REQUEST, request_id)


def close_of_clients(tx: Connection, tenant_id: str, client_ids: Sequence[str]) -> int:
    """Close a tenant's open requests of these client ids; how many there were."""
    closed = wallet_requests.close_of_clients(tx, REQUEST, tenant_id, client_ids)
    _forget_keys(tx, REQUEST.c.tenant_id == tenant_id, REQUEST.c.state == "closed")
    return closed


def close_of_partner(tx: Connection, partner_id: str) -> int:
    """Close a partner's open requests, and delete what waits for it; how many were open."""
    own = REQUEST.c.partner_id == partner_id
    # First: an answer that comes meanwhile then finds its request closed, or is deleted below.
    held = select(REQUEST.c.id).where(own).order_by(*_BY_CONSENT)
    tx.execute(held.with_for_update(key_share=True))
    query = update(REQUEST).where(own, REQUEST.c.state == "open")
    closed = tx.execute(query.values(state="closed")).rowcount
    tx.execute(delete(ANSWER).where(ANSWER.c.request_id.in_(select(REQUEST.c.id).where(own))))
    _forget_keys(tx, own, REQUEST.c.state == "closed")
    return closed


def prune(tx: Connection, now: int, ended: int) -> int:
    """Delete what nobody collected in time, and requests that were over by `ended`; how many.

    Of those that are over, the keys go at once.
    """
    _forget_keys(tx, unheld(REQUEST, _HAS_KEY, REQUEST.c.expires_at <= now))
    gone = tx.execute(delete(ANSWER).where(unheld(ANSWER, ANSWER.c.expires_at <= now))).rowcount
    held = select(ANSWER.c.request_id)
    over = unheld(REQUEST, REQUEST.c.expires_at <= ended, REQUEST.c.id.not_in(held))
    return gone + tx.execute(delete(REQUEST).where(over)).rowcount


def _forget_keys(tx: Connection, *of: ColumnElement[bool]) -> None:
    """Delete the keys to which answers to these requests were encrypted."""
    found = tx.execute(select(REQUEST.c.id, REQUEST.c.document).where(_HAS_KEY, *of)).all()
    for row in found:
        document = orjson.dumps({**orjson.loads(row.document), "response_key": None}).decode()
        tx.execute(update(REQUEST).where(REQUEST.c.id == row.id).values(document=document))
