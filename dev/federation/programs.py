"""Programs of ours that tell events, started, heard, killed and stopped."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PATIENCE: Final = 600.0
STOP_SECONDS: Final = 120


@dataclass
class Program:
    """A program of ours that tells events, one a line."""

    name: str
    command: Sequence[str]
    told: Callable[[str, dict[str, Any]], None]
    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    news: "queue.Queue[dict[str, Any]]" = field(default_factory=queue.Queue)

    def start(self) -> None:
        """Start it; what it says to people goes where this process's does."""
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        with process:
            for line in process.stdout or ():
                event = json.loads(line)
                self.events.append(event)
                self.told(self.name, event)
                self.news.put(event)

    def await_event(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The next event that is wanted. Raises `TimeoutError`."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() not in {None, 0, -9}:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}")
            with contextlib.suppress(queue.Empty):
                event = self.news.get(timeout=0.5)
                if wanted(event):
                    return event
        raise TimeoutError(f"{self.name}: {what} did not come within {PATIENCE:.0f} s")

    def forget(self) -> None:
        """Whatever is told from now on is news."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.news.get_nowait()

    def kill(self) -> None:
        """End it and all that it started as a lost machine does: nothing says goodbye."""
        if self.process is not None:
            kill_family(self.process.pid)
            self._end()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
            self.process.kill()
            self._end()

    def _end(self) -> None:
        if self.process is not None and self.reader is not None:
            self.process.wait()
            self.reader.join()


def until(come: Callable[[], bool], what: str) -> None:
    """Wait for something. Raises `TimeoutError`."""
    end = time.monotonic() + PATIENCE
    while not come():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {PATIENCE:.0f} s")
        time.sleep(0.2)


def children(pid: int) -> list[int]:
    """The programs that a program has started, by whichever of its threads. Linux alone."""
    found: set[int] = set()
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            found.update(int(one) for one in (thread / "children").read_text().split())
    return sorted(found)


def family(pid: int) -> list[int]:
    """A program, what it has started and what these have, each before its own."""
    return [pid, *(one for child in children(pid) for one in family(child))]


def halt_family(pid: int) -> list[int]:
    """Stop a program and all that it has started as a hung machine does; whom it was."""
    stopped: list[int] = []
    while new := [one for one in family(pid) if one not in stopped]:
        for one in new:
            _send(one, signal.SIGSTOP)
        stopped += new
    return stopped


def kill_family(pid: int) -> None:
    """End a program and all that it has started: until nobody is left who would start another.

    Each is stopped before it is asked for its children, and killed after they are known: killed
    first, it would have left them to somebody else.
    """
    for one in halt_family(pid):
        _send(one, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(pid, number)
