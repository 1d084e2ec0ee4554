"""`consent-broker policy`: a tenant's own policies, tried on past decisions before they count."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from broker.cli.composed import USAGE, Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.domain.policies import CONSENT_POLICIES, CONSENT_SCHEMA
from broker.domain.policy_set import BUILT_IN, LARGEST_TEXT, never_applying
from broker.usecases import own_attribute
from broker.usecases import policy_set as usecases
from broker.usecases.policy_preview import Preview, preview

LARGEST_FILE = 4 * LARGEST_TEXT
LAST = 10_000

policy = typer.Typer(
    help="A tenant's own policies, which only forbid. 租户自己的策略（只能禁止）。",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="Cedar policies, each a forbid. Cedar 策略文件。")]
Number = Annotated[
    str, typer.Argument(metavar="NUMBER", help="As in policy list, or built-in. 策略集编号。")
]


@policy.command("list")
def policy_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the policy sets, and which is in force. 列出策略集。"""
    with composed() as ctx:
        rows = usecases.listed(ctx, tenant)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        mark = "in force" if row["in_force"] else ""
        name = row["number"] or BUILT_IN
        when = "-" if row["created_at"] is None else _told(row["created_at"])
        by = row["added_by"] or "-"
        version = row["version"] or f"does not load: {row['problem']}"
        typer.echo(f"{name:>8}  {mark:8}  {when:20}  {by:12}  {version}")


@policy.command("add")
def policy_add(file: File, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Check a set against the schema and keep it; it counts once it is switched to. 添加策略集。

    Each policy is a forbid with @id("own....") @law @code("own_...") @obligation @zh @en. `policy
    show built-in --schema` prints what policies can look at.
    """
    text = _read(file)
    with composed() as ctx:
        made = usecases.add(ctx, tenant, text)
    never = never_applying(made.text, CONSENT_SCHEMA)
    told = {"number": made.number, "digest": made.digest, "never_apply": never}
    for name in never:
        typer.echo(
            f"consent-broker: warning: {name} can never apply: it asks for what the schema does "
            "not know (policy show built-in --schema). 该策略永远不会生效。",
            err=True,
        )
    sentence = f"policy set {made.number} is kept; put it in force: policy switch {made.number}"
    typer.echo(json.dumps(told) if as_json else sentence)


@policy.command("test")
def policy_test(
    file: Annotated[
        Path | None, typer.Argument(help="The policies to try; none: --set. 要试的策略文件。")
    ] = None,
    number: Annotated[
        str, typer.Option("--set", help="Or a set that is kept, or built-in. 已保存的策略集。")
    ] = "",
    last: Annotated[
        int, typer.Option(min=1, help="How many of the latest decisions. 试最近多少个决定。")
    ] = LAST,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Judge past decisions again: what would change? Nothing is put in force. 用历史决定试策略。

    Exit 0 whatever it finds; --json tells by how many (now_denied, now_permitted, other_reasons).
    """
    if (file is None) is not bool(number):
        typer.echo("consent-broker: name a file, or a set by --set", err=True)
        raise typer.Exit(USAGE)
    text = None if file is None else _read(file)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    hidden = as_json or not console.is_terminal
    with composed() as ctx:
        if text is None:
            wanted = _number(number)
            text = usecases.find(ctx, tenant, wanted).text if wanted else ""
        with Progress(
            *columns, TimeRemainingColumn(), console=console, disable=hidden, transient=True
        ) as bar:
            task = bar.add_task("decisions", total=last)
            found = preview(
                ctx, tenant, text, last=last, progress=lambda done: bar.advance(task, done)
            )
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
        return
    _print(found)


@policy.command("switch")
def policy_switch(
    number: Number,
    expected: Annotated[
        str, typer.Option("--from", help="Only if this one is in force now. 仅当现行为此编号。")
    ] = "",
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Put a set in force: from the next decision on, at every worker. 启用策略集。"""
    wanted, held = _number(number), _number(expected) if expected else None
    with composed() as ctx:
        changed = usecases.switch(ctx, tenant, wanted, expected=held)
    name = wanted or BUILT_IN
    if as_json:
        typer.echo(json.dumps({"in_force": wanted, "changed": changed}))
        return
    typer.echo(f"policy set {name} is in force" + ("" if changed else ", as it was"))


@policy.command("show")
def policy_show(
    number: Number,
    schema: Annotated[
        bool, typer.Option("--schema", help="What policies can look at, instead. 输出模式定义。")
    ] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Print the text of a set. 输出策略集文本。"""
    wanted = _number(number)
    with composed() as ctx:
        text = usecases.find(ctx, tenant, wanted).text if wanted else CONSENT_POLICIES
        text = own_attribute.listed(ctx, tenant).schema if schema else text
    typer.echo(
        json.dumps({"number": wanted, "text": text}, ensure_ascii=False) if as_json else text
    )


def _print(found: Preview) -> None:
    typer.echo(f"{found.tried} decisions tried, {found.skipped} not (too old, or erased)")
    if found.otherwise:
        typer.echo(f"{found.otherwise} were decided otherwise than the policies in force now would")
    typer.echo(
        f"would be denied now: {found.now_denied}; permitted now: {found.now_permitted}; "
        f"denied for other reasons: {found.other_reasons}"
    )
    for condition, count in found.by_condition.most_common():
        typer.echo(f"{count:8}  {condition}")
    for one in found.examples:
        was, becomes = (", ".join(names) or "permit" for names in (one.was, one.becomes))
        typer.echo(
            f"{one.entry_id}  {_told(one.time)}  {one.partner}  {one.action} {one.attribute}: "
            f"{was} -> {becomes}"
        )


def _number(text: str) -> int:
    if text == BUILT_IN:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > len(str(usecases.MOST_SETS)):
        typer.echo(f"consent-broker: a set is a number, or {BUILT_IN}", err=True)
        raise typer.Exit(USAGE)
    return int(text)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as source:
            data = source.read(LARGEST_FILE + 1)
        return data.decode()
    except OSError as error:
        typer.echo(f"consent-broker: cannot read {file}: {error.strerror}", err=True)
    except UnicodeDecodeError:
        typer.echo(f"consent-broker: {file} is not text in UTF-8", err=True)
    raise typer.Exit(USAGE)


def _told(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
