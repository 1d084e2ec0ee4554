"""`consent-broker keys`: what keys there are, rotate them, mark stolen ones, seal anew."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.store.master_key_file import MasterKeyFile
from broker.usecases import key_rotation, reissuing, resealing
from broker.usecases.context import Context
from broker.usecases.resealing import Resealed

FOLLOWED_SECONDS = 3
"""Brokers read the master key each second; busy ones are waited for as often as it takes."""

keys = typer.Typer(
    help="Signing keys and the master key: rotate, mark stolen ones. 密钥的轮换与失窃处理。",
    no_args_is_help=True,
)


class What(StrEnum):
    """What can be rotated."""

    ISSUER = "issuer"
    REQUEST = "request"
    ATTRIBUTES = "attributes"
    LOG = "log"
    MASTER = "master"


@keys.command("list")
def list_keys(as_json: Json = False) -> None:
    """List every key, and how many sealed values are under which master key. 列出密钥。"""
    with composed() as ctx:
        rows = key_rotation.every_key(ctx)
        sealed = resealing.under_keys(ctx)
        current = ctx.master.key_id.hex()
    if as_json:
        typer.echo(json.dumps({"keys": rows, "master": {"current": current, "sealed": sealed}}))
        return
    for row in rows:
        typer.echo(
            f"{row['id']}  {row['purpose']:8} {row['tenant'] or '-':12} {row['state']:12} "
            f"since {_told(row['created_at'])}{_ended(row)}"
        )
    for key_id, count in sealed.items():
        now = "seals now" if key_id == current else "previous"
        typer.echo(f"master key {key_id}  {now}: {count} sealed values")


@keys.command()
def rotate(
    what: Annotated[
        What, typer.Argument(help="issuer, request, attributes, log or master. 轮换哪种密钥。")
    ],
    tenant: Tenant = ROOT_TENANT,
    overlap_days: Annotated[
        int,
        typer.Option(
            min=0, max=3650, help="log: how long the old key cosigns. 旧日志密钥并签天数。"
        ),
    ] = key_rotation.OVERLAP_DAYS,
    as_json: Json = False,
) -> None:
    """Put a new key in place of the one in use; no broker has to stop. 轮换密钥。

    issuer, request, attributes: what the older key signed stays valid. log: hand out the new trust
    file (trust export) and tell witnesses while the old key cosigns. master: for the key in
    BROKER_HOME, which all machines have to share; it also seals everything anew. Otherwise see
    docs/deployment.md.
    """
    with composed() as ctx:
        if what is What.MASTER:
            _rotate_master(ctx, as_json=as_json)
            return
        made = key_rotation.rotate(ctx, what.value, tenant, overlap_days=overlap_days)
    told = {"purpose": made.purpose, "tenant": made.tenant_id, "key": made.id}
    typer.echo(json.dumps(told) if as_json else f"{made.id} is the {made.purpose} key from now on")


@keys.command()
def reseal(as_json: Json = False) -> None:
    """Seal anew what older master keys sealed, while brokers serve. 用新主密钥重新加密。

    It can be stopped and started again. Exit 1 when some values are under a key that is not here.
    """
    with composed() as ctx:
        _reseal(ctx, lambda told: resealing.reseal(ctx, told), as_json=as_json)


@keys.command()
def compromised(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As in keys list. 密钥编号。")],
    since: Annotated[
        str,
        typer.Option(
            help="When it may have been stolen at the earliest: 2026-11-26T08:00:00Z, or Unix "
            "seconds. 最早可能失窃的时间。"
        ),
    ],
    as_json: Json = False,
) -> None:
    """Mark a key as stolen, and go on with a new one at once. 标记失窃密钥。

    Every worker stops using it within seconds. docs/playbooks/compromised-issuer-key.md says what
    to do before and after.
    """
    at = _time(since)
    with composed() as ctx:
        done = key_rotation.compromise(ctx, key_id, at)
    told = {
        "key": done.key.id,
        "purpose": done.key.purpose,
        "since": done.since,
        "log_size": done.log_size,
        "replaced_by": done.replaced_by,
        "wallet_copies_refused": done.wallets,
        "requests_closed": done.requests,
    }
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{done.key.id} is marked as stolen since {_told(done.since)}")
    typer.echo(
        f"{done.replaced_by} takes its place"
        if done.replaced_by
        else "no key takes its place yet: keys rotate makes one, or a new one in the device"
    )
    if done.key.purpose == "issuer":
        typer.echo(
            f"{done.wallets} wallet copies are refused; next: consent-broker keys reissue, then "
            "hand out trust export"
        )
    if done.requests:
        typer.echo(f"{done.requests} open requests were closed: customers open the page again")


@keys.command()
def reissue(
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="One tenant; all by default. 租户，默认全部。")
    ] = None,
    as_json: Json = False,
) -> None:
    """Issue again, under the new key, what a stolen issuer key signed. 用新密钥补发凭证。

    Consent credentials and receipts of live consents, and of those granted since the theft. It can
    be stopped and started again; partners fetch theirs at /v1/consents/{id}/credential.
    """
    with composed() as ctx, _progress("issue again 补发", quiet=as_json) as progress:
        task = progress.add_task("", total=reissuing.waiting(ctx, tenant))
        done = reissuing.reissue(ctx, tenant, lambda seen: progress.update(task, completed=seen))
    told = {"reissued": done.reissued, "looked_at": done.looked_at}
    typer.echo(
        json.dumps(told)
        if as_json
        else f"{done.reissued} of {done.looked_at} consents have new credentials"
    )


def _rotate_master(ctx: Context, *, as_json: bool) -> None:
    if ctx.settings.master_key is not None:
        typer.echo(
            "consent-broker: the master key is in BROKER_MASTER_KEY: rotate it as "
            "docs/deployment.md says (BROKER_MASTER_KEY_PREVIOUS), then keys reseal",
            err=True,
        )
        raise typer.Exit(USAGE)
    older = ctx.master.key_id
    MasterKeyFile(ctx.settings.home).rotate()
    ctx.master.refresh()
    key_rotation.record_master(ctx, older)

    def wait(number: int) -> None:
        if number > 0 and not as_json:
            typer.echo("a broker still seals under the earlier key: waiting for it", err=True)
        time.sleep(FOLLOWED_SECONDS)

    _reseal(
        ctx,
        lambda told: resealing.reseal_while_brokers_follow(ctx, wait, told),
        as_json=as_json,
    )


def _reseal(
    ctx: Context, run: Callable[[Callable[[int], None]], Resealed], *, as_json: bool
) -> None:
    with _progress("seal anew 重新加密", quiet=as_json) as progress:
        task = progress.add_task("", total=resealing.waiting(ctx))
        done = run(lambda count: progress.update(task, completed=count))
    left = resealing.waiting(ctx)
    told = {
        "master": ctx.master.key_id.hex(),
        "resealed": done.done,
        "remaining": left,
        "unopened": done.unopened,
    }
    if as_json:
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"{done.done} values are sealed under {told['master']} now; {left} are not")
    if done.unopened:
        typer.echo(
            f"consent-broker: {done.unopened} values are under a master key that is not here: add "
            "it to BROKER_MASTER_KEY_PREVIOUS, or put its file back",
            err=True,
        )
    followed = done.settled and left <= done.unopened
    if not followed:
        typer.echo(
            "consent-broker: brokers go on sealing under an earlier master key: restart those that "
            "have not read the new one (each machine needs this BROKER_HOME, or see "
            "docs/deployment.md), then consent-broker keys reseal; keep the earlier key until then",
            err=True,
        )
    if done.unopened or not followed:
        raise typer.Exit(REFUSED)


def _progress(title: str, *, quiet: bool) -> Progress:
    return Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )


def _time(text: str) -> int:
    try:
        if text.isascii() and text.isdigit():
            return int(text)
        read = datetime.fromisoformat(text)
        if read.tzinfo is None:
            raise ValueError(text)
        return int(read.timestamp())
    except (ValueError, OverflowError):
        message = "a time is 2026-11-26T08:00:00Z (with its zone), or Unix seconds"
        raise typer.BadParameter(message, param_hint="--since") from None


def _told(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ended(row: Mapping[str, Any]) -> str:
    if row["compromised_since"] is not None:
        return f", stolen since {_told(row['compromised_since'])}"
    if row["cosigns_until"] is not None and row["log_size"] is None:
        return f", cosigns until {_told(row['cosigns_until'])}"
    if row["retired_at"] is not None:
        return f", retired {_told(row['retired_at'])}"
    return ""
