"""`consent-broker data-source`: outside suppliers of data, each with its checklist."""

import json
from typing import Annotated

import typer

from broker.cli.composed import Json, Tenant, composed, some
from broker.domain.addresses import ROOT_TENANT
from broker.domain.data_source import Basis, Checklist, DataSource
from broker.usecases import data_source as usecases

data_source = typer.Typer(
    help="Outside sources of data, each with a checklist. 外部数据来源及清单。",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="As decisions name it. 来源名称。")]
Title = Annotated[str, typer.Option("--title", help="Who it is, for people. 供人阅读的名称。")]
Purposes = Annotated[
    list[str], typer.Option("--purpose", help="May be given again. 目的（可重复）。")
]
Attributes = Annotated[
    list[str], typer.Option("--attribute", help="What it supplies. 信息项（可重复）。")
]
Retention = Annotated[
    int, typer.Option("--retention-days", help="How long data may be kept. 保存天数。")
]
Recipients = Annotated[
    list[str], typer.Option("--recipient", help="A partner's client id. 接收方（可重复）。")
]
Territories = Annotated[list[str], typer.Option("--territory", help="Like CN. 地区（可重复）。")]
LawfulBasis = Annotated[Basis, typer.Option("--basis", help="Of having the data. 合法性基础。")]
Reference = Annotated[str, typer.Option("--reference", help="The contract. 合同编号。")]
Partner = Annotated[
    str | None, typer.Option("--partner", help="Where it is a partner. 若来源是合作方。")
]
Sole = Annotated[bool, typer.Option("--sole", help="The attributes come from it alone. 唯一来源。")]


@data_source.command("add")
def add(
    name: Name,
    title: Title,
    purposes: Purposes,
    attributes: Attributes,
    retention_days: Retention,
    recipients: Recipients,
    territories: Territories,
    basis: LawfulBasis,
    reference: Reference,
    partner: Partner = None,
    sole: Sole = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Register a source and sign its checklist; denied until it was tried. 登记来源并签署清单。"""
    listed = _checklist(
        purposes, attributes, retention_days, recipients, territories, basis, reference, sole=sole
    )
    with composed() as ctx:
        made = usecases.register(ctx, tenant, name, listed, title=title, partner=partner)
    _print(made, as_json=as_json)


@data_source.command("revise")
def revise(
    name: Name,
    title: Title,
    purposes: Purposes,
    attributes: Attributes,
    retention_days: Retention,
    recipients: Recipients,
    territories: Territories,
    basis: LawfulBasis,
    reference: Reference,
    partner: Partner = None,
    sole: Sole = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Put another checklist in place: it has to be tried again. 修订清单（须重新试运行）。"""
    listed = _checklist(
        purposes, attributes, retention_days, recipients, territories, basis, reference, sole=sole
    )
    with composed() as ctx:
        made = usecases.revise(ctx, tenant, name, listed, title=title, partner=partner)
    _print(made, as_json=as_json)


@data_source.command("close")
def close(name: Name, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Use it no more, from the next decision on; it stays listed. 关闭来源。"""
    with composed() as ctx:
        closed = usecases.close(ctx, tenant, name)
    if as_json:
        typer.echo(json.dumps({"name": name, "closed": closed}))
        return
    typer.echo(f"{name} is closed" + ("" if closed else ", as it was"))


@data_source.command("list")
def list_sources(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the sources with their checklists, whatever their state. 列出外部数据来源。"""
    with composed() as ctx:
        found = usecases.listed(ctx, tenant)
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found], ensure_ascii=False))
        return
    for one in some(found):
        typer.echo(_line(one))


def _checklist(
    purposes: list[str],
    attributes: list[str],
    retention_days: int,
    recipients: list[str],
    territories: list[str],
    basis: Basis,
    reference: str,
    *,
    sole: bool,
) -> Checklist:
    lists = [tuple(dict.fromkeys(one)) for one in (purposes, attributes, recipients, territories)]
    return Checklist(
        lists[0], lists[1], retention_days, lists[2], lists[3], basis, reference, sole=sole
    )


def _print(made: DataSource, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(made.to_json(), ensure_ascii=False))
        return
    typer.echo(_line(made))
    typer.echo(f"Nothing of it is permitted yet: consent-broker sandbox start --source {made.name}")


def _line(one: DataSource) -> str:
    listed = one.checklist
    return (
        f"{one.name}  {one.state:7}  {', '.join(listed.attributes)}  "
        f"for {', '.join(listed.purposes)}  {listed.retention_days} days  "
        f"to {', '.join(listed.recipients)} in {', '.join(listed.territories)}  {listed.reference}"
    )
