"""`consent-broker fee`: what the channel costs, each month's statement, its check by the log."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.api.fees import (
    StatementOut,
    reconciliation_out,
    statement_csv,
    statement_out,
    tariff_out,
)
from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.domain.fee import month_of, read_month
from broker.usecases import fee as usecases
from broker.usecases.fee import Statement
from broker.web.documents import document

fee = typer.Typer(
    help="The channel fee of declared values: tariff, statements, checks. 渠道费。",
    no_args_is_help=True,
)

Month = Annotated[
    str | None, typer.Option("--month", help="Like 2026-11, in UTC; else this one. 月份。")
]


@fee.command("tariff")
def tariff(
    rate: Annotated[
        str | None, typer.Option("--rate", help="Percent of the declared value, like 0.3. 费率。")
    ] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", help="ISO 4217, like CNY. 币种。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Show what the channel costs, or set it from the next decision on. 查看或设定费率。

    What is not named stays. What was charged stays too: each charge tells its own rate.
    """
    with composed() as ctx:
        found = tariff_out(usecases.tariff_of(ctx, tenant))
        if rate is not None or currency is not None:
            found = tariff_out(
                usecases.set_tariff(
                    ctx,
                    tenant,
                    percent=found.rate_percent if rate is None else rate,
                    currency=currency or found.currency,
                )
            )
    if as_json:
        typer.echo(found.model_dump_json())
        return
    typer.echo(f"{found.rate_percent} % of the declared value, in {found.currency}")


@fee.command("statement")
def statement(
    month: Month = None,
    partner: Annotated[
        str | None, typer.Option("--partner", help="This partner alone. 仅此合作方。")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it here: .csv, .html or .json. 输出文件。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """What each partner owes for a month, rounded once. 月度结算单。"""
    if out is not None and out.suffix not in {".csv", ".html", ".json"}:
        typer.echo("consent-broker: --out ends in .csv, .html or .json", err=True)
        raise typer.Exit(USAGE)
    with composed() as ctx:
        chosen = month_of(ctx.now()) if month is None else read_month(month)
        found = usecases.statement(ctx, tenant, chosen, partner)
    told = statement_out(found)
    if out is not None:
        _write(out, found, told)
    if as_json:
        typer.echo(told.model_dump_json())
        return
    for one in told.dues:
        typer.echo(
            f"{one.partner}  {one.due:>14} {one.currency}  {one.uses} uses worth {one.value}  "
            f"{one.name}"
        )
    state = "" if told.final else ", which is not over"
    typer.echo(f"{told.month}{state}: {len(told.dues)} to pay" + (f", in {out}" if out else ""))


@fee.command("reconcile")
def reconcile(month: Month = None, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Compute a month's charges again from the log; exit 1 for differences. 与日志对账。"""
    with composed() as ctx:
        chosen = month_of(ctx.now()) if month is None else read_month(month)
        found = reconciliation_out(usecases.reconcile(ctx, tenant, chosen))
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        for one in found.differences:
            about = " ".join(filter(None, (one.what, one.field)))
            typer.echo(f"{one.entry}  {about}  {one.partner or ''}".rstrip())
        for amount in found.amounts:
            typer.echo(f"{amount.partner}  {amount.fee} {amount.currency}")
        count = len(found.differences)
        typer.echo(f"{found.month}: {found.entries} charges in the log, {count} differences")
    if found.differences:
        raise typer.Exit(REFUSED)


def _write(out: Path, found: Statement, told: StatementOut) -> None:
    if out.suffix == ".csv":
        # The mark by which spreadsheets read UTF-8, for the Chinese names.
        data = "\ufeff" + statement_csv(found)
    elif out.suffix == ".html":
        data = document("fees.html", {"statement": told})
    else:
        data = json.dumps(told.model_dump(), ensure_ascii=False, indent=2)
    try:
        out.write_text(data, encoding="utf-8", newline="")
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {out}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
