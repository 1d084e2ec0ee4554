"""`consent-broker federation model`: models, their rollout, their end."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated

import orjson
import typer

from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed, read_file
from broker.domain.addresses import ROOT_TENANT
from broker.usecases import model_version as models
from broker.usecases import rollout
from broker.usecases.model_card import export_model
from broker.web.model_card import card
from credentials.jcs import b64url
from federation.board import LARGEST_SIGNATURE, MOST_KEYS

model = typer.Typer(help="Models that rounds have given. 模型登记。", no_args_is_help=True)

MOST = 10_000
WEIGHTS = "model.safetensors"

ModelId = Annotated[str, typer.Argument(help="The model's hash, base64url. 模型哈希。")]


@model.command("list")
def listed(
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="Of one campaign alone. 只看一个活动。")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="So many. 条数。")] = MOST,
    after: Annotated[
        str | None, typer.Option("--after", help="Models behind this one. 起始模型。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """List model versions, oldest first. 列出模型版本。"""
    with composed() as ctx:
        rows, behind = models.versions(ctx, tenant, campaign, limit=limit, after=after)
    found = [models.told(row) for row in rows]
    if as_json:
        typer.echo(json.dumps(found))
        return
    if behind is not None:
        typer.echo(f"more: --after {behind}", err=True)
    for one in found:
        spent = "" if one["epsilon"] is None else f"  epsilon {one['epsilon']}"
        taint = "" if one["taint"] is None else f" ({one['taint']} withdrawn rows)"
        typer.echo(
            f"{one['id']}  {one['campaign']}  {one['stage']} {one['number']}  "
            f"{one['state']}{taint}{spent}"
        )


@model.command("export")
def export(
    model_id: ModelId,
    out: Annotated[Path, typer.Option("--out", help="A directory, made if absent. 输出目录。")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="The coordinator's safetensors, checked. 权重文件。"),
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Write a model's card and facts, and its weights where you have them. 导出模型卡与权重。"""
    if weights is not None and _hash_of(weights) != model_id:
        typer.echo(f"consent-broker: {weights}: these are not the weights of the model", err=True)
        raise typer.Exit(REFUSED)
    with composed() as ctx:
        told = export_model(ctx, tenant, model_id, weights=weights is not None)
    files = {
        "MODEL_CARD.md": card(told).encode(),
        "model.json": orjson.dumps(told, option=orjson.OPT_INDENT_2),
    }
    written = [str(out / name) for name in files]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (out / name).write_bytes(data)
        if weights is not None:
            shutil.copyfile(weights, out / WEIGHTS)
            written.append(str(out / WEIGHTS))
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
    typer.echo(json.dumps({"files": written}) if as_json else "\n".join(written))


def _hash_of(weights: Path) -> str:
    try:
        with weights.open("rb") as source:
            return b64url(hashlib.file_digest(source, "sha256").digest())
    except OSError as error:
        typer.echo(f"consent-broker: cannot read {weights}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None


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
