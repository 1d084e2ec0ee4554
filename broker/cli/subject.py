"""`consent-broker subject`: what is held about a customer, their erasure, recipients' tasks."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer

from broker.cli.composed import USAGE, Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.domain.bundle import pack
from broker.domain.errors import InvalidRequest
from broker.store import erasures, registry
from broker.usecases import deletion
from broker.usecases.automated_decision import set_refusal
from broker.usecases.context import Context
from broker.usecases.erasure import OPERATOR, erase
from broker.usecases.evidence import assemble
from broker.usecases.person import Named, find_person
from broker.usecases.subject_export import export_subject
from broker.usecases.withdraw_all import customer_of, withdraw_all_by_officer

subject = typer.Typer(help="Rights of customers. 客户权利：查询、删除。", no_args_is_help=True)

MOST_SHOWN = 500
Partner = Annotated[
    str | None, typer.Option("--partner", help="The partner whose reference it is. 合作方。")
]
SubjectRef = Annotated[
    str | None, typer.Option("--subject-ref", help="The partner's own reference. 商家的客户号。")
]
Consent = Annotated[
    str | None,
    typer.Option("--consent", help="A consent of the customer, instead. 或：该客户的一个同意。"),
]


@subject.command("export")
def export(
    partner: Partner = None,
    subject_ref: SubjectRef = None,
    consent: Consent = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write it here. A name that ends in .zip gets the evidence bundles too. 输出文件。"
        ),
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Everything held about one customer, as one JSON. 导出该客户的全部记录。

    For their right of access and portability (PIPL 45, GDPR 15 and 20). Its schema is served at
    /schemas/subject-export/1.json. That it was handed out enters the log. With a .zip the broker
    has to be running, since bundles wait for the log.
    """
    with composed() as ctx:
        told = export_subject(ctx, tenant, _named(partner, subject_ref, consent), by=OPERATOR)
        bundles = _bundles(ctx, tenant, told) if out and out.suffix == ".zip" else {}
    data = orjson.dumps(told, option=orjson.OPT_INDENT_2)
    if out is None:
        typer.echo(data.decode())
        return
    _write(out, pack({"export.json": data, **bundles}) if out.suffix == ".zip" else data)
    counts = {name: len(told[name]) for name in ("contacts", "consents", "decisions", "acts")}
    if as_json:
        typer.echo(json.dumps({"out": str(out), **counts}))
        return
    typer.echo(f"{out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


@subject.command("withdraw-all")
def withdraw_all(
    consent: Annotated[
        list[str] | None, typer.Option(help="A consent that the customer gave; repeat. 同意编号。")
    ] = None,
    contact: Annotated[
        list[str] | None,
        typer.Option(help="PARTNER:SUBJECT_REF, that partner's contact; repeat. 合作方:客户引用。"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. 不再询问。")] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Withdraw all consents of one person at once. 一次撤回一位客户的全部同意。

    The broker does not know that the customers of two partners are one person: name one consent or
    contact for each partner. Decisions deny at once; each partner sees its part within a minute.
    """
    contacts = [tuple(named.partition(":")[::2]) for named in contact or ()]
    if not (consent or contacts) or not all(map(all, contacts)):
        typer.echo("consent-broker: name --consent ID or --contact PARTNER:SUBJECT_REF", err=True)
        raise typer.Exit(USAGE)
    with composed() as ctx:
        subject_ids = [
            *(customer_of(ctx, tenant, Named(consent_id=one)) for one in consent or ()),
            *(
                customer_of(ctx, tenant, Named(partner_id, subject_ref))
                for partner_id, subject_ref in contacts
            ),
        ]
        if not yes:
            typer.confirm(
                "Withdraw everything that this person has given? 确定全部撤回？", abort=True
            )
        done = withdraw_all_by_officer(ctx, tenant, subject_ids, officer_id=None)
    if as_json:
        typer.echo(json.dumps({"withdrawn": list(done.consents), "shown_by": done.shown_by}))
        return
    for consent_id in done.consents:
        typer.echo(consent_id)
    typer.echo(f"{len(done.consents)} withdrawn")


@subject.command("automated-decisions")
def automated_decisions(
    consent: Annotated[str, typer.Option("--consent", help="Of which consent. 同意编号。")],
    refused: Annotated[
        bool,
        typer.Option(
            "--refuse/--allow", help="Refuse them, or allow them again. 拒绝或重新允许自动化决策。"
        ),
    ],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Decisions by a program alone, on the customer's word (PIPL 24, GDPR 22). 自动化决策。

    It counts from the next decision on; other uses of the consent go on.
    """
    with composed() as ctx:
        changed = set_refusal(ctx, tenant, consent, refused=refused)
    if as_json:
        typer.echo(json.dumps({"consent": consent, "refused": refused, "changed": changed}))
        return
    stands = "refused" if refused else "allowed"
    typer.echo(f"{consent}: {stands}" + ("" if changed else ", as it was"))


@subject.command("erase")
def erase_command(
    partner: Partner = None,
    subject_ref: SubjectRef = None,
    consent: Consent = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. 不再确认。")] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Erase a customer: withdraw, delete, destroy their log key. 删除该客户。

    It cannot be undone. Decisions deny at once; the partner sees the rest within a minute, at a
    time of its own, and brokers that serve empty it then. Signed evidence stays sealed for the
    template's retention; with the last of it the customer's log key is destroyed (PIPL 47,
    GDPR 17).
    """
    from broker.api.subjects import erasure_out

    named = _named(partner, subject_ref, consent)
    with composed() as ctx:
        with ctx.db.reading() as tx:
            person = find_person(ctx, tx, tenant, named)
        if not yes:
            typer.confirm(
                f"Erase this customer, with {len(person.contacts)} contacts? It cannot be undone. "
                "删除该客户，不可恢复。继续？",
                abort=True,
            )
        begun = erase(ctx, tenant, named, by=OPERATOR)
    told = {
        **erasure_out(begun.erasure).model_dump(),
        "withdrawn": begun.withdrawn,
        "deletion_tasks": begun.tasks,
    }
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo(
        f"{begun.erasure.id}: {begun.withdrawn} consents withdrawn, {begun.tasks} deletion tasks"
    )
    if begun.erasure.held_until == begun.erasure.shown_from:
        typer.echo("no evidence is held; brokers that serve do the rest within two minutes")
    elif begun.erasure.finished_at is None:
        typer.echo(f"signed evidence is held until {_date(begun.erasure.held_until)}")
    else:
        typer.echo("nothing is held; the customer's log key is destroyed")


@subject.command("erasures")
def erasures_command(
    every: Annotated[
        bool, typer.Option("--all", help="Those that are over too. 含已完成。")
    ] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """List the erasures that hold something still, with the date. 待完成的删除。"""
    from broker.api.subjects import erasure_out

    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        found = [erasure_out(row) for row in erasures.of_tenant(tx, tenant, pending=not every)]
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in found]))
        return
    for row in found:
        end = row.held_until if row.finished_at is None else row.finished_at
        typer.echo(f"{row.id}  {row.state:8}  {_date(end)}  {row.requested_by}")


@subject.command("tasks")
def tasks(
    state: Annotated[
        Literal["open", "done", "overdue"] | None, typer.Option(help="Only these. 状态。")
    ] = None,
    partner: Partner = None,
    after: Annotated[str | None, typer.Option(help="The last task of the page before.")] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """What recipients have to delete, and whether they have. 接收方的删除任务。"""
    from broker.api.deletion_tasks import task_out

    with composed() as ctx:
        found, behind = deletion.tasks(
            ctx, tenant, partner, limit=MOST_SHOWN, state=state, after=after
        )
        rows = [task_out(row, ctx.now()) for row in found]
    if as_json:
        told = {"tasks": [row.model_dump() for row in rows], "next": behind}
        typer.echo(json.dumps(told))
        return
    for row in rows:
        shown = "overdue" if row.overdue else row.state
        typer.echo(f"{row.id}  {shown:7}  {_date(row.due_at)}  {row.partner}  {row.consent}")
    if behind is not None:
        typer.echo(f"more: --after {behind}")


def _named(partner: str | None, subject_ref: str | None, consent: str | None) -> Named:
    try:
        return Named(partner, subject_ref, consent)
    except InvalidRequest:
        typer.echo("name the customer by --partner and --subject-ref, or by --consent", err=True)
        raise typer.Exit(USAGE) from None


def _bundles(ctx: Context, tenant: str, told: dict[str, Any]) -> dict[str, bytes]:
    """The customer's own evidence of each consent that was signed and is not erased."""
    return {
        f"evidence-{consent['id']}.zip": assemble(
            ctx, tenant, consent["id"], copy="customer", partner_id=None, since=None, until=None
        )
        for consent in told["consents"]
        if consent["evidence"]
    }


def _write(out: Path, data: bytes) -> None:
    """Readable by whoever runs the command alone: it is all about one person."""
    try:
        out.touch(mode=0o600)
        out.chmod(0o600)
        out.write_bytes(data)
    except OSError as error:
        typer.echo(f"cannot write {out}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None


def _date(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
