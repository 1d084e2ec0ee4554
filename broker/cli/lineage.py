"""`consent-broker lineage`: from a use to what was signed, and from a consent to its uses."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import orjson
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from broker.api.lineage import lineage_out
from broker.cli.composed import USAGE, Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.usecases import lineage as usecases
from broker.usecases.lineage import MOST_USES, Lineage
from broker.web.lineage import TITLES, html, said, svg

lineage = typer.Typer(
    help="Where a use comes from, where a consent goes. 数据溯源。", no_args_is_help=True
)

Svg = Annotated[Path | None, typer.Option("--svg", help="Write a picture here. 输出图片。")]
Html = Annotated[
    Path | None, typer.Option("--html", help="Write picture and table here. 输出网页。")
]


@lineage.command("consent")
def of_consent(
    consent_id: Annotated[str, typer.Argument(help="The consent. 同意编号。")],
    limit: Annotated[int, typer.Option(min=1, max=MOST_USES, help="So many uses. 条数。")] = 100,
    after: Annotated[int, typer.Option(min=-1, help="Uses behind this index. 起始序号。")] = -1,
    svg_file: Svg = None,
    html_file: Html = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """What led to a consent, and every use of it. 同意的依据与每一次使用。"""
    with composed() as ctx:
        found = usecases.of_consent(ctx, tenant, consent_id, limit=limit, after=after)
    _tell(found, svg_file, html_file, as_json=as_json)


@lineage.command("use")
def of_use(
    entry_id: Annotated[str, typer.Argument(help="The decision's entry (context.id). 决定编号。")],
    svg_file: Svg = None,
    html_file: Html = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """One use, back to what the customer signed. 从一次使用追溯到客户签署。"""
    with composed() as ctx:
        found = usecases.of_use(ctx, tenant, entry_id)
    _tell(found, svg_file, html_file, as_json=as_json)


@lineage.command("export")
def export(
    out: Annotated[
        Path | None, typer.Option("--out", help="A file, one event a line. 输出文件。")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="POST each event to this address. 接收地址。")
    ] = None,
    after: Annotated[
        int, typer.Option(min=-1, help="Decisions behind this index of the log. 起始序号。")
    ] = -1,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Decisions as OpenLineage events, in the order of the log. 导出 OpenLineage 事件。

    It says up to which index it went: --after that number goes on from there. Decisions that wait
    for their index come with the next export. No customer is named, but consents are.
    """
    if (out is None) is (to is None):
        typer.echo("consent-broker: say where to: --out FILE or --to URL", err=True)
        raise typer.Exit(USAGE)
    count, closed, behind = 0, 0, after
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    if out is not None:
        _write(out, "")
    with composed() as ctx, Progress(*columns, console=console, disable=as_json) as progress:
        task = progress.add_task("")
        try:
            for stretch in usecases.stretches(ctx, tenant, after):
                if out is not None:
                    _append(out, stretch.events)
                for event in stretch.events:
                    if to is not None:
                        usecases.send(ctx, to, event)
                    count += 1
                    progress.update(task, description=f"{count} events 事件")
                behind, closed = stretch.behind, closed + stretch.closed
        finally:
            # What went out is in the log, also where the receiver failed halfway.
            if count:
                where = "file" if to is None else urlsplit(to).hostname or ""
                usecases.record_export(ctx, tenant, to=where, events_count=count)
    if as_json:
        typer.echo(json.dumps({"events": count, "closed": closed, "next": behind}))
        return
    typer.echo(f"{count} events; the next export: --after {behind}")
    if closed:
        typer.echo(f"{closed} decisions are closed: their customers were erased")


def _tell(found: Lineage, svg_file: Path | None, html_file: Path | None, *, as_json: bool) -> None:
    if svg_file is not None:
        _write(svg_file, svg(found.graph))
    if html_file is not None:
        _write(html_file, html(found.graph, found.consent_id, more=found.behind is not None))
    if as_json:
        typer.echo(lineage_out(found).model_dump_json(by_alias=True))
        return
    for node in found.graph.nodes:
        when = "" if node.time is None else datetime.fromtimestamp(node.time, UTC).isoformat()
        place = "" if node.index is None else f"#{node.index}"
        typer.echo(f"{TITLES[node.kind]:20}  {node.id}  {when}  {place}  {said(node)}".rstrip())
    if found.behind is not None:
        typer.echo(f"more: --after {found.behind}")


def _append(out: Path, events: Sequence[Mapping[str, object]]) -> None:
    with out.open("ab") as file:
        file.writelines(orjson.dumps(event) + b"\n" for event in events)


def _write(out: Path, text: str) -> None:
    try:
        out.touch(mode=0o600)
        out.chmod(0o600)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {out}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
