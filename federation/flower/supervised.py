"""A program that is started again when it ends, until this process is told to stop."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from federation.flower.events import Events
from federation.flower.processes import end_group, started, stop_all

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
STEADY_SECONDS: Final = 60.0
TAIL_BYTES: Final = 2_000
STOP_SECONDS: Final = 60.0
"""Longer than the program itself waits for what it started (`processes.STOP_SECONDS`)."""


@dataclass
class Supervised:
    """A program by the name that people know it by; its output goes to `log`.

    `hint` says from the end of its log what may cure its end.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    events: Events
    hint: Callable[[str], str] = lambda _: ""
    patience: float = STOP_SECONDS
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _pause: float = FIRST_PAUSE
    _begun: float = field(default=0.0)
    _not_before: float = field(default=0.0)

    def look(self) -> None:
        """Start it where it does not run."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            end_group(self.process)
            self.process = None
            if now - self._begun > STEADY_SECONDS:
                self._pause = FIRST_PAUSE
            how, hint = f"exit code {code}, see {self.log}", self.hint(self._tail())
            self.events.tell(
                "ended", name=self.name, how=how, again_in=round(self._pause), hint=hint
            )
            self._not_before, self._pause = now + self._pause, min(2 * self._pause, LONGEST_PAUSE)
        if now < self._not_before:
            return
        with self.log.open("ab" if self.starts else "wb") as output:
            self.process = started(self.command, self.environment, output, leads=True)
        self._begun, self.starts = now, self.starts + 1
        self.events.tell("started", name=self.name, pid=self.process.pid)

    def stop(self) -> None:
        """End it and what it started."""
        if self.process is not None:
            stop_all([self.process], self.patience)
            end_group(self.process)
            self.process = None

    def _tail(self) -> str:
        with self.log.open("rb") as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(max(0, size - TAIL_BYTES))
            return source.read().decode("utf-8", "replace")


class _Told(BaseException):
    """This process was told to stop while it asked others; no `except Exception` holds it up."""


def until_told(
    look: Callable[[], None], turn: Callable[[], None], events: Events, *, seconds: float
) -> None:
    """Call `look` and `turn` again and again until SIGTERM or SIGINT (Ctrl-C) comes.

    `turn` asks others, who may not answer for minutes: it is broken off, as a crash would break it
    off. `look` starts programs, and is let end.
    """
    stop, asking = threading.Event(), False

    def told(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asking
        stop.set()
        if asking:
            asking = False
            raise _Told

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    try:
        while not stop.is_set():
            look()
            asking = True
            if not stop.is_set():
                turn()
            asking = False
            stop.wait(seconds)
    except _Told:
        pass
    events.tell("stopping")
