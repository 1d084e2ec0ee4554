"""`consent-broker partner` and `officer`: register who calls the API, suspend them."""

import json
from typing import Annotated

import typer

from broker.cli.composed import Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.store import partners, registry
from broker.usecases.partner import (
    NewClient,
    add_officer,
    add_partner,
    set_officer_state,
    set_partner_state,
)

partner = typer.Typer(
    help="Brands that ask for consents. 合作方：申请同意的品牌。", no_args_is_help=True
)
officer = typer.Typer(
    help="Compliance officers, who see full evidence. 合规官。", no_args_is_help=True
)

Name = Annotated[str, typer.Option("--name", help="The name, unique in the tenant. 名称。")]
ClientId = Annotated[str, typer.Argument(help="The client id, like p-4k2vq7... 客户端编号。")]


@partner.command("add")
def partner_add(
    name: Name,
    name_zh: Annotated[str, typer.Option(help="The Chinese name; --name by default.")] = "",
    contact: Annotated[str, typer.Option(help="Where customers reach it; the tenant's.")] = "",
    country: Annotated[str, typer.Option(help="ISO 3166-1 code; the tenant's by default.")] = "",
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Register a partner and print its client id and private JWK, once. 登记合作方。

    The broker keeps the public key only. With the private key the partner signs client assertions
    for POST /oauth/token (private_key_jwt).
    """
    with composed() as ctx:
        with ctx.db.reading() as tx:
            owner = registry.tenant(tx, tenant)
        added = add_partner(
            ctx,
            tenant,
            name=name,
            name_zh=name_zh or name,
            contact=contact or owner.contact,
            country=country or owner.country,
        )
    _show(added, as_json=as_json)


@partner.command("list")
def partner_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the partners of a tenant. 列出合作方。"""
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        found = partners.of_tenant(tx, tenant)
    if as_json:
        keys = ("id", "name", "name_zh", "contact", "country", "state")
        listed = [{key: getattr(row, key) for key in keys} for row in found]
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    for row in found:
        typer.echo(f"{row.id}  {row.state:9}  {row.name}  {row.name_zh}")


@partner.command("suspend")
def partner_suspend(client_id: ClientId, tenant: Tenant = ROOT_TENANT) -> None:
    """Suspend a partner: its tokens stop working, its decisions deny. 暂停合作方。"""
    with composed() as ctx:
        set_partner_state(ctx, tenant, client_id, "suspended")
    typer.echo(f"{client_id} is suspended")


@partner.command("resume")
def partner_resume(client_id: ClientId, tenant: Tenant = ROOT_TENANT) -> None:
    """Make a suspended partner active again. 恢复合作方。"""
    with composed() as ctx:
        set_partner_state(ctx, tenant, client_id, "active")
    typer.echo(f"{client_id} is active")


@officer.command("add")
def officer_add(name: Name, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Register an officer and print their client id and private JWK, once. 登记合规官。"""
    with composed() as ctx:
        added = add_officer(ctx, tenant, name=name)
    _show(added, as_json=as_json)


@officer.command("list")
def officer_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the officers of a tenant. 列出合规官。"""
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        found = partners.officers_of_tenant(tx, tenant)
    if as_json:
        listed = [{"id": row.id, "name": row.name, "state": row.state} for row in found]
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    for row in found:
        typer.echo(f"{row.id}  {row.state:9}  {row.name}")


@officer.command("suspend")
def officer_suspend(client_id: ClientId, tenant: Tenant = ROOT_TENANT) -> None:
    """Suspend an officer: their tokens stop working. 暂停合规官。"""
    with composed() as ctx:
        set_officer_state(ctx, tenant, client_id, "suspended")
    typer.echo(f"{client_id} is suspended")


@officer.command("resume")
def officer_resume(client_id: ClientId, tenant: Tenant = ROOT_TENANT) -> None:
    """Make a suspended officer active again. 恢复合规官。"""
    with composed() as ctx:
        set_officer_state(ctx, tenant, client_id, "active")
    typer.echo(f"{client_id} is active")


def _show(added: NewClient, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(added.to_json(), ensure_ascii=False))
        return
    typer.echo(f"client id    {added.client_id}")
    typer.echo(f"private JWK  {json.dumps(dict(added.private_jwk))}")
    typer.echo("Keep the private JWK: it is shown this once and the broker does not have it.")
