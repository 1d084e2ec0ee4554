"""`consent-broker webhook`: where partners' events go, and sending them again."""

import json
from typing import Annotated

import typer

from broker.api.webhooks import MOST_LETTERS, letter_out, webhook_out
from broker.cli.composed import Json, Tenant, composed, some
from broker.domain.addresses import ROOT_TENANT
from broker.store import registry
from broker.usecases import webhook as usecases
from broker.usecases.webhook import Shown

webhook = typer.Typer(
    help="Webhooks of partners: signed events to their systems. 合作方的事件回调。",
    no_args_is_help=True,
)

WebhookId = Annotated[str, typer.Argument(help="The webhook, like wh-4k2vq7... 回调编号。")]


@webhook.command("add")
def add(
    partner: Annotated[str, typer.Option("--partner", help="Whose it is. 合作方编号。")],
    url: Annotated[str, typer.Option("--url", help="An https address. 接收地址。")],
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Of this type; all without it. 事件类型。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Send a partner's events to an address; prints the secret, once. 登记回调地址。"""
    with composed() as ctx:
        shown = usecases.add_webhook(ctx, tenant, partner, url=url, types=types or [])
    _print(shown, as_json=as_json)


@webhook.command("list")
def list_webhooks(
    partner: Annotated[
        str | None, typer.Option("--partner", help="Of this partner alone. 合作方。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """List the webhooks, and how each does. 列出回调及其状态。"""
    with composed() as ctx:
        with ctx.db.reading() as tx:
            registry.tenant(tx, tenant)
        found = [webhook_out(one) for one in usecases.all_webhooks(ctx, tenant, partner)]
    if as_json:
        typer.echo(json.dumps([one.model_dump() for one in found]))
        return
    for one in some(found):
        stands = one.state if one.code is None else f"{one.state}, {one.code}"
        counted = f"{one.waiting} waiting, {one.dead_letters} dead"
        typer.echo(f"{one.id}  {one.partner}  {stands}  {counted}  {one.url}")


@webhook.command("remove")
def remove(webhook_id: WebhookId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Send nothing there any more; what was still to be sent is forgotten. 删除回调。"""
    with composed() as ctx:
        usecases.remove_webhook(ctx, tenant, None, webhook_id)
    typer.echo(json.dumps({"removed": webhook_id}) if as_json else f"{webhook_id} is removed")


@webhook.command("rotate")
def rotate(webhook_id: WebhookId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Sign with a new secret; the older one signs beside it for a day. 更换密钥。"""
    with composed() as ctx:
        shown = usecases.rotate_secret(ctx, tenant, None, webhook_id)
    _print(shown, as_json=as_json)


@webhook.command("dead")
def dead(
    webhook_id: WebhookId,
    after: Annotated[str | None, typer.Option(help="The last event of the page before.")] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """List events that were not acknowledged in time. 列出未能送达的事件。"""
    with composed() as ctx:
        found, behind = usecases.dead_letters(
            ctx, tenant, None, webhook_id, limit=MOST_LETTERS, after=after
        )
    told = [letter_out(one) for one in found]
    if as_json:
        typer.echo(json.dumps({"dead_letters": [one.model_dump() for one in told], "next": behind}))
        return
    for one in told:
        typer.echo(f"{one.event}  {one.type}  {one.subject}  {one.attempts} attempts  {one.code}")
    if behind is not None:
        typer.echo(f"more: --after {behind}")


@webhook.command("replay")
def replay(
    webhook_id: WebhookId,
    since: Annotated[
        int | None,
        typer.Option(help="All from then on, Unix seconds, delivered or not. 起始时间。"),
    ] = None,
    events: Annotated[
        list[str] | None, typer.Option("--event", help="This event. 事件编号。")
    ] = None,
    after: Annotated[str | None, typer.Option(help="The last event of the call before.")] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Send dead letters again, or what is named, a thousand at a time. 重新发送。"""
    if since is not None and events:
        raise typer.BadParameter("name a time or events, not both")
    with composed() as ctx:
        done = usecases.replay(
            ctx, tenant, None, webhook_id, since=since, event_ids=events or (), after=after
        )
    if as_json:
        typer.echo(json.dumps({"replayed": done.count, "next": done.next}))
        return
    typer.echo(f"{done.count} events are sent again")
    if done.next is not None:
        typer.echo(f"more: --after {done.next}")


def _print(shown: Shown, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"id": shown.row.id, "secret": shown.secret}))
        return
    typer.echo(f"webhook  {shown.row.id}")
    typer.echo(f"secret   {shown.secret}")
    typer.echo("Keep the secret: it is shown this once. The receiver checks signatures with it.")
