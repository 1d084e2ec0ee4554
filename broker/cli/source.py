"""`consent-broker source`: systems whose events are taken in."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.composed import USAGE, Json, Tenant, composed, some
from broker.domain.addresses import ROOT_TENANT, tenant_url
from broker.store import registry
from broker.usecases import source as usecases
from broker.usecases.source import ShownSource

source = typer.Typer(
    help="Systems whose signed events are taken in. 事件来源。", no_args_is_help=True
)

LARGEST_SECRET = 200
Name = Annotated[str, typer.Argument(help="Its name, as in its address. 来源名称。")]
SecretFile = Annotated[
    Path | None,
    typer.Option(help="A file with the whsec_ secret that the sender has chosen. 自带密钥的文件。"),
]


@source.command("add")
def add(
    name: Name,
    secret_file: SecretFile = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Take events of a system; prints its address and its secret, once. 登记事件来源。"""
    secret = _secret(secret_file)
    with composed() as ctx:
        shown = usecases.add_source(ctx, tenant, name, secret)
        base = tenant_url(ctx.settings.public_url, tenant)
    _print(shown, f"{base}/v1/events/{name}", as_json=as_json)


@source.command("list")
def list_sources(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the sources, and whose circuit is open. 列出事件来源。"""
    with composed() as ctx:
        with ctx.db.reading() as tx:
            registry.tenant(tx, tenant)
        now, found = ctx.now(), usecases.all_sources(ctx, tenant)
    told = [
        {
            "name": row.name,
            "circuit": _circuit(row.opened, row.open_until, now),
            "reason": row.reason,
            "created_at": row.created_at,
        }
        for row in found
    ]
    if as_json:
        typer.echo(json.dumps(told))
        return
    for one in some(told):
        typer.echo(f"{one['name']}  {one['circuit']}  {one['reason'] or ''}".rstrip())


@source.command("rotate")
def rotate(
    name: Name,
    secret_file: SecretFile = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Take events by a new secret; the older one counts for a day more. 更换密钥。"""
    secret = _secret(secret_file)
    with composed() as ctx:
        shown = usecases.rotate_source(ctx, tenant, name, secret)
        base = tenant_url(ctx.settings.public_url, tenant)
    _print(shown, f"{base}/v1/events/{name}", as_json=as_json)


@source.command("remove")
def remove(name: Name, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Take no events of it any more. 删除事件来源。"""
    with composed() as ctx:
        usecases.remove_source(ctx, tenant, name)
    typer.echo(json.dumps({"removed": name}) if as_json else f"{name} is removed")


def _circuit(opened: int, open_until: int, now: int) -> str:
    if not opened:
        return "closed"
    return "open" if now < open_until else "half open"


def _secret(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        with file.open() as found:
            return found.read(LARGEST_SECRET).strip()
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"consent-broker: cannot read {file}: {type(error).__name__}", err=True)
        raise typer.Exit(USAGE) from None


def _print(shown: ShownSource, address: str, *, as_json: bool) -> None:
    if as_json:
        told = {"name": shown.row.name, "address": address, "secret": shown.secret}
        typer.echo(json.dumps(told))
        return
    typer.echo(f"address  {address}")
    typer.echo(f"secret   {shown.secret}")
    typer.echo("Keep the secret: it is shown this once. The sender signs with it.")
