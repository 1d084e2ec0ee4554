"""`consent-broker vault`: what lies in customers' vaults, whether it is whole, what has to go."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from broker.cli.composed import REFUSED, Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.store import registry
from broker.store import vault as rows
from broker.usecases import vault_upkeep
from broker.usecases.vault_register import vault_names

vault = typer.Typer(
    help="Vaults with what customers sealed to partners. 客户保险库。", no_args_is_help=True
)


@vault.command("list")
def vault_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the vaults, and how much lies in each. 列出保险库及其内容数量。

    ending: the consent is over and the envelope waits to be deleted. deleted: it is gone, and the
    log says so.
    """
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        figures = rows.figures(tx, tenant)
        names = vault_names()
    told = [
        {
            "vault": name,
            **{
                state: {"envelopes": count, "bytes": size}
                for vault_name, state, count, size in figures
                if vault_name == name
            },
        }
        for name in dict.fromkeys((*names, *(figure[0] for figure in figures)))
    ]
    if as_json:
        typer.echo(json.dumps(told))
        return
    for one in told:
        typer.echo(str(one["vault"]))
        for name, state, count, size in figures:
            if name == one["vault"]:
                typer.echo(f"  {state:8}  {count:8} envelopes  {size:12} bytes")


@vault.command("check")
def vault_check(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Read every envelope and compare it with its digests. 逐一核对保险库内容。

    Exit code 1 when one is damaged or its vault does not answer. Nothing is opened: it cannot be.
    """
    with composed() as ctx:
        with ctx.db.reading() as tx:
            registry.tenant(tx, tenant)
            total = sum(
                count for _, state, count, _ in rows.figures(tx, tenant) if state == "stored"
            )
        with _progress("check 核对", quiet=as_json) as progress:
            task = progress.add_task("", total=total)
            count, damaged = vault_upkeep.check(ctx, tenant, lambda _row: progress.advance(task))
    if as_json:
        typer.echo(json.dumps({"checked": count, "damaged": [asdict(one) for one in damaged]}))
    else:
        for one in damaged:
            typer.echo(
                f"{one.code}  {one.vault}  {one.envelope_id}  {one.consent_id}  {one.attribute}"
            )
        typer.echo(f"{count} envelopes checked, {len(damaged)} damaged or out of reach")
    if damaged:
        raise typer.Exit(REFUSED)


@vault.command("sweep")
def vault_sweep(
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing. 不输出。")] = False,
) -> None:
    """Delete what is due now, of every tenant; a serving broker does it every 30 s. 立即清理。"""
    with composed() as ctx:
        done = vault_upkeep.delete_due(ctx)
    if as_json:
        typer.echo(json.dumps({"deleted": done}))
    elif not quiet:
        typer.echo(f"{done} envelopes deleted")


def _progress(what: str, *, quiet: bool) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty())
