"""`consent-broker agent`: programs of partners that act by themselves, and what they did."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.api.agents import MOST_ACTIONS, action_out, agent_out
from broker.cli.composed import Json, Tenant, composed, read_json_file, some
from broker.domain.addresses import ROOT_TENANT
from broker.store import agents as rows
from broker.store import registry
from broker.usecases import agent as usecases

agent = typer.Typer(
    help="Agents of partners, each with its own key. 合作方的智能体。", no_args_is_help=True
)

LARGEST_JWK = 4_096
AgentId = Annotated[str, typer.Argument(help="The agent, like ag-4k2vq7... 智能体编号。")]
Partner = Annotated[str | None, typer.Option("--partner", help="Of this partner alone. 合作方。")]


@agent.command("add")
def add(
    name: Annotated[str, typer.Option("--name", help="Unique with its partner. 名称。")],
    partner: Annotated[str, typer.Option("--partner", help="Whose agent it is. 合作方编号。")],
    public_jwk: Annotated[
        Path | None, typer.Option(help="A file with the public JWK of its own. 自备公钥的文件。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Register an agent and print its id and private JWK, once. 登记智能体。

    With the private key it signs what it does (POST /v1/agent-actions); the broker keeps the public
    key only.
    """
    key = None if public_jwk is None else read_json_file(public_jwk, LARGEST_JWK)
    with composed() as ctx:
        added = usecases.add_agent(ctx, tenant, partner, name=name, public_jwk=key)
    private = dict(added.private_jwk)
    if as_json:
        typer.echo(json.dumps({"id": added.id, "private_jwk": private or None}))
        return
    typer.echo(f"agent        {added.id}")
    if private:
        typer.echo(f"private JWK  {json.dumps(private)}")
        typer.echo("Keep the private JWK: it is shown this once and the broker does not have it.")


@agent.command("list")
def list_agents(
    partner: Partner = None, tenant: Tenant = ROOT_TENANT, as_json: Json = False
) -> None:
    """List the agents. 列出智能体。"""
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        found = [agent_out(row) for row in rows.of_tenant(tx, tenant, partner)]
    if as_json:
        typer.echo(json.dumps([one.model_dump() for one in found], ensure_ascii=False))
        return
    for one in some(found):
        typer.echo(f"{one.id}  {one.state:9}  {one.partner}  {one.name}")


@agent.command("suspend")
def suspend(agent_id: AgentId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Deny its decisions and refuse its actions, from now on. 暂停。"""
    _set(agent_id, tenant, "suspended", as_json=as_json)


@agent.command("resume")
def resume(agent_id: AgentId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Let it act again. 恢复。"""
    _set(agent_id, tenant, "active", as_json=as_json)


@agent.command("actions")
def actions(
    agent_id: Annotated[str | None, typer.Option("--agent", help="Of this one. 智能体。")] = None,
    partner: Partner = None,
    after: Annotated[str | None, typer.Option(help="The last action of the page before.")] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """What agents did, and on which decisions and consents it rests. 智能体的操作及其依据。"""
    with composed() as ctx:
        found, behind = usecases.actions(
            ctx, tenant, partner, limit=MOST_ACTIONS, agent_id=agent_id, after=after
        )
    told = [action_out(row) for row in found]
    if as_json:
        typer.echo(json.dumps({"actions": [one.model_dump() for one in told], "next": behind}))
        return
    for one in told:
        stands = "accepted" if one.accepted else ", ".join(one.reasons)
        typer.echo(f"{one.id}  {one.agent}  {one.action:7}  {stands}  {' '.join(one.decisions)}")
    if behind is not None:
        typer.echo(f"more: --after {behind}")


def _set(agent_id: str, tenant: str, state: str, *, as_json: bool) -> None:
    with composed() as ctx:
        usecases.set_agent_state(ctx, tenant, agent_id, state)
    told = {"id": agent_id, "state": state}
    typer.echo(json.dumps(told) if as_json else f"{agent_id} is {state}")
