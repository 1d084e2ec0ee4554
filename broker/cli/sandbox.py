"""`consent-broker sandbox`: try one new source or partner at a time on marked test subjects."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from broker.cli.composed import USAGE, Json, Tenant, composed, some
from broker.domain.addresses import ROOT_TENANT
from broker.domain.sandbox import Figures, Trial
from broker.usecases import sandbox as usecases

sandbox = typer.Typer(
    help="Try one new source or partner at a time, on test subjects. 沙箱试运行。",
    no_args_is_help=True,
)

TrialId = Annotated[
    str, typer.Argument(metavar="TRIAL", help="As sandbox list has it. 试运行编号。")
]
Partner = Annotated[str, typer.Option("--partner", help="A partner's client id. 合作方编号。")]
Contact = Annotated[str, typer.Argument(help="The partner's contact. 合作方的联系人标识。")]


@sandbox.command("start")
def start(
    source: Annotated[
        str | None, typer.Option("--source", help="A source's name. 外部数据来源名称。")
    ] = None,
    partner: Annotated[
        str | None, typer.Option("--partner", help="Or a partner's client id. 或合作方编号。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Put a draft source or a partner into the sandbox; one at a time. 开始试运行。"""
    if (source is None) is (partner is None):
        typer.echo("consent-broker: say what to try: --source or --partner", err=True)
        raise typer.Exit(USAGE)
    with composed() as ctx:
        if source is not None:
            made = usecases.start(ctx, tenant, "source", source)
        else:
            made = usecases.start(ctx, tenant, "partner", partner or "")
    _print(made, as_json=as_json)


@sandbox.command("sign-off")
def sign_off(
    trial: TrialId,
    quality: Annotated[
        int, typer.Option("--quality", help="Per cent of values that were right. 数据准确率。")
    ],
    value: Annotated[
        int, typer.Option("--value", help="Per cent better than without. 业务提升百分比。")
    ],
    report: Annotated[str, typer.Option("--report", help="Where it is written down. 报告编号。")],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Open what was tried, with the figures that you stand for. 签核并开放。"""
    with composed() as ctx:
        ended = usecases.sign_off(ctx, tenant, trial, Figures(quality, value, report))
    _print(ended, as_json=as_json)


@sandbox.command("end")
def end(trial: TrialId, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """End a trial without a sign-off; nothing is opened. 结束试运行（不开放）。"""
    with composed() as ctx:
        ended = usecases.end(ctx, tenant, trial)
    _print(ended, as_json=as_json)


@sandbox.command("list")
def list_trials(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the trials, the one that runs too. 列出试运行。"""
    with composed() as ctx:
        found = usecases.listed(ctx, tenant)
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found], ensure_ascii=False))
        return
    for one in some(found):
        typer.echo(_line(one))


@sandbox.command("mark")
def mark(
    contact: Contact, partner: Partner, tenant: Tenant = ROOT_TENANT, as_json: Json = False
) -> None:
    """Make a partner's contact a test subject. 标记测试对象。"""
    _mark(contact, partner, tenant, on=True, as_json=as_json)


@sandbox.command("unmark")
def unmark(
    contact: Contact, partner: Partner, tenant: Tenant = ROOT_TENANT, as_json: Json = False
) -> None:
    """Make it one no more. 取消测试对象标记。"""
    _mark(contact, partner, tenant, on=False, as_json=as_json)


def _mark(contact: str, partner: str, tenant: str, *, on: bool, as_json: bool) -> None:
    with composed() as ctx:
        changed = usecases.mark(ctx, tenant, partner, contact, on=on)
    if as_json:
        typer.echo(json.dumps({"test_subject": on, "changed": changed}))
        return
    told = "is a test subject" if on else "is no test subject"
    typer.echo(f"the contact {told}" + ("" if changed else ", as it was"))


def _print(one: Trial, *, as_json: bool) -> None:
    typer.echo(json.dumps(one.to_json(), ensure_ascii=False) if as_json else _line(one))


def _line(one: Trial) -> str:
    since = datetime.fromtimestamp(one.opened_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = f"{one.id}  {since}  {one.kind} {one.name}  {one.outcome or 'runs'}  {one.uses} uses"
    if one.figures is None:
        return told
    figures = one.figures
    return f"{told}  quality {figures.quality}%  value {figures.value:+}%  {figures.report}"
