"""Rows of consent requests and consents. Every change of state is a compare-and-swap."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from broker.domain.consent import Transition
from broker.domain.errors import NotFound, StateConflict
from broker.store import data_requests, tables, vault
from broker.store.prepared import Prepared
from broker.store.tables.consents import GRANTED

REQUEST = tables.ConsentRequest.__table__  # type: ignore[attr-defined]
CONSENT = tables.Consent.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class ConsentRequestRow:
    """What a partner asked of one contact."""

    id: str
    tenant_id: str
    partner_id: str
    contact_id: str
    template_id: str
    template_version: int
    language: str
    page_token_hash: str
    short_code: str
    state: str
    expires_at: int
    created_at: int


@dataclass(frozen=True)
class ConsentRow:
    """One consent; `terms` is the canonical JSON text that is, or was, to be signed."""

    id: str
    tenant_id: str
    partner_id: str
    contact_id: str
    request_id: str
    item: str
    subject_id: str | None
    state: str
    version: int
    terms: str
    terms_hash: str
    grade: str | None
    signed_copy_id: str | None
    valid_from: int | None
    valid_until: int | None
    uses_left: int | None
    status_list_id: str | None
    status_index: int | None
    withdrawal_grade: str | None
    created_at: int
    decided_at: int | None
    ended_at: int | None
    refuses_automated_decisions: bool = False
    shown_from: int | None = None
    guardian_id: str | None = None

    @property
    def awaits_guardian(self) -> bool:
        """Whether a minor has signed it and the guardian has not yet."""
        return self.state == "requested" and self.signed_copy_id is not None

    def as_published(self, now: int) -> "ConsentRow":
        """The consent as its partner, and whoever has its page's link, may see it at `now`.

        A withdrawal of everything is shown to each partner at a time of its own (decision 0080);
        until then this row reads as it did before. Decisions read the row itself.
        """
        if self.shown_from is None or self.shown_from <= now:
            return self
        return replace(
            self,
            state="granted",
            version=self.version - 1,
            withdrawal_grade=None,
            ended_at=None,
            shown_from=None,
        )


@dataclass(frozen=True)
class Grant:
    """What a grant writes into its consent's row."""

    subject_id: str
    terms: str
    terms_hash: str
    grade: str
    signed_copy_id: str
    valid_from: int
    valid_until: int
    uses_left: int | None
    status_list_id: str
    status_index: int
    guardian_id: str | None


def add_request(tx: Connection, row: ConsentRequestRow) -> None:
    """Store a new consent request."""
    tx.execute(insert(REQUEST).values(**vars(row)))


def add_consent(tx: Connection, row: ConsentRow) -> None:
    """Store a new consent."""
    tx.execute(insert(CONSENT).values(**vars(row)))


def request(tx: Connection, tenant_id: str, request_id: str) -> ConsentRequestRow:
    """A consent request of the tenant; raises `NotFound`."""
    row = tx.execute(
        select(REQUEST).where(REQUEST.c.id == request_id, REQUEST.c.tenant_id == tenant_id)
    ).one_or_none()
    if row is None:
        raise NotFound("no such consent request")
    return as_request(row)


def request_by_page(tx: Connection, tenant_id: str, page_token_hash: str) -> ConsentRequestRow:
    """The consent request of a page; raises `NotFound`."""
    row = tx.execute(
        select(REQUEST).where(
            REQUEST.c.page_token_hash == page_token_hash, REQUEST.c.tenant_id == tenant_id
        )
    ).one_or_none()
    if row is None:
        raise NotFound("no such page: the link may be incomplete, or what it led to was erased")
    return as_request(row)


def set_request_state(tx: Connection, request_id: str, before: Sequence[str], after: str) -> bool:
    """Move a request from one of `before` to `after`; False when it was in none of them."""
    changed = tx.execute(
        update(REQUEST)
        .where(REQUEST.c.id == request_id, REQUEST.c.state.in_(before))
        .values(state=after)
    )
    return changed.rowcount == 1


def consent(tx: Connection, tenant_id: str, consent_id: str) -> ConsentRow:
    """A consent of the tenant; raises `NotFound`."""
    for row in _FIND.rows(tx, {"b_id": consent_id, "b_tenant": tenant_id}):
        # The driver's own values: SQLite has no booleans.
        return replace(ConsentRow(*row), refuses_automated_decisions=bool(row[_REFUSES]))
    raise NotFound("no such consent")


def of_request(tx: Connection, request_id: str) -> list[ConsentRow]:
    """The consents of a request, in the template's order (that of creation)."""
    rows = tx.execute(
        select(CONSENT)
        .where(CONSENT.c.request_id == request_id)
        .order_by(CONSENT.c.created_at, CONSENT.c.id)
    )
    return [_consent(row) for row in rows]


def terms_of(tx: Connection, consent_ids: Collection[str]) -> dict[str, str]:
    """The terms (JSON text) of consents by their ids; empty where they were erased."""
    rows = tx.execute(select(CONSENT.c.id, CONSENT.c.terms).where(CONSENT.c.id.in_(consent_ids)))
    return {row.id: row.terms for row in rows}


def grant(tx: Connection, consent_id: str, change: Transition, given: Grant, now: int) -> None:
    """Write a grant; raises `StateConflict` when the consent has left the expected state."""
    _swap(tx, consent_id, change, decided_at=now, **vars(given))


