"""`consent-broker log`: how the log stands, and what to do when it was rolled back."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.composed import REFUSED, USAGE, Json, composed
from broker.store import log_tree
from broker.store.outside_copies import FILE_NAME
from broker.usecases import recovery
from broker.usecases.recovery import Rollback

log = typer.Typer(help="The audit log, and its recovery. 审计日志。", no_args_is_help=True)


@log.command()
def status(as_json: Json = False) -> None:
    """Say whether the log extends the head that was signed last; exit 1 when not. 日志状态。"""
    with composed() as ctx:
        found = recovery.rollback(ctx)
        with ctx.db.reading() as tx:
            head = log_tree.head(tx)
        size = head.size if head else 0
    if found is not None:
        typer.echo(json.dumps(_told(found)) if as_json else _sentence(found))
        raise typer.Exit(REFUSED)
    told = {"rolled_back": False, "size": size}
    typer.echo(json.dumps(told) if as_json else f"the log is sound, {size} entries")


@log.command()
def adopt() -> None:
    """Take this database's newest checkpoint for the last one: on a new machine. 采用日志头。

    Only when it is sure that no newer database exists: whoever could be wrong restores the file
    log-head from the machine before instead.
    """
    with composed() as ctx:
        ctx.log.adopt()
    typer.echo("this machine goes on from the database's newest checkpoint")


@log.command()
def recover(
    withdrawals: Annotated[
        list[Path] | None,
        typer.Option(
            help="A copy of the file of withdrawals, of each machine; that of BROKER_HOME always."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--after", help="The size of the old head, as a confirmation; else asked."),
    ] = None,
) -> None:
    """After an old backup was restored: withdraw and erase again, under a new origin. 恢复日志。

    Stop every broker of this database first. Consents that were granted after the backup are lost
    and have to be asked for again; withdrawals and erasures since then are replayed from the files
    outside.
    """
    with composed() as ctx:
        found = recovery.rollback(ctx)
        if found is None:
            typer.echo("the log extends its last signed head: there is nothing to recover")
            return
        typer.echo(_sentence(found))
        said = (
            typer.prompt("Type the size of that head to go on", type=int) if size is None else size
        )
        if said != found.signed.size:
            typer.echo("nothing was changed: that is not its size", err=True)
            raise typer.Exit(USAGE)
        own = ctx.settings.home / FILE_NAME
        copies = [*(withdrawals or []), *([own] if own.exists() else [])]
        try:
            done = recovery.recover(ctx, copies)
        except OSError as error:
            typer.echo(f"cannot read {error.filename}: {error.strerror}", err=True)
            raise typer.Exit(USAGE) from None
    typer.echo(
        f"{done.withdrawn} consents were withdrawn again; {done.unknown} withdrawals were of "
        f"consents that the backup does not know; {done.erased} customers were erased again.\n"
        f"The log goes on as {done.origin}: hand out a "
        "new trust file (consent-broker trust export)."
    )


def _told(found: Rollback) -> dict[str, object]:
    return {
        "rolled_back": True,
        "reason": found.reason,
        "size": found.size,
        "signed_size": found.signed.size,
        "signed_origin": found.signed.origin,
    }


def _sentence(found: Rollback) -> str:
    return (
        f"the log was rolled back: {found.reason}\n"
        f"signed last: {found.signed.origin}, {found.signed.size} entries; "
        f"in the database: {found.size}"
    )
