"""Other implementations, installed from their registries into a folder that goes again.

What is installed stands in the locks beside this file, with hashes; nothing of it is a dependency
of the project. Needs pip and npm to reach their registries.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from benchmarks.probe import Measurement

HERE = Path(__file__).parent


class PeerMissing(SystemExit):
    """A peer could not be installed or started: there is nothing to compare with, and the run ends.

    They come from the registries of pip and npm, which have to be reachable.
    """


class Peer:
    """A running program that measures itself: one line says what and how often."""

    def __init__(self, asked: IO[str], answers: IO[str]) -> None:
        self._asked, self._answers = asked, answers

    def measure(self, what: str, calls: int) -> float:
        """What one of so many calls takes. Raises `PeerMissing` when the program has ended."""
        self._asked.write(f"{what} {calls}\n")
        self._asked.flush()
        answer = self._answers.readline()
        if not answer:
            raise PeerMissing(f"the peer ended at {what}")
        return float(answer)

    def measurement(self, what: str, calls: int) -> Measurement:
        """The same, for `benchmarks.probe.interleaved`."""
        return lambda: self.measure(what, calls)


@contextmanager
def anoncreds_and_bbs() -> Iterator[tuple[Peer, Peer]]:
    """PyPI's anoncreds, and npm's @mattrglobal/pairing-crypto and @digitalbazaar/bbs-signatures."""
    with tempfile.TemporaryDirectory(prefix="peers-") as name, ExitStack() as running:
        folder = Path(name)
        _run(sys.executable, "-m", "venv", folder / "venv")
        python = folder / "venv" / "bin" / "python"
        lock = HERE / "anoncreds.lock"
        _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", lock)
        for file in ("package.json", "package-lock.json", "bbs_peers.mjs"):
            shutil.copy(HERE / file, folder / file)
        _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        first = running.enter_context(_started(python, HERE / "anoncreds_peer.py"))
        second = running.enter_context(_started("node", folder / "bbs_peers.mjs"))
        yield first, second


@contextmanager
def _started(*command: str | Path) -> Iterator[Peer]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise PeerMissing(f"{command[0]} cannot be talked to")
        yield Peer(process.stdin, process.stdout)


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PeerMissing(f"{command[0]} cannot be run: {error}") from None
    if done.returncode != 0:
        raise PeerMissing(f"{command[0]} could not install a peer: {done.stderr[-800:]}")
