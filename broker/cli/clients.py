"""`consent-broker partner` and `officer`: register who calls the API, suspend, change keys."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from broker.cli.composed import Json, Tenant, composed, read_json_file
from broker.domain.addresses import ROOT_TENANT
from broker.store import partners, registry
from broker.usecases.context import Context
from broker.usecases.partner import (
    NewClient,
    add_officer,
    add_partner,
    replace_officer_key,
    replace_partner_key,
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
LARGEST_JWK = 4_096
ClientId = Annotated[str, typer.Argument(help="The client id, like p-4k2vq7... 客户端编号。")]

PublicJwk = Annotated[
    Path | None,
    typer.Option(
        help="A file with the public JWK that the client has made. 客户端自备公钥的文件。"
    ),
]


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
    show_client(added, as_json=as_json)


@officer.command("add")
def officer_add(name: Name, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Register an officer and print their client id and private JWK, once. 登记合规官。"""
    with composed() as ctx:
        added = add_officer(ctx, tenant, name=name)
    show_client(added, as_json=as_json)


def show_client(added: NewClient, *, as_json: bool) -> None:
    """Print a client that was just added, with its private JWK where it has none of its own."""
    if as_json:
        typer.echo(json.dumps(added.to_json(), ensure_ascii=False))
        return
    typer.echo(f"client id    {added.client_id}")
    if not added.private_jwk:
        typer.echo("The key that was handed in is the client's from now on.")
        return
    typer.echo(f"private JWK  {json.dumps(dict(added.private_jwk))}")
    typer.echo("Keep the private JWK: it is shown this once and the broker does not have it.")


@dataclass(frozen=True)
class Kind:
    """A kind of client: how its rows are read and changed, which columns `--json` tells."""

    rows: Callable[[Connection, str], Sequence[Any]]
    told: tuple[str, ...]
    set_state: Callable[[Context, str, str, str], None]
    replace_key: Callable[[Context, str, str, Mapping[str, Any] | None], NewClient]
    help: Mapping[str, str]


def add_common(commands: typer.Typer, kind: Kind) -> None:
    """Add what every kind of client has: `list`, `suspend`, `resume`, `rekey`."""

    @commands.command("list", help=kind.help["list"])
    def _list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
        with composed() as ctx, ctx.db.reading() as tx:
            registry.tenant(tx, tenant)
            found = kind.rows(tx, tenant)
        if as_json:
            listed = [{key: getattr(row, key) for key in kind.told} for row in found]
            typer.echo(json.dumps(listed, ensure_ascii=False))
            return
        for row in found:
            names = dict.fromkeys(str(getattr(row, key)) for key in kind.told if "name" in key)
            typer.echo("  ".join([row.id, f"{row.state:9}", *names]))

    def set_state(name: str, state: str) -> None:
        @commands.command(name, help=kind.help[name])
        def _set(client_id: ClientId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
            with composed() as ctx:
                kind.set_state(ctx, tenant, client_id, state)
            told = json.dumps({"id": client_id, "state": state})
            typer.echo(told if as_json else f"{client_id} is {state}")

    set_state("suspend", "suspended")
    set_state("resume", "active")

    @commands.command("rekey", help=kind.help["rekey"])
    def _rekey(
        client_id: ClientId,
        public_jwk: PublicJwk = None,
        tenant: Tenant = ROOT_TENANT,
        as_json: Json = False,
    ) -> None:
        public = None if public_jwk is None else read_json_file(public_jwk, LARGEST_JWK)
        with composed() as ctx:
            changed = kind.replace_key(ctx, tenant, client_id, public)
        show_client(changed, as_json=as_json)


add_common(
    partner,
    Kind(
        partners.of_tenant,
        ("id", "name", "name_zh", "contact", "country", "state"),
        set_partner_state,
        replace_partner_key,
        {
            "list": "List the partners of a tenant. 列出合作方。",
            "suspend": (
                "Suspend a partner: its tokens stop working, its decisions deny. 暂停合作方。"
            ),
            "resume": "Make a suspended partner active again. 恢复合作方。",
            "rekey": (
                "Replace a partner's key: the earlier one and all its tokens end at once. Without "
                "--public-jwk a key is made and its private JWK printed, once. Was the earlier "
                "one stolen, suspend first: what was begun with it ends too. 更换合作方密钥。"
            ),
        },
    ),
)
add_common(
    officer,
    Kind(
        partners.officers_of_tenant,
        ("id", "name", "state"),
        set_officer_state,
        replace_officer_key,
        {
            "list": "List the officers of a tenant. 列出合规官。",
            "suspend": "Suspend an officer: their tokens stop working. 暂停合规官。",
            "resume": "Make a suspended officer active again. 恢复合规官。",
            "rekey": (
                "Replace an officer's key: the earlier one and all its tokens end at once. Without "
                "--public-jwk a key is made and its private JWK printed, once. Was the earlier "
                "one stolen, suspend first: what was begun with it ends too. 更换合规官密钥。"
            ),
        },
    ),
)
