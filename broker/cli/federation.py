"""`consent-broker federation`: campaigns of training together, their members and coordinators."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.clients import Kind, Name, add_common, show_client
from broker.cli.composed import Json, Tenant, composed, read_file
from broker.cli.federation_evidence import register
from broker.cli.federation_joining import register as register_joining
from broker.cli.federation_model import model
from broker.cli.federation_report import register as register_report
from broker.cli.federation_unlearning import task
from broker.cli.federation_up import register as register_up
from broker.domain.addresses import ROOT_TENANT
from broker.domain.campaign import LARGEST_BOARD, LARGEST_NODE_KEY
from broker.store import coordinators
from broker.usecases import campaign as campaigns
from broker.usecases import federation_member as members
from broker.usecases.coordinator import (
    add_coordinator,
    replace_coordinator_key,
    set_coordinator_state,
)
from federation.campaign import LARGEST_CAMPAIGN

federation = typer.Typer(
    help="Training together on consented rows. 联邦训练。", no_args_is_help=True
)
campaign = typer.Typer(help="What is trained, by whom. 训练活动。", no_args_is_help=True)
member = typer.Typer(help="Partners that train together. 联邦成员。", no_args_is_help=True)
coordinator = typer.Typer(
    help="Programs that run the training. 训练协调程序。", no_args_is_help=True
)
federation.add_typer(campaign, name="campaign")
federation.add_typer(member, name="member")
federation.add_typer(coordinator, name="coordinator")
federation.add_typer(model, name="model")
federation.add_typer(task, name="task")
register(federation)
register_up(federation, member)
register_report(federation)
register_joining(member)

CampaignId = Annotated[str, typer.Argument(help="Its id, like fc-4k2vq7... 活动编号。")]
PartnerId = Annotated[str, typer.Argument(help="The partner's client id. 合作方编号。")]
MOST = 10_000


@campaign.command("new-salt")
def new_salt(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Make a salt, which stays here; its hash goes into the campaign's draft. 生成盐值。"""
    with composed() as ctx:
        named = campaigns.new_salt(ctx, tenant)
    typer.echo(json.dumps({"salt_hash": named}) if as_json else f"salt_hash  {named}")


@campaign.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="The signed campaign. 已签名的活动文件。")],
    board: Annotated[
        Path, typer.Option("--board", help="Who decides: keys, threshold. 委员会密钥文件。")
    ],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Take a campaign that its board has signed, as a draft. 登记训练活动。"""
    document, decides = read_file(file, LARGEST_CAMPAIGN), read_file(board, LARGEST_BOARD)
    with composed() as ctx:
        added = campaigns.add_campaign(ctx, tenant, document, decides)
    told = {"id": added.id, "hash": added.hash, "name": added.name, "state": added.state}
    typer.echo(json.dumps(told) if as_json else f"{added.id}: {added.name}, a draft")


@campaign.command("list")
def listed(
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="So many. 条数。")] = MOST,
    after: Annotated[
        str | None, typer.Option("--after", help="Campaigns behind this one. 起始活动。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """List the campaigns. 列出训练活动。"""
    with composed() as ctx:
        found, behind = campaigns.every_progress(ctx, tenant, limit=limit, after=after)
    rows = [one.row for one in found]
    if as_json:
        names = ("id", "hash", "name", "purpose", "state", "stage", "created_at")
        typer.echo(json.dumps([{name: getattr(row, name) for name in names} for row in rows]))
        return
    for row in rows:
        typer.echo(f"{row.id}  {row.state:8}  {row.stage:10}  {row.name}  {row.purpose}")
    if behind is not None:
        typer.echo(f"more: --after {behind}", err=True)


@campaign.command("show")
def show(campaign_id: CampaignId, tenant: Tenant = ROOT_TENANT) -> None:
    """Show a campaign as a coordinator gets it, as JSON. 查看训练活动。"""
    with composed() as ctx:
        told = campaigns.told(ctx, campaigns.progress(ctx, tenant, campaign_id))
    typer.echo(json.dumps(told, ensure_ascii=False, indent=2))


def _add_state(name: str, state: str, told: str) -> None:
    @campaign.command(name, help=told)
    def _set(campaign_id: CampaignId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
        with composed() as ctx:
            row = campaigns.set_state(ctx, tenant, campaign_id, state)
        told = json.dumps({"id": row.id, "state": row.state})
        typer.echo(told if as_json else f"{row.id} is {row.state}")


_add_state("start", "running", "Let coordinators run it, anew after a pause. 启动。")
_add_state("pause", "paused", "Let the open round end and open no other. 暂停。")
_add_state("stop", "stopped", "End it for good; the open round fails. 终止。")


@member.command("add")
def member_add(
    partner_id: PartnerId,
    node_key: Annotated[
        Path, typer.Option(help="Its node's public key: SPKI PEM or JWK. 节点公钥文件。")
    ],
    receipt_key: Annotated[
        Path, typer.Option(help="The public JWK for its receipts. 回执公钥文件。")
    ],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Invite a partner; one that was revoked anew, with these keys. 邀请成员。"""
    node, receipts = (
        read_file(node_key, LARGEST_NODE_KEY),
        read_file(receipt_key, members.LARGEST_KEY),
    )
    with composed() as ctx:
        row = members.add_member(ctx, tenant, partner_id, node_key=node, receipt_key=receipts)
        told = campaigns.told_member(row, ctx.now())
    typer.echo(json.dumps(told) if as_json else f"{partner_id} is {row.state}")


