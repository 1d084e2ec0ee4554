"""The channel fee: what it costs, each month's statement, and its check against the log."""

import csv
import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import AnyCaller, Ctx, OfficerCaller
from broker.domain.errors import Forbidden
from broker.domain.fee import Tariff, exact, percentage, read_month
from broker.domain.spreadsheet import plain
from broker.usecases import fee
from broker.usecases.fee import Reconciliation, Statement

router = APIRouter(tags=["fees"])

NO_STORE = {"Cache-Control": "no-store"}
CSV = "text/csv"
COLUMNS = (
    "month",
    "partner",
    "name",
    "currency",
    "purpose",
    "rate_percent",
    "uses",
    "value",
    "fee",
)
_EXACT = "Exact decimal text, in the currency's unit."
Month = Annotated[
    str, Query(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="Like 2026-11, in UTC.")
]


class TariffOut(BaseModel):
    """What the channel costs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"rate_percent": "0.3", "currency": "CNY"}]}
    )
    rate_percent: str = Field(description="Of the value that is declared for a use.")
    currency: str = Field(description="ISO 4217; values in another are denied.")


class LineOut(BaseModel):
    """What one partner used for one purpose at one rate."""

    partner: str
    currency: str
    purpose: str
    rate_percent: str
    uses: int
    value: str = Field(description=_EXACT)
    fee: str = Field(description=_EXACT)


class DueOut(BaseModel):
    """What one partner owes in one currency."""

    partner: str
    name: str
    currency: str
    uses: int
    value: str = Field(description=_EXACT)
    fee: str = Field(description=_EXACT)
    due: str = Field(description="Rounded once, half to even, to what the currency has.")


class BalanceOut(BaseModel):
    """An account's balance; in each currency they add up to nothing."""

    account: str
    currency: str
    balance: str = Field(description=_EXACT)


class StatementOut(BaseModel):
    """A month's fees."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "month": "2026-11",
                    "final": True,
                    "dues": [
                        {
                            "partner": "p-4k2vq7r3w5x6y2z4a3b5",
                            "name": "Coffee",
                            "currency": "CNY",
                            "uses": 2,
                            "value": "25.00",
                            "fee": "0.075",
                            "due": "0.08",
                        }
                    ],
                    "lines": [
                        {
                            "partner": "p-4k2vq7r3w5x6y2z4a3b5",
                            "currency": "CNY",
                            "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
                            "rate_percent": "0.3",
                            "uses": 2,
                            "value": "25.00",
                            "fee": "0.075",
                        }
                    ],
                    "balances": [
                        {
                            "account": "receivable:p-4k2vq7r3w5x6y2z4a3b5",
                            "currency": "CNY",
                            "balance": "0.075",
                        },
                        {
                            "account": "income:channel-fees",
                            "currency": "CNY",
                            "balance": "-0.075",
                        },
                    ],
                }
            ]
        }
    )
    month: str
    final: bool = Field(description="False while the month goes on.")
    dues: list[DueOut]
    lines: list[LineOut]
    balances: list[BalanceOut]


class DifferenceOut(BaseModel):
    """Where log and ledger disagree."""

    entry: str = Field(description="The entry of the log, or that a row of the ledger names.")
    what: str = Field(
        description="`not_in_the_ledger`, `not_in_the_log`, `ledger_differs` (with `field`), "
        "`amount_wrong`, `no_such_decision`, `entry_unreadable`."
    )
    partner: str | None
    field: str | None


class AmountOut(BaseModel):
    """What the log's entries come to."""

    partner: str
    currency: str
    fee: str = Field(description=_EXACT)


