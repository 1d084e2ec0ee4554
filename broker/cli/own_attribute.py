"""`consent-broker own-attribute`: what a tenant's own policies can look at besides the schema."""

import json
from typing import Annotated

import typer

from broker.cli.composed import USAGE, Json, Tenant, composed, some
from broker.domain.addresses import ROOT_TENANT
from broker.domain.own_attribute import Declared, Kind, Own, Type
from broker.usecases import own_attribute as usecases

MOST_DIGITS = 19
own_attribute = typer.Typer(
    help="The tenant's own attributes, for its own policies. 租户自定义属性。",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Like contractTier. 属性名。")]
Values = Annotated[
    list[str] | None, typer.Option("--value", help="May be given again. 取值（可重复）。")
]
Partner = Annotated[str | None, typer.Option("--partner", help="Of this partner. 合作方编号。")]
Attribute = Annotated[str | None, typer.Option("--attribute", help="Of this attribute. 信息项。")]


@own_attribute.command("declare")
def declare(
    name: Name,
    on: Annotated[Kind, typer.Option("--on", help="What it is of. 属性所属对象。")],
    kind: Annotated[Type, typer.Option("--type", help="What its values are. 类型。")],
    values: Values = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Declare one; texts of a request need the list of their values. 声明自定义属性。

    Policies added from now on use it as principal.brand.own, resource.own or context.own, each
    guarded by `has`: a value may be missing.
    """
    one = Declared(on, name, kind, tuple(dict.fromkeys(values or ())))
    with composed() as ctx:
        changed = usecases.declare(ctx, tenant, one)
    if as_json:
        typer.echo(json.dumps({**one.to_json(), "changed": changed}, ensure_ascii=False))
        return
    typer.echo(_line(one) + ("" if changed else "  as it was"))


@own_attribute.command("drop")
def drop(name: Name, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Declare it no more; not while policies in force use it. 取消声明。"""
    with composed() as ctx:
        usecases.drop(ctx, tenant, name)
    typer.echo(json.dumps({"dropped": name}) if as_json else f"{name} is declared no more")


@own_attribute.command("set")
def set_value(
    name: Name,
    values: Values = None,
    partner: Partner = None,
    attribute: Attribute = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Set one of a partner or an attribute; the next decision follows. 设置属性值。"""
    kind, of = _of(partner, attribute)
    with composed() as ctx:
        known = {one.name: one for one in usecases.listed(ctx, tenant).declared}
        told = _value(known.get(name), values or [])
        after = usecases.put(ctx, tenant, kind, of, {name: told})
    _print(kind, of, after, as_json=as_json)


@own_attribute.command("unset")
def unset(
    name: Name,
    partner: Partner = None,
    attribute: Attribute = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Leave a partner or an attribute without it. 清除属性值。"""
    kind, of = _of(partner, attribute)
    with composed() as ctx:
        after = usecases.put(ctx, tenant, kind, of, {name: None})
    _print(kind, of, after, as_json=as_json)


@own_attribute.command("list")
def list_own(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List what is declared, and the values. 列出自定义属性及取值。"""
    with composed() as ctx:
        found = usecases.listed(ctx, tenant)
    if as_json:
        told = {
            "declared": [one.to_json() for one in found.declared],
            "values": [
                {
                    "kind": one.kind,
                    "of": one.of,
                    "values": dict(one.values),
                    "unseen": found.unseen(one),
                }
                for one in found.values
            ],
        }
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    for one in some(found.declared):
        typer.echo(_line(one))
    for kept in found.values:
        _print(kept.kind, kept.of, kept.values, as_json=False)
        for name in found.unseen(kept):
            typer.echo(f"  {name} counts as missing: it does not fit its declaration any more")


def _of(partner: str | None, attribute: str | None) -> tuple[Kind, str]:
    if partner is not None and attribute is None:
        return "partner", partner
    if attribute is not None and partner is None:
        return "attribute", attribute
    typer.echo("consent-broker: say whose value it is: --partner or --attribute", err=True)
    raise typer.Exit(USAGE)


def _value(declared: Declared | None, texts: list[str]) -> object:
    """The value that the texts say, by the declared type; otherwise as it is, to be refused."""
    if declared is not None and declared.type == "set":
        return texts
    if len(texts) != 1:
        typer.echo("consent-broker: say one --value", err=True)
        raise typer.Exit(USAGE)
    (text,) = texts
    if declared is not None and declared.type == "bool":
        return {"true": True, "false": False}.get(text, text)
    if declared is not None and declared.type == "long":
        digits = text.removeprefix("-")
        return (
            int(text)
            if digits.isascii() and digits.isdigit() and len(text) <= MOST_DIGITS
            else text
        )
    return text


def _print(kind: str, of: str, own: Own, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"kind": kind, "of": of, "values": dict(own)}, ensure_ascii=False))
        return
    told = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in own)
    typer.echo(f"{kind} {of}: {told or 'nothing'}")


def _line(one: Declared) -> str:
    listed = f"  of {', '.join(one.values)}" if one.values else ""
    return f"{one.name}  of a {one.on}  {one.type}{listed}"
