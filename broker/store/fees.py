"""Rows of tariffs and charges: what a tenant's channel costs, and what its partners owe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    exists,
    func,
    insert,
    select,
    update,
)

from broker.domain.entry import SealedEntry
from broker.domain.errors import NotFound
from broker.domain.fee import MILLION, USUAL, Charge, Month, Sums, Tariff
from broker.store import tables
from broker.store.audit import ENTRY, PENDING, sealed_entry
from broker.store.prepared import Prepared
from broker.store.tables.log import CHARGED

FEE = tables.FeeCharge.__table__  # type: ignore[attr-defined]
TENANT = tables.Tenant.__table__  # type: ignore[attr-defined]

CHARGED_TYPE = "fee.charged"
PAGE = 500

_TARIFF = Prepared(
    select(TENANT.c.fee_rate, TENANT.c.fee_currency).where(TENANT.c.id == bindparam("tenant_id"))
)


@dataclass(frozen=True)
class Logged:
    """An entry of a charge as the log has it, and the charge's row; either may be missing."""

    sealed: SealedEntry
    row: Charge | None


def tariff(tx: Connection, tenant_id: str) -> Tariff:
    """A tenant's tariff; raises `NotFound`."""
    rows = _TARIFF.rows(tx, {"tenant_id": tenant_id})
    if not rows:
        raise NotFound("no such tenant")
    rate, currency = rows[0]
    return USUAL if rate is None or currency is None else Tariff(rate, currency)


def set_tariff(tx: Connection, tenant_id: str, chosen: Tariff) -> None:
    """Put a tariff in place of the earlier one; decisions notice by the tenant's version."""
    tx.execute(
        update(TENANT)
        .where(TENANT.c.id == tenant_id)
        .values(fee_rate=chosen.rate, fee_currency=chosen.currency, version=TENANT.c.version + 1)
    )


def add(tx: Connection, tenant_id: str, charge: Charge) -> None:
    """Write a charge; the database takes one for each decision."""
    tx.execute(insert(FEE).values(tenant_id=tenant_id, **_values(charge)))


def sums(tx: Connection, tenant_id: str, month: Month, partner_id: str | None) -> list[Sums]:
    """What was charged in a month, to one partner or to all, by partner, currency and purpose."""
    by = (FEE.c.partner_id, FEE.c.currency, FEE.c.purpose, FEE.c.rate)
    found = (
        select(*by, func.count(), *_sum(FEE.c.value), *_sum(FEE.c.amount))
        .where(*_within(tenant_id, month))
        .group_by(*by)
        .order_by(*by)
    )
    if partner_id is not None:
        found = found.where(FEE.c.partner_id == partner_id)
    return [
        Sums(
            partner,
            currency,
            purpose,
            rate,
            uses,
            value=int(units) * MILLION + int(rest),
            amount=int(fees) * MILLION + int(more),
        )
        for partner, currency, purpose, rate, uses, units, rest, fees, more in tx.execute(found)
    ]


def logged(tx: Connection, tenant_id: str, month: Month) -> Iterator[list[Logged]]:
    """The log's entries of a month's charges, each with its row, page by page.

    Those that wait come first: one that gets its index meanwhile is found twice, not missed.
    """
    waiting = (
        select(PENDING)
        .where(
            PENDING.c.tenant_id == tenant_id,
            PENDING.c.type == CHARGED_TYPE,
            PENDING.c.created_at >= month.since,
            PENDING.c.created_at < month.until,
        )
        .order_by(PENDING.c.seq)
    )
    found = [sealed_entry(row) for row in tx.execute(waiting)]
    seen = {one.id for one in found}
    for start in range(0, len(found), PAGE):
        yield _with_rows(tx, found[start : start + PAGE])
    behind = -1
    while True:
        page = tx.execute(
            select(ENTRY)
            # The index of such entries is found by these very words.
            .where(ENTRY.c.tenant_id == tenant_id, CHARGED, ENTRY.c.log_index > behind)
            .where(ENTRY.c.created_at >= month.since, ENTRY.c.created_at < month.until)
            .order_by(ENTRY.c.log_index)
            .limit(PAGE)
        ).all()
        if not page:
            return
        behind = page[-1].log_index
        yield _with_rows(tx, [sealed_entry(row) for row in page if row.id not in seen])


def not_logged(tx: Connection, tenant_id: str, month: Month) -> list[Charge]:
    """Charges of a month without an entry of their own in the log."""
    entries = [
        exists().where(table.c.id == FEE.c.id, table.c.type == CHARGED_TYPE)
        for table in (PENDING, ENTRY)
    ]
    found = select(FEE).where(*_within(tenant_id, month), *(~one for one in entries))
    return [_charge(row) for row in tx.execute(found.order_by(FEE.c.created_at, FEE.c.id))]


def decided(tx: Connection, tenant_id: str, ids: Sequence[str]) -> set[str]:
    """Which of these entries are decisions of the tenant in the log."""
    found: set[str] = set()
    for table in (PENDING, ENTRY):
        chosen = select(table.c.id).where(
            table.c.id.in_(ids), table.c.tenant_id == tenant_id, table.c.type == "decision"
        )
        found.update(tx.execute(chosen).scalars())
    return found


def _with_rows(tx: Connection, found: list[SealedEntry]) -> list[Logged]:
    rows = tx.execute(select(FEE).where(FEE.c.id.in_([one.id for one in found])))
    known = {row.id: _charge(row) for row in rows}
    return [Logged(one, known.get(one.id)) for one in found]


def _within(tenant_id: str, month: Month) -> tuple[ColumnElement[bool], ...]:
    return (
        FEE.c.tenant_id == tenant_id,
        FEE.c.created_at >= month.since,
        FEE.c.created_at < month.until,
    )


def _sum(column: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """A sum in two parts, units and millionths: one of 64 bits would end at nine trillion units."""
    return func.sum(column // MILLION), func.sum(column % MILLION)


def _values(charge: Charge) -> dict[str, Any]:
    values = {name: getattr(charge, name) for name in Charge.__slots__}
    values["decision_id"] = values.pop("decision")
    values["partner_id"] = values.pop("partner")
    values["created_at"] = values.pop("time")
    return values


def _charge(row: Row[Any]) -> Charge:
    values = dict(row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)
    del values["tenant_id"]
    for name, column in (
        ("decision", "decision_id"),
        ("partner", "partner_id"),
        ("time", "created_at"),
    ):
        values[name] = values.pop(column)
    return Charge(**values)