class ReconciliationOut(BaseModel):
    """A month's charges, computed again from the log."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "month": "2026-11",
                    "entries": 2,
                    "amounts": [
                        {"partner": "p-4k2vq7r3w5x6y2z4a3b5", "currency": "CNY", "fee": "0.075"}
                    ],
                    "differences": [],
                }
            ]
        }
    )
    month: str
    entries: int = Field(description="How many charges the log has.")
    amounts: list[AmountOut]
    differences: list[DifferenceOut]


@router.get("/v1/fees/tariff")
def get_tariff(ctx: Ctx, caller: AnyCaller) -> TariffOut:
    """What the channel costs, and in which currency values are declared."""
    return tariff_out(fee.tariff_of(ctx, caller.tenant_id))


@router.get(
    "/v1/fees/statement",
    response_model=StatementOut,
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}}},
)
def get_statement(
    ctx: Ctx,
    caller: AnyCaller,
    month: Month,
    partner: Annotated[
        str | None, Query(min_length=1, max_length=64, description="For officers: this one alone.")
    ] = None,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """A month's fees: a partner's own, or for officers those of all partners or of one."""
    if caller.role == "partner":
        if partner not in {None, caller.client_id}:
            raise Forbidden("a partner reads its own statement only")
        partner = caller.client_id
    found = fee.statement(ctx, caller.tenant_id, read_month(month), partner)
    if form == "csv":
        return Response(statement_csv(found), media_type=CSV, headers=NO_STORE)
    body = statement_out(found).model_dump_json()
    return Response(body, media_type="application/json", headers=NO_STORE)


@router.get("/v1/fees/reconciliation")
def get_reconciliation(ctx: Ctx, officer: OfficerCaller, month: Month) -> ReconciliationOut:
    """Compute a month's charges again from the log, and name where the ledger differs. Officers."""
    return reconciliation_out(fee.reconcile(ctx, officer.tenant_id, read_month(month)))


def tariff_out(tariff: Tariff) -> TariffOut:
    """The wire form of a tariff."""
    return TariffOut(rate_percent=percentage(tariff.rate), currency=tariff.currency)


def statement_out(found: Statement) -> StatementOut:
    """The wire form of a statement."""
    return StatementOut(
        month=found.month.name,
        final=found.final,
        dues=[
            DueOut(
                partner=one.partner,
                name=found.names[one.partner],
                currency=one.currency,
                uses=one.uses,
                value=exact(one.value),
                fee=exact(one.amount),
                due=one.due,
            )
            for one in found.dues
        ],
        lines=[
            LineOut(
                partner=one.partner,
                currency=one.currency,
                purpose=one.purpose,
                rate_percent=percentage(one.rate),
                uses=one.uses,
                value=exact(one.value),
                fee=exact(one.amount),
            )
            for one in found.lines
        ],
        balances=[
            BalanceOut(
                account=account,
                currency=currency,
                balance=("-" if amount < 0 else "") + exact(abs(amount)),
            )
            for (account, currency), amount in found.balances.items()
        ],
    )


def statement_csv(found: Statement) -> str:
    """A statement's lines as CSV (RFC 4180), and the sum that is due for each partner at its end.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    out = io.StringIO()
    written = csv.writer(out)
    written.writerow(COLUMNS)
    told = statement_out(found)
    rows: list[tuple[Any, ...]] = [
        (
            line.partner,
            line.currency,
            line.purpose,
            line.rate_percent,
            line.uses,
            line.value,
            line.fee,
        )
        for line in told.lines
    ]
    rows += [
        (one.partner, one.currency, "due", "", one.uses, one.value, one.due) for one in told.dues
    ]
    for partner, *rest in rows:
        row = (told.month, partner, found.names[partner], *rest)
        written.writerow([plain(value) for value in row])
    return out.getvalue()


def reconciliation_out(found: Reconciliation) -> ReconciliationOut:
    """The wire form of a reconciliation."""
    return ReconciliationOut(
        month=found.month.name,
        entries=found.entries,
        amounts=[
            AmountOut(partner=partner, currency=currency, fee=exact(amount))
            for (partner, currency), amount in found.amounts.items()
        ],
        differences=[
            DifferenceOut(entry=one.entry, what=one.what, partner=one.partner, field=one.field)
            for one in found.differences
        ],
    )
