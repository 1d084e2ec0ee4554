"""`serve`, `migrate`, `trust export`, `evidence verify`: run the broker, and check without it."""

import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from broker.composition import build_context, prepare
from broker.domain.bundle import LARGEST_BUNDLE
from broker.domain.errors import BrokerError
from broker.domain.evidence import Report, verify_evidence
from broker.domain.trust import Trust
from broker.settings import Settings, SettingsError, read_settings
from broker.store import migrate as schema
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.usecases.trust import trust as trust_of

VERIFIED, FAILED, USAGE, ORIGIN_NOT_ESTABLISHED = 0, 1, 2, 3
LARGEST_TRUST = 1_048_576

TITLES = {
    "bundle": ("the zip, bit for bit", "文件包逐位一致"),
    "manifest": ("the list of files and its signature", "文件清单及其签名"),
    "terms": ("the terms", "同意条款"),
    "request_objects": ("what the wallet was shown", "钱包当时看到的内容"),
    "signatures": ("the customer's own signatures", "客户本人的签名"),
    "credentials": ("consent credential and receipt", "同意凭证与收据"),
    "log": ("places in the log", "在日志中的位置"),
    "keys": ("keys that were stolen", "失窃的密钥"),
    "time": ("when, by others' clocks", "由他方时钟证明的时间"),
    "story": ("what the log tells", "日志所述的经过"),
}
VERDICTS = {
    "verified": ("VERIFIED", "已核验"),
    "consistent_origin_not_established": (
        "CONSISTENT, ORIGIN NOT ESTABLISHED: give --trust to learn whose it is",
        "前后一致，但来源未确认：请用 --trust 指定信任文件",
    ),
    "failed": ("FAILED", "核验失败"),
}

evidence = typer.Typer(
    help="Check evidence with no server and no network. 离线核验证据。", no_args_is_help=True
)
trust = typer.Typer(
    help="Whom to trust when checking evidence. 核验时信任谁。", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command()(serve)
    app.command()(migrate)
    app.add_typer(evidence, name="evidence")
    app.add_typer(trust, name="trust")


def serve(
    count: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=64, help="Server processes; several need PostgreSQL. 进程数。"
        ),
    ] = None,
) -> None:
    """Migrate the database, create what is missing, and serve. 启动服务。

    HOST, PORT, WORKERS, PUBLIC_URL, DATABASE_URL, BROKER_HOME and BROKER_MASTER_KEY choose how;
    see README.
    """
    import uvicorn

    from broker.api import logs
    from broker.app import create_app
    from broker.cli import workers
    from broker.cli.draining import drain_on_sigterm

    try:
        settings = read_settings()
        settings = replace(settings, workers=count or settings.workers)
        logs.configure(as_json=settings.log_json)
        ctx = build_context(settings)
        prepare(ctx)
    except SettingsError as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(USAGE) from None
    typer.echo(_welcome(settings))
    if settings.workers > 1:
        ctx.db.close()
        workers.run(settings)
        return
    uvicorn.run(
        create_app(ctx, drain_on_sigterm),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=workers.GRACE_SECONDS,
        timeout_keep_alive=workers.IDLE_SECONDS,
    )


def migrate() -> None:
    """Bring the database to the newest schema; it needs no master key. 迁移数据库。"""
    try:
        settings = read_settings()
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(Database(settings.sqlalchemy_url)) as db:
            schema.migrate(db)
    except SettingsError as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(USAGE) from None
    typer.echo("the database is at the newest schema")


@trust.command("export")
def trust_export(
    out: Annotated[
        Path | None, typer.Option(help="Write to this file instead of printing.")
    ] = None,
) -> None:
    """Write the trust file: this broker's root certificates and log key. 导出信任文件。

    Hand it to whoever checks evidence, by a way that they trust.
    """
    ctx = build_context(read_settings())
    with acting_for_all():
        text = json.dumps(trust_of(ctx).to_json(), indent=2) + "\n"
    ctx.db.close()
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="ascii")


@evidence.command("verify")
def evidence_verify(
    file: Annotated[Path, typer.Argument(help="The evidence zip.")],
    trust_file: Annotated[
        Path | None,
        typer.Option("--trust", help="The operator's trust file, got by another way than the zip."),
    ] = None,
    lang: Annotated[str, typer.Option(help="zh or en.")] = "en",
    as_json: Json = False,
) -> None:
    """Check an evidence bundle and name each thing that was checked. 离线核验证据包。

    Exit codes: 0 verified; 1 failed; 2 wrong use; 3 consistent, but whose it is is not established
    (no --trust).
    """
    try:
        with file.open("rb") as bundle:
            data = bundle.read(LARGEST_BUNDLE + 1)
        anchors = (
            None
            if trust_file is None
            else Trust.parse(trust_file.read_bytes()[: LARGEST_TRUST + 1])
        )
    except OSError as error:
        typer.echo(f"cannot read {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
    except BrokerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    report = verify_evidence(data, anchors)
    if as_json:
        typer.echo(json.dumps(_report_json(report), ensure_ascii=False))
    else:
        _print(report, 1 if lang == "zh" else 0)
    sys.exit({"verified": VERIFIED, "failed": FAILED}.get(report.verdict, ORIGIN_NOT_ESTABLISHED))


def _print(report: Report, language: int) -> None:
    for check in report.checks:
        typer.echo(f"  ✓ {TITLES[check.code][language]}: {check.found}")
    if report.failure is not None:
        typer.echo(f"  ✗ {TITLES[report.failure.code][language]}: {report.failure.found}")
    typer.echo(VERDICTS[report.verdict][language])


def _report_json(report: Report) -> dict[str, object]:
    failure = (
        None
        if report.failure is None
        else {"code": report.failure.code, "found": report.failure.found}
    )
    return {
        "verdict": report.verdict,
        "checks": [{"code": check.code, "found": check.found} for check in report.checks],
        "failure": failure,
        "origin_established": report.origin_established,
        "consent_id": report.manifest.get("consent_id"),
        "period": report.manifest.get("period"),
        "copy": report.manifest.get("copy"),
    }


def _welcome(settings: Settings) -> str:
    public_url, home = settings.public_url, settings.home
    command = "demo      the whole way, with the built-in wallet 全流程演示"
    if not settings.demonstration:
        command = "doctor    what is missing 还缺什么"
    return f"""
Consent broker 同意经纪  {public_url}

  open   打开      {public_url}/            what this is 这是什么
                   {public_url}/docs        the API 接口文档
  try    试一试    consent-broker {command}
  data   数据      {home}                   database, master key, log head

  Ctrl-C stops it. 按 Ctrl-C 停止。
"""
