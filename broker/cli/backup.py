"""`consent-broker backup` and `restore`: one sealed file of a deployment, and back."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DBAPIError

from broker.cli.composed import REFUSED, USAGE, Json
from broker.composition import build_context, present_master_key
from broker.domain.backup import Manifest
from broker.domain.errors import BrokerError, LogRolledBack
from broker.settings import Settings, SettingsError, read_settings
from broker.store.acting import acting_for_all
from broker.usecases import backup as usecases
from broker.usecases import recovery
from broker.usecases.backup import Restored, Step
from credentials.sealing import MasterKey

STEPS = {"database": "database 数据库", "seal": "seal 加密封存", "open": "open and check 解封核对"}

backup = typer.Typer(
    help="Back up into one sealed file, while serving. 在线备份为一个加密文件。",
    invoke_without_command=True,
)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.add_typer(backup, name="backup")
    app.command()(restore)


@backup.callback()
def create(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(help="The new file, or a folder in which it gets a name. 输出文件或文件夹。"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Back up the database, the log's head and the withdrawals, while the broker serves. 备份。

    The file is sealed under the master key, which is not in it: keep that one elsewhere. For
    PostgreSQL pg_dump is needed (package postgresql-client).
    """
    if context.invoked_subcommand is not None:
        return
    if out is None:
        typer.echo("consent-broker: say where: --out FILE or --out FOLDER", err=True)
        raise typer.Exit(USAGE)
    with _deployment() as (settings, master), _progress(quiet=as_json) as step:
        now = int(time.time())
        if out.is_dir():
            moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
            out /= f"consent-broker-{moment}.backup"
        manifest = usecases.backup(settings, master, out, now, step)
    _tell(out, manifest, as_json=as_json)


@backup.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The backup. 备份文件。")], as_json: Json = False
) -> None:
    """Open a backup and check every byte of it; exit 1 when it is no good. 核验备份。"""
    with _deployment() as (_settings, master), _progress(quiet=as_json) as step:
        manifest = usecases.verify(master, file, step)
    _tell(file, manifest, as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="The backup. 备份文件。")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a database that is not empty. 覆盖现有数据库。")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the database, and say what to do next. 从备份恢复。

    Stop every broker first. The master key has to be there; log-head and withdrawals of BROKER_HOME
    stay, and tell whether the backup is older than what was signed last.
    """
    with _deployment() as (settings, master):
        with _progress(quiet=as_json) as step:
            done = usecases.restore(settings, master, file, step, force=force)
        stands, todo = _stands(settings, done)
    if as_json:
        told = {
            "log": stands,
            "withdrawals_added": done.withdrawals_added,
            "manifest": done.manifest.to_json(),
            "next": todo,
        }
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    typer.echo(f"restored the backup of {_moment(done.manifest)}, {done.manifest.log_size} entries")
    typer.echo(todo)


def _stands(settings: Settings, done: Restored) -> tuple[str, str]:
    """How the log stands after a restore, and what the operator does now."""
    ctx = build_context(settings)
    try:
        found = recovery.rollback(ctx)
    except LogRolledBack:
        return "no_head", (
            "There is no log-head here, so nobody can say whether this backup is the newest. "
            "Nothing is permitted until that is settled:\n"
            f"  - nothing was done after {_moment(done.manifest)}: consent-broker log adopt\n"
            "  - otherwise put the newest copies of log-head and withdrawals into "
            f"{settings.home}, then: consent-broker log recover"
        )
    finally:
        ctx.db.close()
    if found is None:
        return "sound", "The log extends the head that was signed last: start the broker."
    return "rolled_back", (
        f"The backup is older than the log: {found.size} of {found.signed.size} entries. Restore a "
        "newer backup if there is one; otherwise withdraw again what was withdrawn since:\n"
        f"  consent-broker log recover --after {found.signed.size}"
    )


@contextmanager
def _deployment() -> Iterator[tuple[Settings, MasterKey]]:
    """Settings and master key; exit 1 when refused, 2 when misconfigured, errors in one line."""
    try:
        settings = read_settings()
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with acting_for_all():
            yield settings, present_master_key(settings)
    except SettingsError as error:
        code, message = USAGE, str(error)
    except BrokerError as error:
        code, message = REFUSED, str(error)
    except OSError as error:
        code, message = USAGE, f"{error.filename}: {error.strerror}"
    except DBAPIError as error:
        code, message = USAGE, f"the database cannot be opened: {error.orig}"
    else:
        return
    typer.echo(f"consent-broker: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Step]:
    """A bar for each step, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty()) as shown:
        bars: dict[str, TaskID] = {}

        def step(name: str, done: int, of: int) -> None:
            if name not in bars:
                bars[name] = shown.add_task(STEPS[name], total=None)
            shown.update(bars[name], completed=done, total=of or None)

        yield step


def _tell(file: Path, manifest: Manifest, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"file": str(file), "manifest": manifest.to_json()}))
        return
    size = sum(one.size for one in manifest.files.values())
    typer.echo(
        f"{file}: {manifest.engine} of {_moment(manifest)}, schema {manifest.schema}, "
        f"{manifest.log_size} log entries, {', '.join(manifest.files)}, {size} bytes"
    )


def _moment(manifest: Manifest) -> str:
    return datetime.fromtimestamp(manifest.taken_at, UTC).isoformat().replace("+00:00", "Z")
