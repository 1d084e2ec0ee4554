"""`consent-broker federation model`: models, their rollout, their end."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.composed import Json, Tenant, composed, read_file
from broker.domain.addresses import ROOT_TENANT
from broker.usecases import model_version as models
from broker.usecases import rollout
from federation.board import LARGEST_SIGNATURE, MOST_KEYS

model = typer.Typer(help="Models that rounds have given. 模型登记。", no_args_is_help=True)

ModelId = Annotated[str, typer.Argument(help="The model's hash, base64url. 模型哈希。")]


@model.command("list")
def listed(
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="Of one campaign alone. 只看一个活动。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """List model versions, oldest first. 列出模型版本。"""
    with composed() as ctx:
        found = [models.told(row) for row in models.versions(ctx, tenant, campaign)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        spent = "" if one["epsilon"] is None else f"  epsilon {one['epsilon']}"
        typer.echo(
            f"{one['id']}  {one['campaign']}  {one['stage']} {one['number']}  {one['state']}{spent}"
        )


@model.command("promote")
def promote(
    model_id: ModelId,
    approvals: Annotated[
        list[Path] | None,
        typer.Option("--approval", help="A file with approvals, one a line. 批准签名文件。"),
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Have a candidate pass its stage: its gates on metrics, its approvals. 通过阶段。"""
    largest = LARGEST_SIGNATURE * MOST_KEYS
    given = [
        line
        for file in approvals or []
        for line in read_file(file, largest).decode("ascii", "replace").split()
    ]
    with composed() as ctx:
        row = rollout.promote(ctx, tenant, model_id, given)
    typer.echo(json.dumps(models.told(row)) if as_json else f"{row.id} is {row.state}")


@model.command("retire")
def retire(model_id: ModelId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Take a model out of use, for good. 退役模型。"""
    with composed() as ctx:
        row = rollout.retire(ctx, tenant, model_id)
    typer.echo(json.dumps(models.told(row)) if as_json else f"{row.id} is {row.state}")
