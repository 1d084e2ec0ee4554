"""Programs that run together, and stop together, in an environment that keeps Flower to itself.

Of the caller's environment nothing is passed on but language, time zone and where temporary files
go: no proxy, no key of another program, no setting of Flower that would open it again.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Final

CLOSED: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
KEPT: Final = ("LANG", "LC_ALL", "TZ", "TMPDIR")
STOP_SECONDS: Final = 20
LOOK_SECONDS: Final = 0.2
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Program:
    """A program by the name that people know it by, and how it is called."""

    name: str
    command: Sequence[str]


def closed_environment(
    caller: Mapping[str, str], home: Path, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for Flower's programs: `home` is where they keep what they unpack.

    `more` is what an application on this machine reads, such as where its rows are.
    """
    return {
        **{name: caller[name] for name in KEPT if name in caller},
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.defpath)),
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        **(more or {}),
        "FLWR_HOME": str(home),
        **CLOSED,
    }


def program(name: str) -> str:
    """The path of one of the programs of this environment."""
    return str(Path(sys.executable).parent / name)


def started(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes] | None = None,
    *,
    leads: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program that ends (SIGTERM) when this process does, killed or not.

    On Linux the kernel sees to that; elsewhere what is killed leaves its programs behind. One that
    `leads` is the head of a group of its own, all of which `end_group` kills.
    """
    kernel, parent = ctypes.CDLL(None) if sys.platform == "linux" else None, os.getpid()

    def tied() -> None:
        if kernel is not None:
            kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:  # it ended before the kernel was asked
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 (our own programs, in a closed environment)
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=leads,
        preexec_fn=tied,  # noqa: PLW1509 (one call of the kernel, and no threads here)
    )


def run_together(programs: Sequence[Program], environment: Mapping[str, str]) -> str:
    """Run programs until one ends or this process is told to stop (SIGTERM, SIGINT); stop them all.

    Returns which one ended by itself and how, "" if it was told to stop. Their tasks end with
    them: each watches its parent.
    """
    stop = threading.Event()

    def told(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    running: list[tuple[Program, subprocess.Popen[bytes]]] = []
    try:
        # One by one: those that run are stopped where a later one cannot be started.
        running.extend((one, started(one.command, environment)) for one in programs)
        while not stop.wait(LOOK_SECONDS):
            for one, process in running:
                if process.poll() is not None:
                    return f"{one.name} ended with exit code {process.returncode}"
        return ""
    finally:
        stop_all([process for _, process in running])


def stop_all(processes: Sequence[subprocess.Popen[bytes]], seconds: float = STOP_SECONDS) -> None:
    """Tell processes to end, and kill those that do not within some seconds."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group that a program led, once it has ended itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