@member.command("admit")
def member_admit(
    partner_id: PartnerId, tenant: Tenant = ROOT_TENANT, as_json: Json = False
) -> None:
    """Admit a member that was invited. 接纳成员。"""
    with composed() as ctx:
        told = campaigns.told_member(members.admit_member(ctx, tenant, partner_id), ctx.now())
    typer.echo(json.dumps(told) if as_json else f"{partner_id} is {told['state']}")


@member.command("revoke")
def member_revoke(
    partner_id: PartnerId, tenant: Tenant = ROOT_TENANT, as_json: Json = False
) -> None:
    """End a membership at once, in mid-round too, with its credentials. 撤销成员资格。"""
    with composed() as ctx:
        ended = members.revoke_member(ctx, tenant, partner_id)
        told = None if ended.member is None else campaigns.told_member(ended.member, ctx.now())
    ids = {"memberships": ended.memberships, "offers": ended.offers}
    credentials = {"member": partner_id, "state": "revoked", **ids}
    typer.echo(
        json.dumps({**credentials, **(told or {})}) if as_json else f"{partner_id} is revoked"
    )


@member.command("list")
def member_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the members, those revoked too. 列出成员。"""
    with composed() as ctx:
        found = [campaigns.told_member(row, ctx.now()) for row in members.members(ctx, tenant)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for told in found:
        typer.echo(f"{told['member']}  {told['state']}")


@coordinator.command("add")
def coordinator_add(name: Name, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Register a coordinator; prints its client id and private JWK, once. 登记协调程序。"""
    with composed() as ctx:
        added = add_coordinator(ctx, tenant, name=name)
    show_client(added, as_json=as_json)


add_common(
    coordinator,
    Kind(
        coordinators.of_tenant,
        ("id", "name", "state"),
        set_coordinator_state,
        replace_coordinator_key,
        {
            "list": "List the coordinators of a tenant. 列出协调程序。",
            "suspend": "Suspend a coordinator: its tokens stop working. 暂停协调程序。",
            "resume": "Make a suspended coordinator active again. 恢复协调程序。",
            "rekey": (
                "Replace a coordinator's key: the earlier one and all its tokens end at once. "
                "Without --public-jwk a key is made and its private JWK printed, once. 更换密钥。"
            ),
        },
    ),
)
