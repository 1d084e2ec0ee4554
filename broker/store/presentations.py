"""Rows of presentation requests, of each request object that was served, and of signed evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from broker.domain.errors import NotFound
from broker.store import consent_locks, tables

REQUEST = tables.PresentationRequest.__table__  # type: ignore[attr-defined]
SERVED = tables.ServedRequest.__table__  # type: ignore[attr-defined]
EVIDENCE = tables.Evidence.__table__  # type: ignore[attr-defined]
ISSUED = tables.IssuedCredential.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class PresentationRequestRow:
    """What a wallet is asked to sign; `document` is the JSON of the request's parts.

    A withdrawal of everything begins with one that `asks_who` it is. Those for all that was given
    name it as their `proof_id`.
    """

    id: str
    tenant_id: str
    kind: str
    consent_request_id: str
    consent_id: str | None
    nonce: str
    document: str
    state: str
    response_code_hash: str | None
    session_hash: str | None
    expires_at: int
    created_at: int
    answered_at: int | None
    rejections: int = 0
    proof_id: str | None = None

    @property
    def asks_who(self) -> bool:
        """Whether the answer is to prove who it is, and nothing else."""
        return self.kind == "withdrawal" and self.consent_id is None and self.proof_id is None


@dataclass(frozen=True)
class ServedRow:
    """A request object as it was served, sealed."""

    id: str
    tenant_id: str
    presentation_request_id: str
    method: str
    sealed: bytes
    served_at: int


@dataclass(frozen=True)
class EvidenceRow:
    """What was signed, sealed; `kind` is grant, guardian (beside a minor's grant) or withdrawal."""

    id: str
    tenant_id: str
    consent_id: str
    kind: str
    sealed: bytes
    kept_until: int
    created_at: int


@dataclass(frozen=True)
class IssuedRow:
    """A credential about a consent, sealed; `kind` is consent or receipt."""

    id: str
    tenant_id: str
    consent_id: str
    kind: str
    sealed: bytes
    issued_at: int


def add(tx: Connection, row: PresentationRequestRow) -> None:
    """Store a new presentation request."""
    tx.execute(insert(REQUEST).values(**vars(row)))


def find(
    tx: Connection, tenant_id: str, presentation_request_id: str, *, lock: bool = False
) -> PresentationRequestRow:
    """A presentation request of the tenant; raises `NotFound`.

    `lock`: whoever else locks it waits for the end of `tx`.
    """
    found = select(REQUEST).where(
        REQUEST.c.id == presentation_request_id, REQUEST.c.tenant_id == tenant_id
    )
    row = tx.execute(found.with_for_update() if lock else found).one_or_none()
    if row is None:
        raise NotFound("no such presentation request")
    return _request(row)


def latest(
    tx: Connection, consent_request_id: str, kind: str, consent_id: str | None = None
) -> PresentationRequestRow | None:
    """The presentation request of a kind that counts (of one consent, when named).

    One that waits comes first, one that was replaced last, however close together they were made.
    """
    query = select(REQUEST).where(
        REQUEST.c.consent_request_id == consent_request_id, REQUEST.c.kind == kind
    )
    if consent_id is not None:
        query = query.where(REQUEST.c.consent_id == consent_id)
    order = (REQUEST.c.state != "open", REQUEST.c.state == "replaced", REQUEST.c.created_at.desc())
    row = tx.execute(query.order_by(*order).limit(1)).one_or_none()
    return None if row is None else _request(row)


def open_ones(tx: Connection, consent_request_id: str) -> list[PresentationRequestRow]:
    """Presentation requests of a consent request that still wait for an answer."""
    rows = tx.execute(
        select(REQUEST).where(
            REQUEST.c.consent_request_id == consent_request_id, REQUEST.c.state == "open"
        )
    )
    return [_request(row) for row in rows]


def finish(
    tx: Connection,
    presentation_request_id: str,
    after: str,
    now: int,
    response_code_hash: str | None = None,
) -> bool:
    """Answer, refuse or replace an open request; False when another answer came first."""
    changed = tx.execute(
        update(REQUEST)
        .where(REQUEST.c.id == presentation_request_id, REQUEST.c.state == "open")
        .values(state=after, answered_at=now, response_code_hash=response_code_hash)
    )
    return changed.rowcount == 1


def asking_who(tx: Connection, consent_request_id: str) -> PresentationRequestRow | None:
    """The newest request of a page by which a customer proves, or has proven, who they are."""
    row = tx.execute(
        select(REQUEST)
        .where(
            REQUEST.c.consent_request_id == consent_request_id,
            REQUEST.c.kind == "withdrawal",
            REQUEST.c.consent_id.is_(None),
            REQUEST.c.proof_id.is_(None),
        )
        .order_by(REQUEST.c.created_at.desc(), REQUEST.c.id)
        .limit(1)
    ).one_or_none()
    return None if row is None else _request(row)


def after_proof(tx: Connection, proof: PresentationRequestRow) -> list[PresentationRequestRow]:
    """The requests for all that a customer has given, opened after they had proven who they are."""
    rows = tx.execute(
        select(REQUEST)
        .where(
            REQUEST.c.consent_request_id == proof.consent_request_id, REQUEST.c.proof_id == proof.id
        )
        .order_by(REQUEST.c.created_at, REQUEST.c.id)
    )
    return [_request(row) for row in rows]


def count_rejection(tx: Connection, presentation_request_id: str) -> int:
    """Count an answer that did not count; how many there were, this one included."""
    tx.execute(
        update(REQUEST)
        .where(REQUEST.c.id == presentation_request_id)
        .values(rejections=REQUEST.c.rejections + 1)
    )
    found = select(REQUEST.c.rejections).where(REQUEST.c.id == presentation_request_id)
    return int(tx.execute(found).scalar_one())


def replace_open(
    tx: Connection, consent_request_id: str, kind: str, now: int, consent_id: str | None = None
) -> None:
    """Close the open requests of a kind, since a newer one takes their place."""
    query = update(REQUEST).where(
        REQUEST.c.consent_request_id == consent_request_id,
        REQUEST.c.kind == kind,
        REQUEST.c.state == "open",
    )
    if consent_id is not None:
        query = query.where(REQUEST.c.consent_id == consent_id)
    tx.execute(query.values(state="replaced", answered_at=now))


def replace_of_clients(tx: Connection, tenant_id: str, client_ids: Sequence[str], now: int) -> int:
    """Close a tenant's open requests of these client ids; how many there were."""
    named = or_(
        *(
            REQUEST.c.document.contains(f'"client_id":"{client_id}"', autoescape=True)
            for client_id in client_ids
        )
    )
    theirs = REQUEST.c.tenant_id == tenant_id, REQUEST.c.state == "open", named
    consent_locks.hold_asked(tx, select(REQUEST.c.consent_request_id).where(*theirs))
    query = update(REQUEST).where(*theirs).values(state="replaced", answered_at=now)
    return tx.execute(query).rowcount


def by_response_code(
    tx: Connection, consent_request_id: str, response_code_hash: str
) -> PresentationRequestRow | None:
    """The answered request that a response code belongs to."""
    row = tx.execute(
        select(REQUEST).where(
            REQUEST.c.consent_request_id == consent_request_id,
            REQUEST.c.response_code_hash == response_code_hash,
        )
    ).one_or_none()
    return None if row is None else _request(row)


def add_served(tx: Connection, row: ServedRow) -> None:
    """Keep a request object as it was served."""
    tx.execute(insert(SERVED).values(**vars(row)))


def served(
    tx: Connection, presentation_request_id: str, method: str | None = None
) -> list[ServedRow]:
    """The request objects served for a request, oldest first."""
    query = select(SERVED).where(SERVED.c.presentation_request_id == presentation_request_id)
    if method is not None:
        query = query.where(SERVED.c.method == method)
    rows: Sequence[Row[Any]] = tx.execute(query.order_by(SERVED.c.served_at, SERVED.c.id)).all()
    return [ServedRow(**row._mapping) for row in rows]  # noqa: SLF001


def first_shown(tx: Connection, consent_request_id: str) -> int | None:
    """When a wallet first fetched what a consent request asks; None where none has."""
    first = (
        select(func.min(SERVED.c.served_at))
        .join(REQUEST, REQUEST.c.id == SERVED.c.presentation_request_id)
        .where(
            REQUEST.c.consent_request_id == consent_request_id,
            REQUEST.c.kind == "consent",
        )
    )
    found: int | None = tx.execute(first).scalar_one()
    return found


def served_count(tx: Connection, presentation_request_id: str, method: str) -> int:
    """How often a request object was served by a method."""
    return tx.execute(
        select(func.count())
        .select_from(SERVED)
        .where(SERVED.c.presentation_request_id == presentation_request_id)
        .where(SERVED.c.method == method)
    ).scalar_one()


def add_evidence(tx: Connection, row: EvidenceRow) -> None:
    """Keep what was signed."""
    tx.execute(insert(EVIDENCE).values(**vars(row)))


def evidence(tx: Connection, consent_id: str) -> list[EvidenceRow]:
    """What was signed about a consent, oldest first."""
    rows = tx.execute(
        select(EVIDENCE)
        .where(EVIDENCE.c.consent_id == consent_id)
        .order_by(EVIDENCE.c.created_at, EVIDENCE.c.kind)
    )
    return [EvidenceRow(**row._mapping) for row in rows]  # noqa: SLF001


def drop_evidence(tx: Connection, consent_id: str) -> None:
    """Forget what was signed for a consent that was then never given."""
    tx.execute(delete(EVIDENCE).where(EVIDENCE.c.consent_id == consent_id))


def add_issued(tx: Connection, row: IssuedRow) -> None:
    """Keep a credential that was issued about a consent."""
    tx.execute(insert(ISSUED).values(**vars(row)))


def issued(tx: Connection, tenant_id: str, consent_id: str, kind: str) -> IssuedRow:
    """The consent credential or the receipt of a consent; raises `NotFound`."""
    row = tx.execute(
        select(ISSUED).where(
            ISSUED.c.tenant_id == tenant_id,
            ISSUED.c.consent_id == consent_id,
            ISSUED.c.kind == kind,
        )
    ).one_or_none()
    if row is None:
        raise NotFound(
            f"no {kind} credential: the consent was not granted, or the time to keep it is over"
        )
    return IssuedRow(**row._mapping)  # noqa: SLF001


def _request(row: Row[Any]) -> PresentationRequestRow:
    return PresentationRequestRow(**row._mapping)  # noqa: SLF001
