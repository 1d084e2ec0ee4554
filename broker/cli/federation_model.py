"""`consent-broker federation model`: models, their rollout, their end."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed, read_file
from broker.domain.addresses import ROOT_TENANT
from broker.domain.campaign import LARGEST_BOARD
from broker.domain.errors import BrokerError
from broker.domain.model_card import (
    CARD,
    WEIGHTS,
    WORD,
    ModelReport,
    verify_model,
)
from broker.domain.model_facts import FACTS, LARGEST_FILE, facts_file
from broker.domain.trust import LARGEST as LARGEST_TRUST
from broker.domain.trust import Trust
from broker.usecases import model_version as models
from broker.usecases import rollout
from broker.usecases.model_card import export_model, word_of
from broker.web.model_card import card
from broker.web.training_report import moment
from credentials.jcs import b64url
from federation.board import LARGEST_SIGNATURE, MOST_KEYS

model = typer.Typer(help="Models that rounds have given. 模型登记。", no_args_is_help=True)

MOST = 10_000

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
    """Write a model's card and facts, signed, and its weights where you have them. 导出并签名。"""
    if weights is not None and _hash_of(weights) != model_id:
        typer.echo(f"consent-broker: {weights}: these are not the weights of the model", err=True)
        raise typer.Exit(REFUSED)
    with composed() as ctx:
        told = export_model(ctx, tenant, model_id, weights=weights is not None)
        text = card(told).encode()
        word = word_of(ctx, tenant, told, text)
    files = {CARD: text, FACTS: facts_file(told), WORD: f"{word}\n".encode()}
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


@model.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(help="What `export` wrote. 导出的目录。")],
    trust: Annotated[
        Path,
        typer.Option("--trust", help="The trust file: consent-broker trust export. 信任文件。"),
    ],
    board: Annotated[
        Path | None,
        typer.Option("--board", help="The board's keys as you know them, JSON. 已知的委员会公钥。"),
    ] = None,
    without_weights: Annotated[
        bool,
        typer.Option("--without-weights", help="Check the rest, where they are not. 不核对权重。"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check an exported model: signature, weights, lineage, approvals; no server. 离线核验模型。

    What holds is so as of the time that is told: a later withdrawal or retirement only the broker
    can tell. Exit codes: 0 verified, 1 not (or no weights, without --without-weights), 2 wrong use.
    """
    if not directory.is_dir():
        typer.echo(f"consent-broker: {directory}: no such directory", err=True)
        raise typer.Exit(USAGE)
    try:
        trusted = Trust.parse(read_file(trust, LARGEST_TRUST))
    except BrokerError as error:
        typer.echo(f"consent-broker: {trust}: {error}", err=True)
        raise typer.Exit(USAGE) from None
    files = {
        name: read_file(directory / name, LARGEST_FILE)
        for name in (FACTS, CARD, WORD)
        if (directory / name).exists()
    }
    weights = directory / WEIGHTS
    known = None if board is None else read_file(board, LARGEST_BOARD)
    named = _hash_of(weights) if weights.exists() else None
    found = verify_model(files, named, trusted, known, without_weights=without_weights)
    if as_json:
        told = {"verified": found.verified, **vars(found)}
        typer.echo(json.dumps(told | {"findings": [vars(one) for one in found.findings]}))
    else:
        _print(directory, found, of_broker=board is None)
    if not found.verified:
        raise typer.Exit(REFUSED)


_CODES = {
    "signature": "签名",
    "facts": "模型信息",
    "lineage": "谱系",
    "campaign": "训练活动",
    "approvals": "批准",
    CARD: "模型卡",
    FACTS: "模型信息文件",
    WEIGHTS: "权重",
}


def _print(directory: Path, found: ModelReport, *, of_broker: bool) -> None:
    for one in found.findings:
        known = _CODES.get(one.code)
        code = one.code if known is None else f"{one.code} {known}"
        typer.echo(f"  {'✓' if one.holds else '✗'} {code}: {one.found}")
    if of_broker:
        typer.echo("  the board's keys, which the broker names; compare them, or give --board")
        typer.echo("  委员会公钥由代理平台提供，请自行比对，或用 --board 指定:")
        for key in found.boards:
            typer.echo(f"    {key}")
    if found.made_at is None or not found.verified:
        typer.echo(f"{directory}: not verified 未通过核验")
        return
    typer.echo(
        f"{directory}: verified 通过核验: model {found.model} by {found.issuer}; {found.state} "
        f"as of {moment(found.made_at)}: ask the broker whether that has changed "
        "之后的变化请询问代理平台"
        + ("" if found.weights_checked else "; weights NOT checked 未核对权重")
    )


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
