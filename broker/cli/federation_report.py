"""`consent-broker federation status` and `report`: how far campaigns are."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from broker.cli.composed import USAGE, Json, Tenant, composed
from broker.cli.federation_unlearning import lines_of
from broker.domain.addresses import ROOT_TENANT
from broker.usecases import unlearning
from broker.usecases.context import Context
from broker.usecases.training_report import reports
from broker.web.training_remarks import ended, remarks_of
from broker.web.training_report import business_lines, not_drawn, page, pictures

BAR_WIDTH = 20
FOLLOW_SECONDS = 2
TAINTS = {"used": "  used withdrawn rows", "descends": "  comes of one that used withdrawn rows"}


def register(commands: typer.Typer) -> None:
    """Add the commands."""
    commands.command("status")(status)
    commands.command("report")(report)


def status(
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="One campaign alone. 只看一个活动。")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on showing while a campaign runs. 持续显示。"),
    ] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Campaigns, members, rounds, receipts, epsilon, models with lineage. 联邦训练状态。"""
    if follow and as_json:
        typer.echo("consent-broker: --follow is for people, --json for machines", err=True)
        raise typer.Exit(USAGE)
    console = Console(highlight=False)
    with composed() as ctx:
        told, waiting = _asked(ctx, tenant, campaign)
        if as_json:
            answer = {"campaigns": told, "not_looked_for": waiting}
            typer.echo(json.dumps(answer, ensure_ascii=False))
            return
        if not follow:
            console.print(_shown(told, waiting), soft_wrap=True)
            return
        with Live(_shown(told, waiting), console=console, auto_refresh=False) as live:
            while any(one["state"] == "running" for one in told):
                time.sleep(FOLLOW_SECONDS)
                told, waiting = _asked(ctx, tenant, campaign)
                live.update(_shown(told, waiting), refresh=True)


def report(
    campaign: Annotated[str, typer.Argument(help="Its id, like fc-4k2vq7... 活动编号。")],
    out: Annotated[Path, typer.Option("--out", help="A directory, made if absent. 输出目录。")],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Write metrics and epsilon by round as SVG, and a page to read them. 输出训练报告。"""
    with composed() as ctx:
        [told] = reports(ctx, tenant, campaign)
        written = [*pictures(told), ("report.html", page(told, ctx.now()))]
    left = not_drawn(told)
    files = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in written:
            (out / name).write_text(text, "utf-8")
            files.append(str(out / name))
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
    if as_json:
        typer.echo(json.dumps({"files": files, "not_drawn": left}))
        return
    typer.echo("\n".join(files))
    if left:
        typer.echo(f"{len(left)} more metrics are in the page's table alone")


def _asked(ctx: Context, tenant: str, campaign: str | None) -> tuple[list[dict[str, Any]], int]:
    return reports(ctx, tenant, campaign), unlearning.waiting(ctx, tenant)


def _shown(told: list[dict[str, Any]], waiting: int) -> RenderableType:
    parts: list[RenderableType] = []
    if not told:
        parts.append(Text("No campaigns yet: consent-broker federation campaign add"))
    for one in told:
        parts += _campaign(one)
    if waiting:
        parts.append(Text(f"{waiting} withdrawals are still looked for in models"))
    return Group(*parts)


def _campaign(told: dict[str, Any]) -> list[RenderableType]:
    document, progress = told["document"]["campaign"], told["progress"]
    bar = Table.grid(padding=(0, 2))
    done = ProgressBar(total=progress["rounds"], completed=progress["closed"], width=BAR_WIDTH)
    # One that failed has used its number up, and is no progress.
    said = f"{progress['closed']}/{progress['rounds']} rounds"
    if progress["failed"]:
        said += f", {progress['failed']} failed"
    if progress["spare_rounds"]:
        said += f", {progress['spare_used']}/{progress['spare_rounds']} spare used"
    bar.add_row(" ", done, said)
    states = {one["member"]: one["state"] for one in told["members"]}
    named = (f"{name} {states.get(name, 'not registered')}" for name in document["members"])
    lines = [f"  members  {', '.join(named)}"]
    if document["privacy"] is not None:
        lines.append(f"  epsilon  {told['epsilon']} of {document['privacy']['epsilon']}")
    if ended(told):
        lines.append(f"  {told['state']:8} {ended(told)}")
    for one in told["rounds"]:
        lines.append(_round_line(one))
        lines += [f"           {name} {code}: {text}" for name, code, text in remarks_of(one)]
    lines += [_model_line(one) for one in told["models"]]
    lines += [f"  {line}" for one in told["tasks"] for line in lines_of(one)]
    line = business_lines(document)[told["stage"]]
    stage = told["stage"] if line is None else f"{told['stage']} (business line {line})"
    head = f"{told['id']}  {document['id']}  {told['state']}  {stage}"
    return [Text(head), bar, *(Text(line) for line in lines)]


def _round_line(one: dict[str, Any]) -> str:
    receipts = f"{len(one['receipts'])} of {len(one['taking_part'])} receipts"
    model = one["model_out"] or one["code"] or ""
    where = f"{one['stage']} {one['number']}"
    return f"  round    {where:15} {one['state']:7} {receipts}  {model}"


def _model_line(one: dict[str, Any]) -> str:
    spent = "" if one["epsilon"] is None else f"  epsilon {one['epsilon']}"
    metrics = "".join(f"  {name} {value}" for name, value in sorted(one["metrics"].items()))
    taint = TAINTS.get(one["taint"], "")
    where = "began with" if one["parent"] is None else f"{one['stage']} {one['number']}"
    parent = "" if one["parent"] is None else f"  from {one['parent']}"
    return f"  model    {one['id']}  {where:15} {one['state']}{taint}{spent}{metrics}{parent}"
