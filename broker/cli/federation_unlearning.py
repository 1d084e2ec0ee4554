"""`consent-broker federation task`: what campaigns have to unlearn."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed, read_file
from broker.domain.addresses import ROOT_TENANT
from broker.domain.word import file_hash
from broker.usecases import unlearning, unlearning_task
from broker.usecases.unlearning_task import Residual
from federation.errors import FederationError, Malformed
from federation.unlearning import Residual as Distances
from federation.unlearning import residual
from federation.weights import LARGEST_WEIGHTS, flat, read_weights

MOST = 500
LEAST = 1e-15

task = typer.Typer(help="What campaigns have to unlearn. 遗忘任务。", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(help="Its id, like ut-4k2vq7... 任务编号。")]


@task.command("list")
def listed(
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="Of one campaign alone. 只看一个活动。")
    ] = None,
    state: Annotated[str | None, typer.Option("--state", help="open or done. 只看某状态。")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="So many tasks. 条数。")] = 100,
    after: Annotated[
        str | None, typer.Option("--after", help="Tasks behind this one. 起始任务。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """List the tasks, oldest first, with the models that are tainted. 列出遗忘任务。"""
    if state not in {None, "open", "done"}:
        typer.echo("consent-broker: --state is open or done", err=True)
        raise typer.Exit(USAGE)
    with composed() as ctx:
        found, behind = unlearning_task.tasks(
            ctx, tenant, limit=limit, campaign_id=campaign, state=state, after=after
        )
    told = [unlearning_task.told(one) for one in found]
    if as_json:
        typer.echo(json.dumps({"tasks": told, "next": behind}))
        return
    for one in told:
        for line in lines_of(one):
            typer.echo(line)
    if behind is not None:
        typer.echo(f"more: --after {behind}")


@task.command("close")
def close(
    task_id: TaskId,
    model: Annotated[
        str | None,
        typer.Option("--model", help="What its policy asks for; none: all retired. 新模型哈希。"),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option("--residual-before", help="Distance before, as measured. 处理前残余。"),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--residual-after", help="Distance after, as measured. 处理后残余。"),
    ] = None,
    tainted: Annotated[
        Path | None,
        typer.Option("--before", help="Measure: a tainted model's weights. 处理前权重。"),
    ] = None,
    cleaned: Annotated[
        Path | None, typer.Option("--after", help="Measure: the model's own weights. 处理后权重。")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Of one that never saw the rows. 参照权重。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Close a task, with a model and what is left in it, told or measured. 结束遗忘任务。

    --before, --after and --reference measure it from weights; the log then names all three.
    """
    distances = [one for one in (before, after) if one is not None]
    files = [one for one in (tainted, cleaned, reference) if one is not None]
    if (len(distances), len(files)) not in {(0, 0), (2, 0), (0, 3)}:
        typer.echo(
            "consent-broker: a residual is two distances, before and after, or three files",
            err=True,
        )
        raise typer.Exit(USAGE)
    given = None if before is None or after is None else Residual(before, after)
    if files:
        left, hashes = _measured(files)
        given = Residual(_decimal(left.before), _decimal(left.after), hashes)
    with composed() as ctx:
        closed = unlearning_task.close_task(ctx, tenant, task_id, model=model, residual=given)
    told = unlearning_task.told(closed)
    if as_json:
        typer.echo(json.dumps(told))
        return
    for line in lines_of(told):
        typer.echo(line)


@task.command("measure")
def measure(
    before: Annotated[Path, typer.Option("--before", help="Safetensors, before. 处理前权重。")],
    after: Annotated[Path, typer.Option("--after", help="Safetensors, after. 处理后权重。")],
    reference: Annotated[
        Path, typer.Option("--reference", help="Of a model that never saw the rows. 参照权重。")
    ],
    as_json: Json = False,
) -> None:
    """Measure how far two models lie from one that never saw the rows, for `close`. 测量残余。"""
    left, hashes = _measured([before, after, reference])
    told = {"before": _decimal(left.before), "after": _decimal(left.after)}
    if as_json:
        models = dict(zip(("before", "after", "reference"), hashes, strict=True))
        typer.echo(json.dumps({**told, "erased": left.erased, "models": models}))
        return
    typer.echo(f"distance {told['before']}, then {told['after']}")
    typer.echo(f"--residual-before={told['before']} --residual-after={told['after']}")


@task.command("search")
def search(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Look at once for what was withdrawn; a server does every 30 s. 立即查找已撤回的数据。"""
    with composed() as ctx:
        done = unlearning.search(ctx, tenant)
        left = unlearning.waiting(ctx, tenant)
    told = json.dumps({"looked": done, "waiting": left})
    typer.echo(told if as_json else f"looked for {done}; {left} wait, such as for an open round")


def lines_of(told: dict[str, Any]) -> list[str]:
    """A task for a person to read."""
    head = f"{told['id']}  {told['state']:4}  {told['policy']}  campaign {told['campaign']}"
    base = "" if told["base"] is None else f"; go on from {told['base']}"
    lines = [f"{head}  {told['withdrawals']} withdrawals{base}"]
    lines += [
        f"  {one['model']}  {one['taint']:8}  was {one['state_before']}, is {one['state']}"
        for one in told["tainted"]
    ]
    if told["state"] == "done":
        lines.append(f"  closed with {told['model'] or 'no model'}: {_left(told)}")
    return lines


def _measured(files: Sequence[Path]) -> tuple[Distances, tuple[str, str, str]]:
    """The distances of two models from a third, and the three files' hashes."""
    try:
        read = [read_file(one, LARGEST_WEIGHTS) for one in files]
        models = [read_weights(one) for one in read]
        shapes = [{name: shape for name, (shape, _) in one.items()} for one in models]
        if shapes.count(shapes[0]) != len(shapes):
            raise Malformed("the three models have other tensors")
        left = residual(*(flat(one) for one in models))
    except FederationError as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    before, after, reference = (file_hash(one) for one in read)
    return left, (before, after, reference)


def _decimal(distance: float) -> str:
    """In the places that `close` takes; what is there is never rounded to nothing."""
    return f"{max(distance, LEAST) if distance else 0:.15f}"


def _left(told: dict[str, Any]) -> str:
    measured = "residual not measured"
    if told["residual"] is not None:
        left = told["residual"]
        of = left["measured"]
        how = "as was said" if of is None else f"measured from weights, against {of['reference']}"
        measured = f"{how}, distance {left['before']}, then {left['after']}"
    if told["model"] is None:
        return "every tainted version is retired"
    if told["taint"] is not None:
        return f"the rows are not gone from it, it descends from them; what is left: {measured}"
    return f"by what members said, no row is in its line; distance to such a model: {measured}"
