"""`consent-broker kill-switch`: stop a tenant, partner, purpose or algorithm at once."""

import json
from typing import Annotated

import typer

from broker.cli.composed import USAGE, Json, composed, some
from broker.domain.addresses import ROOT_TENANT
from broker.domain.kill_switch import KillSwitch, Kind
from broker.usecases import kill_switch as usecases

kill_switch = typer.Typer(
    help="Stop every decision on something, at once. 紧急停用开关。", no_args_is_help=True
)

Tenant = Annotated[
    str | None,
    typer.Option(
        "--tenant", help="The tenant; alone, all of it is meant. 租户；单独使用即整个租户。"
    ),
]
Partner = Annotated[str, typer.Option("--partner", help="A partner's client id. 合作方编号。")]
Purpose = Annotated[str, typer.Option("--purpose", help="Like dpv:Marketing. 目的。")]
Algorithm = Annotated[str, typer.Option("--algorithm", help="Like churn-v3@1. 算法及版本。")]


@kill_switch.command("on")
def switch_on(
    tenant: Tenant = None,
    partner: Partner = "",
    purpose: Purpose = "",
    algorithm: Algorithm = "",
    as_json: Json = False,
) -> None:
    """Deny from the next decision on; consents stay as they are. 停用：下一次决定起一律拒绝。"""
    _turn(tenant, partner, purpose, algorithm, on=True, as_json=as_json)


@kill_switch.command("off")
def switch_off(
    tenant: Tenant = None,
    partner: Partner = "",
    purpose: Purpose = "",
    algorithm: Algorithm = "",
    as_json: Json = False,
) -> None:
    """Decide again by what customers agreed to. 恢复。"""
    _turn(tenant, partner, purpose, algorithm, on=False, as_json=as_json)


@kill_switch.command("list")
def switch_list(tenant: Tenant = None, as_json: Json = False) -> None:
    """List the switches of a tenant that are on. 列出已停用的对象。"""
    with composed() as ctx:
        found = usecases.turned_on(ctx, tenant or ROOT_TENANT)
    if as_json:
        typer.echo(json.dumps([vars(one) for one in found], ensure_ascii=False))
        return
    for one in some(found):
        typer.echo(f"{one.kind:9}  {one.id}")


def _turn(
    tenant: str | None, partner: str, purpose: str, algorithm: str, *, on: bool, as_json: bool
) -> None:
    said: dict[Kind, str] = {"partner": partner, "purpose": purpose, "algorithm": algorithm}
    named = [KillSwitch(kind, name) for kind, name in said.items() if name]
    if not named and tenant:
        named = [KillSwitch("tenant", tenant)]
    if len(named) != 1:
        typer.echo(
            "consent-broker: say what to stop: --partner, --purpose or --algorithm, or --tenant "
            "alone for all of a tenant",
            err=True,
        )
        raise typer.Exit(USAGE)
    (switch,) = named
    with composed() as ctx:
        changed = usecases.turn(ctx, tenant or ROOT_TENANT, switch, on=on)
    if as_json:
        typer.echo(json.dumps({**vars(switch), "on": on, "changed": changed}, ensure_ascii=False))
        return
    stands = "on" if on else "off"
    sentence = f"the kill switch of {switch.kind} {switch.id} is {stands}"
    typer.echo(sentence if changed else f"{sentence}, as it was")
