"""The channel fee: charged with the decision that it is for, told by month, checked by the log.

A charge has an entry of its own, under the tenant's log key and without a name of the customer: it
can be checked after the customer was erased, and neither their export nor their partner's evidence
tells what a use was worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from broker.domain.errors import LogError
from broker.domain.fee import (
    INCOME,
    Charge,
    DeclaredValue,
    Due,
    Month,
    Sums,
    Tariff,
    owed_by,
    read_currency,
    read_rate,
    settle,
)
from broker.store import fees, partners, registry
from broker.store.fees import Logged
from broker.usecases import audit
from broker.usecases.context import Context, at_one_moment


@dataclass(frozen=True)
class Statement:
    """A month's fees, of one partner or of all; `final` once the month is over.

    `names` are the partners' by id. `balances` is each account's: what partners owe is above zero,
    what was earned below it, and together they are zero.
    """

    month: Month
    final: bool
    lines: tuple[Sums, ...]
    dues: tuple[Due, ...]
    names: Mapping[str, str]

    @property
    def balances(self) -> dict[tuple[str, str], int]:
        """Millionths by account and currency."""
        found: dict[tuple[str, str], int] = {}
        for one in self.dues:
            for account, amount in ((owed_by(one.partner), one.amount), (INCOME, -one.amount)):
                key = (account, one.currency)
                found[key] = found.get(key, 0) + amount
        return found


@dataclass(frozen=True)
class Difference:
    """Where log and ledger disagree: about which entry, and how (one short, stable word)."""

    entry: str
    what: str
    partner: str | None = None
    field: str | None = None


@dataclass(frozen=True)
class Reconciliation:
    """A month's charges computed again from the log, and where the ledger tells otherwise."""

    month: Month
    entries: int
    amounts: Mapping[tuple[str, str], int]
    """Millionths by partner and currency, as the log's entries have them."""
    differences: tuple[Difference, ...]


def charge(
    ctx: Context,
    tx: Connection,
    *,
    tenant_id: str,
    decision_id: str,
    partner_id: str,
    purpose: str,
    value: DeclaredValue,
    tariff: Tariff,
) -> Charge:
    """Charge for a permit, in its own transaction; the entry and the row have one time."""
    moment = at_one_moment(ctx)
    made = Charge(
        id="",
        decision=decision_id,
        partner=partner_id,
        purpose=purpose,
        value=value.millionths,
        currency=value.currency,
        rate=tariff.rate,
        amount=tariff.fee(value),
        debit=owed_by(partner_id),
        credit=INCOME,
        time=moment.now(),
    )
    entry_id = audit.record(
        moment, tx, tenant_id=tenant_id, type=fees.CHARGED_TYPE, body=made.to_body()
    )
    made = replace(made, id=entry_id)
    fees.add(tx, tenant_id, made)
    return made


def tariff_of(ctx: Context, tenant_id: str) -> Tariff:
    """A tenant's tariff; raises `NotFound`."""
    with ctx.db.reading() as tx:
        return fees.tariff(tx, tenant_id)


def set_tariff(ctx: Context, tenant_id: str, *, percent: str, currency: str) -> Tariff:
    """Set what the channel costs from the next decision on; what was charged stays.

    Raises `InvalidRequest`, `NotFound` (tenant).
    """
    chosen = Tariff(read_rate(percent), read_currency(currency))
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        fees.set_tariff(tx, tenant_id, chosen)
        body = {"rate": chosen.rate, "currency": chosen.currency}
        audit.record(ctx, tx, tenant_id=tenant_id, type="fee.tariff", body=body)
    return chosen


def statement(ctx: Context, tenant_id: str, month: Month, partner_id: str | None) -> Statement:
    """A month's statement, of one partner or (None) of all.

    Raises `NotFound` (tenant), `UnknownPartner`.
    """
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        if partner_id is not None:
            rows = [partners.find(tx, tenant_id, partner_id)]
        else:
            rows = partners.of_tenant(tx, tenant_id)
        lines = fees.sums(tx, tenant_id, month, partner_id)
    return Statement(
        month=month,
        final=ctx.now() >= month.until,
        lines=tuple(lines),
        dues=tuple(settle(lines)),
        names={row.id: row.name for row in rows},
    )


def reconcile(ctx: Context, tenant_id: str, month: Month) -> Reconciliation:
    """Compute a month's charges again from the log's entries, and compare each with the ledger.

    Raises `NotFound` (tenant).
    """
    count, amounts, differences = 0, dict[tuple[str, str], int](), list[Difference]()
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        for page in fees.logged(tx, tenant_id, month):
            told = [(one, _told(ctx, tx, one)) for one in page]
            known = fees.decided(tx, tenant_id, [one.decision for _, one in told if one])
            count += len(page)
            for found, entry in told:
                differences.extend(_differences(found, entry, known))
                if entry is not None:
                    key = (entry.partner, entry.currency)
                    amounts[key] = amounts.get(key, 0) + entry.computed
        differences.extend(
            Difference(row.id, "not_in_the_log", row.partner)
            for row in fees.not_logged(tx, tenant_id, month)
        )
    return Reconciliation(month, count, amounts, tuple(differences))


def _told(ctx: Context, tx: Connection, found: Logged) -> Charge | None:
    """The charge that the log tells of, if its entry opens and has the form of one."""
    sealed = found.sealed
    try:
        entry = ctx.keys.log_key(tx, sealed.tenant_id, sealed.subject_id).open(sealed)
    except LogError:
        return None
    return Charge.from_body(entry.id, entry.time, entry.body)


def _differences(found: Logged, entry: Charge | None, decisions: set[str]) -> list[Difference]:
    entry_id, row = found.sealed.id, found.row
    if entry is None:
        return [Difference(entry_id, "entry_unreadable", row.partner if row else None)]
    said: list[Difference] = []
    if entry.amount != entry.computed:
        said.append(Difference(entry_id, "amount_wrong", entry.partner))
    if entry.decision not in decisions:
        said.append(Difference(entry_id, "no_such_decision", entry.partner))
    if row is None:
        return [*said, Difference(entry_id, "not_in_the_ledger", entry.partner)]
    return [
        *said,
        *(
            Difference(entry_id, "ledger_differs", entry.partner, name)
            for name in Charge.__slots__
            if getattr(row, name) != getattr(entry, name)
        ),
    ]
