"""`consent-broker purpose demand`, `issuer`: what has to be proven, and whose word counts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.composed import USAGE, Json, Tenant, composed, read_json_file
from broker.domain.addresses import ROOT_TENANT
from broker.domain.demand import LONGEST, Issuer, Trusted
from broker.store import demands, registry
from broker.usecases import demand as usecases

issuer = typer.Typer(
    help="Whose credentials of attributes count in decisions. 受信任的属性签发方。",
    no_args_is_help=True,
)

Address = Annotated[str, typer.Argument(help="The issuer's address, as its credentials name it.")]
Key = Annotated[str, typer.Argument(help="Its BBS key: 96 bytes, base64url. 公钥。")]
Schema = Annotated[str, typer.Option("--schema", help="For which kind, like person/1. 凭证类型。")]
Epoch = Annotated[
    int | None,
    typer.Option(
        "--epoch-seconds",
        help="How long its status tokens hold, 21600 of brokers like this; "
        "needed where a purpose demands not_revoked. 状态令牌时段长度。",
    ),
]


def purpose_demand(
    purpose_id: Annotated[str, typer.Argument(help="Like dpv:ServicePersonalisation. 目的。")],
    file: Annotated[
        Path | None,
        typer.Argument(help="A JSON file: schema, statements, max_age_seconds. 要求的文件。"),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Demand nothing any more. 取消。")] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Demand a proof, at most so old, before data are used for a purpose. 设定须先证明的陈述。

    Like {"schema": "person/1", "statements": [{"type": "older_than", "attribute": "birth_date",
    "years": 18}, {"type": "not_revoked", "attribute": "revocation_id"}], "max_age_seconds": 600}.
    It counts from the next decision on.
    """
    if (file is None) is not none:
        typer.echo("consent-broker: name a file, or --none", err=True)
        raise typer.Exit(USAGE)
    value = None if file is None else read_json_file(file, LONGEST)
    with composed() as ctx:
        stored = usecases.set_demand(ctx, tenant, purpose_id, value)
    told = {"id": purpose_id, "demand": None if stored is None else stored.to_json()}
    what = "demands nothing" if stored is None else "demands a proof"
    typer.echo(json.dumps(told, ensure_ascii=False) if as_json else f"{purpose_id} {what}")


@issuer.command("add")
def issuer_add(
    address: Address,
    key: Key,
    schema: Schema,
    epoch_seconds: Epoch = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Trust an issuer's key for a kind; the tenant's own count anyway. 信任签发方。"""
    added = Trusted(Issuer(schema, address, key), epoch_seconds)
    with composed() as ctx:
        usecases.trust_issuer(ctx, tenant, added.issuer, epoch_seconds)
    _told(added, "is trusted for", as_json=as_json)


@issuer.command("remove")
def issuer_remove(
    address: Address, key: Key, schema: Schema, tenant: Tenant = ROOT_TENANT, as_json: Json = False
) -> None:
    """Trust it no more, from the next decision on. 不再信任。"""
    with composed() as ctx:
        usecases.distrust_issuer(ctx, tenant, Issuer(schema, address, key))
    removed = Trusted(Issuer(schema, address, key))
    _told(removed, "is trusted no more for", as_json=as_json)


@issuer.command("list")
def issuer_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List whom a tenant trusts beside its own keys. 列出受信任的签发方。"""
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        found = demands.trusted_issuers(tx, tenant)
    if as_json:
        typer.echo(json.dumps([_json(one) for one in found], ensure_ascii=False))
        return
    for one in found:
        typer.echo("  ".join(str(part) for part in _json(one).values()))


def _told(one: Trusted, what: str, *, as_json: bool) -> None:
    typer.echo(
        json.dumps(_json(one), ensure_ascii=False)
        if as_json
        else f"{one.issuer.issuer} {what} {one.issuer.schema}"
    )


def _json(one: Trusted) -> dict[str, str | int]:
    found = one.issuer
    told: dict[str, str | int] = {
        "schema": found.schema,
        "issuer": found.issuer,
        "key": found.key,
    }
    return told if one.epoch_seconds is None else told | {"epoch_seconds": one.epoch_seconds}
