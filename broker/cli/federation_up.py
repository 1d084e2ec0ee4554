"""`consent-broker federation up` and `member up`: start what runs Flower, in its own environment.

The broker does not import Flower, which asks for older releases of what the broker serves with:
this process becomes the other one.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.composed import USAGE

BESIDE = ".venv-federation"
NOT_INSTALLED = (
    "Flower is not installed here: in a checkout of this project `make federation` makes an "
    f"environment with it ({BESIDE}), which is found by itself; elsewhere install the extra "
    "`federation` into an environment of its own and name its Python by --python. "
    "未安装 Flower：请运行 make federation，或用 --python 指定已安装它的环境。"
)

File = Annotated[Path | None, typer.Argument(help="Your settings, TOML: see --example. 配置文件。")]
Json = Annotated[
    bool, typer.Option("--json", help="Events as JSON, one a line. 以 JSON 逐行输出事件。")
]
Example = Annotated[bool, typer.Option("--example", help="Print a settings file. 配置示例。")]
Python = Annotated[
    Path | None, typer.Option("--python", help="Of the environment with Flower. 其 Python 路径。")
]


def register(federation: typer.Typer, member: typer.Typer) -> None:
    """Add the commands."""
    federation.command("up")(up)
    member.command("up")(member_up)


def up(
    file: File = None, as_json: Json = False, example: Example = False, python: Python = None
) -> None:
    """Coordinate training: run what the broker says should run. 运行联邦训练协调程序。

    Starts and supervises the SuperLink, registers the members' nodes, submits the campaigns' runs
    and resumes them after any crash, and hands receipts and models to the broker. Ends, with all
    that it started, on Ctrl-C or SIGTERM.
    """
    _become("up", file, as_json=as_json, example=example, python=python)


def member_up(
    file: File = None, as_json: Json = False, example: Example = False, python: Python = None
) -> None:
    """Take part in training as a member, with your own rows. 作为成员参与联邦训练。

    The first time it makes your keys and says which two files the operator needs. It checks all
    that lies on this machine, starts the SuperNode, asks until it is let in, and tells what each
    round did. Ends, with all that it started, on Ctrl-C or SIGTERM.
    """
    _become("member-up", file, as_json=as_json, example=example, python=python)


def _become(
    command: str, file: Path | None, *, as_json: bool, example: bool, python: Path | None
) -> None:
    if not example and file is None:
        typer.echo("consent-broker: name your settings file; --example prints one", err=True)
        raise typer.Exit(USAGE)
    # An example needs no Flower.
    chosen = Path(sys.executable) if example else python or _with_flower()
    if chosen is None or not os.access(chosen, os.X_OK):
        named = "" if chosen is None else f"there is no Python at {chosen}. "
        typer.echo(f"consent-broker: {named}{NOT_INSTALLED}", err=True)
        raise typer.Exit(USAGE)
    more = [str(file)] if file is not None else []
    more += ["--json"] * as_json + ["--example"] * example
    sys.stdout.flush()
    os.execv(chosen, [str(chosen), "-m", "federation.flower", command, *more])  # noqa: S606


def _with_flower() -> Path | None:
    if importlib.util.find_spec("flwr") is not None:
        return Path(sys.executable)
    beside = Path(sys.prefix).parent / BESIDE / "bin" / "python"
    return beside if beside.exists() else None
