"""`consent-broker transfer`: what transfers abroad rest on, their counts, the regulator's file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed, some
from broker.domain.addresses import ROOT_TENANT
from broker.domain.cross_border import (
    ASSESSMENT_BAND,
    CONTRACT_BAND,
    SENSITIVE_BAND,
    Kind,
    day,
    year_and_month,
)
from broker.domain.cross_border_export import Register, verify_register
from broker.domain.errors import BrokerError
from broker.domain.trust import Trust
from broker.usecases import cross_border as usecases
from broker.usecases import cross_border_export as exports
from broker.web.cross_border import page, svg
from credentials.errors import CredentialError

transfer = typer.Typer(
    help="Transfers abroad: mechanisms, yearly counts, the regulator's file. 个人信息出境登记。",
    no_args_is_help=True,
)

Year = Annotated[
    int | None, typer.Option("--year", help="In Beijing; else this one. 年份（北京时间）。")
]
LARGEST_FILE = 256 * 1_048_576
MONTHS = 12


@transfer.command("register")
def register(
    partner: Annotated[str, typer.Option("--partner", help="The recipient. 接收方编号。")],
    destination: Annotated[str, typer.Option("--to", help="Like SG. 目的地国家或地区。")],
    kind: Annotated[Kind, typer.Option("--kind", help="The mechanism. 机制。")],
    number: Annotated[
        str | None, typer.Option("--number", help="Under which it was filed. 备案号。")
    ] = None,
    ground: Annotated[
        str | None, typer.Option("--ground", help="Of an exemption or derogation. 豁免依据。")
    ] = None,
    purpose: Annotated[
        str | None, typer.Option("--purpose", help="Of an exemption or derogation. 目的。")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="A day in Beijing; else now. 生效日。")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="The first day after it. 失效日。")
    ] = None,
    exporter: Annotated[
        str | None, typer.Option("--exporter", help="Else the tenant. 提供方，默认租户。")
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Register what transfers to a partner in a country rest on. 登记出境机制。

    Grounds of an exemption: transit, contract, human_resources, emergency, free_trade_zone, treaty;
    of a derogation: explicit_consent, contract, contract_in_interest, public_interest,
    legal_claims, vital_interests, public_register.
    """
    with composed() as ctx:
        made = usecases.register(
            ctx,
            tenant,
            partner_id=partner,
            destination=destination,
            kind=kind,
            ground=ground,
            purpose=purpose,
            filing_number=number,
            valid_from=None if since is None else day(since, "--from"),
            valid_until=None if until is None else day(until, "--until"),
            exporter=exporter,
        )
        told = usecases.told(made, ctx.now())
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    typer.echo(f"{made.id}: {made.kind} for {made.partner} in {made.destination}")


@transfer.command("end")
def end(
    mechanism: Annotated[str, typer.Argument(help="Its id. 编号。")],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """End a mechanism at once; it stays in the register. 终止机制。"""
    with composed() as ctx:
        ended = usecases.end(ctx, tenant, mechanism)
    if as_json:
        typer.echo(json.dumps({"id": mechanism, "ended": ended}))
        return
    typer.echo(f"{mechanism} is over" if ended else f"{mechanism} was over before")


@transfer.command("list")
def listed(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the mechanisms, those that are over too. 列出出境机制。"""
    with composed() as ctx:
        found = [usecases.told(one, ctx.now()) for one in usecases.listed(ctx, tenant)]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for one in some(found):
        about = one["filing_number"] or f"{one['ground'] or ''} {one['purpose'] or ''}".strip()
        state = "in force" if one["in_force"] else "not in force"
        typer.echo(
            f"{one['id']}  {one['partner']}  {one['destination']}  {one['kind']:19}  {state:12}  "
            f"{about}"
        )


@transfer.command("count")
def count(year: Year = None, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """Distinct subjects since 1 January against the bands. 自1月1日起的去重人数。"""
    with composed() as ctx:
        found = [one.to_json() for one in usecases.counts(ctx, tenant, year)]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for one in found:
        exempt = ", ".join(f"{ground} {number:,}" for ground, number in one["exempt"].items())
        typer.echo(
            f"{one['year']}  {one['exporter']}  "
            f"{one['subjects']:,} of {CONTRACT_BAND:,} / {ASSESSMENT_BAND:,}  "
            f"sensitive {one['sensitive_subjects']:,} of {SENSITIVE_BAND:,}  "
            f"required: {one['required']}" + (f"  exempt: {exempt}" if exempt else "")
        )


@transfer.command("export")
def export(
    out: Annotated[
        Path, typer.Option("--out", help="Write it here: .json, .csv, .html or .svg. 输出文件。")
    ],
    year: Year = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Write the regulator's file, and the broker's word on it beside it as .jws. 导出并签名。"""
    form = out.suffix.removeprefix(".")
    if form not in {"json", "csv", "html", "svg"}:
        typer.echo("consent-broker: --out ends in .json, .csv, .html or .svg", err=True)
        raise typer.Exit(USAGE)
    beside = out.with_name(out.name + ".jws")
    with composed() as ctx:
        found = exports.read(ctx, tenant, year)
        content = _content(found, form)
        token = exports.signed(ctx, found, content, form)
    try:
        out.write_bytes(content)
        beside.write_text(token, encoding="ascii")
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
    if as_json:
        told = {"file": str(out), "signature": str(beside), "year": found.year, "form": form}
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    typer.echo(f"{out}: the register of {found.year}; {beside}: the broker's word on it")


@transfer.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="The exported file. 导出的文件。")],
    trust: Annotated[
        Path,
        typer.Option("--trust", help="The trust file: consent-broker trust export. 信任文件。"),
    ],
    signature: Annotated[
        Path | None, typer.Option("--signature", help="Else FILE.jws beside it. 签名文件。")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file against the broker's word on it; needs no server. 离线核验导出文件。"""
    beside = signature or file.with_name(file.name + ".jws")
    try:
        content, token, trusted = (_read(one) for one in (file, beside, trust))
        found = verify_register(
            content, token.decode("ascii", "replace").strip(), Trust.parse(trusted)
        )
    except (BrokerError, CredentialError) as error:
        typer.echo(f"consent-broker: {file}: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    told = {
        "issuer": found.issuer,
        "made_at": found.made_at,
        "year": found.year,
        "form": found.form,
        "log_size": None if found.checkpoint is None else found.checkpoint.size,
    }
    if as_json:
        typer.echo(json.dumps(told))
        return
    log = "" if found.checkpoint is None else f", when the log had {found.checkpoint.size} entries"
    typer.echo(f"{file}: the register of {found.year} by {found.issuer}{log}")


def _content(found: Register, form: str) -> bytes:
    if form == "json":
        return found.as_json()
    if form == "csv":
        return found.as_csv()
    this_year, this_month = year_and_month(found.made_at)
    until = this_month if found.year == this_year else MONTHS
    if form == "html":
        return page(found, until).encode()
    return svg(found.counts[0], until).encode()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            return source.read(LARGEST_FILE)
    except OSError as error:
        typer.echo(f"consent-broker: cannot read {file}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
