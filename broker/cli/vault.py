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
from broker.domain.errors import VaultUnreachable
from broker.outbound.vaults import Lying
from broker.store import registry
from broker.store import vault as rows
from broker.usecases import vault_upkeep
from broker.usecases.context import Context
from broker.usecases.vault_register import LOCAL, claim_vault, vault_names

DAY_SECONDS = 86_400

vault = typer.Typer(
    help="Vaults with what customers sealed to partners. 客户保险库。", no_args_is_help=True
)


@vault.command("init")
def vault_init(
    name: Annotated[str, typer.Argument(help="The vault. 保险库名称。")] = LOCAL,
    empty: Annotated[
        bool,
        typer.Option(
            "--empty", help="What lay there is lost: begin anew. 原内容已丢失，重新开始。"
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Mark a vault as this broker's, once: BROKER_VAULT_ROOT, or one of BROKER_VAULTS. 标记保险库。

    Of a share run it while that is mounted: without the marker nothing is put into a vault, and
    nothing that is missing counts as deleted. The folder below BROKER_HOME is marked by itself.
    """
    with composed() as ctx:
        claim_vault(ctx, name, empty=empty)
    typer.echo(json.dumps({"vault": name}) if as_json else f"{name} is marked")


@vault.command("list")
def vault_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the vaults, and how much lies in each. 列出保险库及其内容数量。

    ending: the consent is over and the envelope waits to be deleted. deleted: it is gone, and the
    log says so.
    """
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        figures = rows.figures(tx, tenant)
        names = vault_names(ctx)
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
    Strays, files that no row names, are listed and no fault: vault sweep --strays deletes them.
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
        unnamed, silent = _strays(ctx, tenant)
    if as_json:
        told = {
            "checked": count,
            "damaged": [asdict(one) for one in damaged],
            "strays": [{"vault": name, **asdict(one)} for name, one in unnamed],
            "unreachable": silent,
        }
        typer.echo(json.dumps(told))
    else:
        for one in damaged:
            typer.echo(
                f"{one.code}  {one.vault}  {one.envelope_id}  {one.consent_id}  {one.attribute}"
            )
        for name, stray in unnamed:
            typer.echo(f"stray  {name}  {stray.path}")
        for name in silent:
            typer.echo(f"vault_unreachable  {name}")
        typer.echo(
            f"{count} envelopes checked, {len(damaged)} damaged or out of reach, "
            f"{len(unnamed)} strays"
        )
    if damaged or silent:
        raise typer.Exit(REFUSED)


@vault.command("sweep")
def vault_sweep(
    strays: Annotated[
        int | None,
        typer.Option(
            "--strays",
            metavar="DAYS",
            min=0,
            help="Also delete files older than so many days that no row names. 同时删除孤立文件。",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing. 不输出。")] = False,
) -> None:
    """Delete what is due now, of every tenant; a serving broker does it every 30 s. 立即清理。

    --strays is for after a restored backup, once you know that it is the right one: what is newer
    than the database nobody can be given any more.
    """
    with composed() as ctx:
        told = {"deleted": vault_upkeep.delete_due(ctx)}
        if strays is not None:
            before = ctx.now() - strays * DAY_SECONDS
            told["strays"] = sum(
                vault_upkeep.delete_strays(ctx, name, before) for name in vault_names(ctx)
            )
    if as_json:
        typer.echo(json.dumps(told))
    elif not quiet:
        typer.echo(f"{told['deleted']} envelopes deleted")
        if "strays" in told:
            typer.echo(f"{told['strays']} strays deleted")


def _strays(ctx: Context, tenant: str) -> tuple[list[tuple[str, Lying]], list[str]]:
    """A tenant's strays by vault, and which vaults do not answer."""
    found: list[tuple[str, Lying]] = []
    silent = []
    for name in vault_names(ctx):
        try:
            every = vault_upkeep.strays(ctx, name)
            found += [(name, one) for one in every if one.path.startswith(f"{tenant}/")]
        except VaultUnreachable:
            silent.append(name)
    return found, silent


def _progress(what: str, *, quiet: bool) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty())
