"""A campaign's runs, one after the other: when there may be another, and whether they get on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from federation.flower.places import write_private
from federation.flower.settings import read_json

FIRST_PAUSE: Final = 4.0
LONGEST_PAUSE: Final = 300.0


@dataclass
class Tried:
    """What was tried. `run` is the SuperLink's id of the last run, None before the first.

    `in_vain` counts runs in a row that gave no round that was accepted: it is on disk, with the
    round that was the last accepted one as `run` began, so that no crash begins it anew. `told` is
    the run whose end was told; `pause` and `not_before` are seconds.
    """

    file: Path
    run: int | None = None
    reached: object = None
    in_vain: int = 0
    told: int | None = None
    pause: float = FIRST_PAUSE
    not_before: float = 0.0

    @classmethod
    def read(cls, directory: Path) -> Self:
        """What is kept in a campaign's directory. Raises `SettingsWrong`."""
        file = directory / "run.json"
        if not file.exists():
            return cls(file)
        kept = read_json(file)
        return cls(file, int(kept["run"]), kept.get("reached"), int(kept.get("in_vain", 0)))

    def started(self, run: int, reached: object) -> None:
        """A run began, when that round was the last accepted one; durable when it returns."""
        self.run, self.reached = run, reached
        self._keep()

    def ended(self, reached: object, now: float) -> None:
        """The run ended: let time pass before the next, longer each time while none gets on."""
        further = reached != self.reached
        self.told, self.in_vain = self.run, 0 if further else self.in_vain + 1
        pause = FIRST_PAUSE if further else self.pause
        self.pause, self.not_before = min(2 * pause, LONGEST_PAUSE), now + pause

    def anew(self) -> None:
        """Somebody has decided meanwhile: count from the beginning."""
        if self.in_vain:
            self.in_vain, self.pause, self.not_before = 0, FIRST_PAUSE, 0.0
            self._keep()

    def _keep(self) -> None:
        kept = {"run": self.run, "reached": self.reached, "in_vain": self.in_vain}
        write_private(self.file, json.dumps(kept).encode())