def sign_first(
    tx: Connection, consent_id: str, *, terms: str, terms_hash: str, signed_copy_id: str
) -> None:
    """Note that a minor has signed these terms, and that the guardian is to sign the same.

    Raises `StateConflict` when that was done before, or the consent is not requested.
    """
    done = tx.execute(
        update(CONSENT)
        .where(
            CONSENT.c.id == consent_id,
            CONSENT.c.state == "requested",
            CONSENT.c.signed_copy_id.is_(None),
        )
        .values(
            terms=terms,
            terms_hash=terms_hash,
            signed_copy_id=signed_copy_id,
            version=CONSENT.c.version + 1,
        )
    )
    if done.rowcount != 1:
        raise StateConflict("the consent was signed or answered before")


def move(
    tx: Connection,
    consent_id: str,
    change: Transition,
    now: int,
    *,
    withdrawal_grade: str | None = None,
    shown_from: int | None = None,
) -> None:
    """Write a change of state; raises `StateConflict` when the state is not as expected.

    Its partner may see it from `shown_from` on, at once when None. What lies in a vault under a
    consent that ends is deleted from then on; decisions deny it before.
    """
    columns: dict[str, Any] = (
        {"decided_at": now} if change.before == "requested" else {"ended_at": now}
    )
    if withdrawal_grade is not None:
        columns["withdrawal_grade"] = withdrawal_grade
    if shown_from is not None:
        columns["shown_from"] = shown_from
    _swap(tx, consent_id, change, **columns)
    if change.before == "granted":
        vault.end(tx, consent_id, now if shown_from is None else shown_from)
        data_requests.end(tx, consent_id)


def set_refusal(tx: Connection, consent_id: str, *, refused: bool) -> bool:
    """Refuse decisions by a program alone, or allow them; False where it is so already.

    Only of a granted consent. Decisions notice by its version.
    """
    done = tx.execute(
        update(CONSENT)
        .where(
            CONSENT.c.id == consent_id,
            CONSENT.c.state == "granted",
            CONSENT.c.refuses_automated_decisions.is_not(refused),
        )
        .values(refuses_automated_decisions=refused, version=CONSENT.c.version + 1)
    )
    return done.rowcount == 1


def live_twins(tx: Connection, row: ConsentRow, template_id: str) -> list[ConsentRow]:
    """Granted consents of the same contact, partner, template and item."""
    rows = tx.execute(
        select(CONSENT)
        .join(REQUEST, REQUEST.c.id == CONSENT.c.request_id)
        .where(
            CONSENT.c.contact_id == row.contact_id,
            CONSENT.c.partner_id == row.partner_id,
            CONSENT.c.state == "granted",
            CONSENT.c.item == row.item,
            CONSENT.c.id != row.id,
            REQUEST.c.template_id == template_id,
        )
    )
    return [_consent(found) for found in rows]


def granted_of_subjects(
    tx: Connection, tenant_id: str, subject_ids: Collection[str]
) -> list[ConsentRow]:
    """Customers' granted consents to all partners; none changes before the transaction ends.

    Always in the same order, so that two who end them at once wait for each other.
    """
    rows = tx.execute(
        select(CONSENT)
        .where(
            CONSENT.c.subject_id.in_(subject_ids),
            CONSENT.c.tenant_id == tenant_id,
            CONSENT.c.state == "granted",
        )
        .order_by(CONSENT.c.id)
        .with_for_update()
    )
    return [_consent(row) for row in rows]


def granted_contacts(
    tx: Connection, partner_id: str, since: str, limit: int
) -> list[tuple[str, str]]:
    """Contacts from `since` on that have granted a partner anything, each with such a consent."""
    rows = tx.execute(
        select(CONSENT.c.contact_id, func.min(CONSENT.c.id))
        .where(
            CONSENT.c.partner_id == partner_id,
            CONSENT.c.state == "granted",
            CONSENT.c.contact_id >= since,
        )
        .group_by(CONSENT.c.contact_id)
        .order_by(CONSENT.c.contact_id)
        .limit(limit)
    )
    return [(contact_id, consent_id) for contact_id, consent_id in rows]


def due(tx: Connection, now: int, limit: int) -> list[ConsentRow]:
    """Granted consents whose validity is over, but for what others hold now; held until `tx` ends.

    Whoever waited for some while they hold others could wait for ever.
    """
    over = select(CONSENT).where(GRANTED, CONSENT.c.valid_until <= now)
    chosen = over.order_by(CONSENT.c.valid_until).limit(limit)
    rows = tx.execute(chosen.with_for_update(skip_locked=True, key_share=True))
    return [_consent(row) for row in rows]


def _swap(tx: Connection, consent_id: str, change: Transition, **columns: Any) -> None:  # noqa: ANN401
    done = tx.execute(
        update(CONSENT)
        .where(CONSENT.c.id == consent_id, CONSENT.c.state == str(change.before))
        .values(state=str(change.after), version=CONSENT.c.version + 1, **columns)
    )
    if done.rowcount != 1:
        raise StateConflict(f"the consent is no longer {change.before}: another act came first")


# Read for each withdrawal: building a statement takes longer than executing it.
_FIELDS = tuple(field.name for field in fields(ConsentRow))
_REFUSES = _FIELDS.index("refuses_automated_decisions")
_FIND = Prepared(
    select(*(CONSENT.c[name] for name in _FIELDS)).where(
        CONSENT.c.id == bindparam("b_id"), CONSENT.c.tenant_id == bindparam("b_tenant")
    )
)


def as_request(row: Row[Any]) -> ConsentRequestRow:
    """The row of a consent request, of all its columns."""
    return ConsentRequestRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def _consent(row: Row[Any]) -> ConsentRow:
    return ConsentRow(**row._mapping)  # noqa: SLF001
