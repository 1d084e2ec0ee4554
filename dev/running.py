"""A broker of one's own: started on a free port, stopped at the end.

`make demo`, the tests and the benchmarks all drive the program as people run it: a process of its
own, reached over HTTP.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 180  # a machine that is busy with other tests starts it late
STOP_SECONDS = 20
CONSENT_BROKER = (sys.executable, "-c", "import sys; from broker.cli import main; sys.exit(main())")


class BrokerNotRunningError(Exception):
    """The broker stopped or did not become ready; the message ends with the last of its log."""


@dataclass(frozen=True)
class Broker:
    """A broker that serves at `address` and keeps everything below `home`, in its `process`."""

    address: str
    home: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self.process.pid

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `consent-broker` with `arguments` in this broker's environment; never raises."""
        return subprocess.run(
            [*CONSENT_BROKER, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _environment(home: Path, port: int, changes: Mapping[str, str]) -> dict[str, str]:
    # A DATABASE_URL or key of the caller's own shell must not reach a throw-away broker.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("BROKER_")
    }
    return inherited | {
        "HOST": HOST,
        "PORT": str(port),
        "PUBLIC_URL": f"http://{HOST}:{port}",
        "BROKER_HOME": str(home),
        **changes,
    }


@contextlib.contextmanager
def running_broker(
    home: Path,
    changes: Mapping[str, str] | None = None,
    *,
    log_name: str = "serve.log",
    ready: bool = True,
) -> Iterator[Broker]:
    """Serve from `home` on a free port of 127.0.0.1; yield once it is ready, stop it at the end.

    `changes` are further environment variables, such as `DATABASE_URL`. The log is written to
    `log_name` in `home`. With `ready` False it is enough that the broker answers `/healthz`.
    Raises `BrokerNotRunningError` if it does not come so far.
    """
    environment = _environment(home, free_port(), changes or {})
    address = f"http://{HOST}:{environment['PORT']}"
    log = home / log_name
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*CONSENT_BROKER, "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(process, f"{address}/{'readyz' if ready else 'healthz'}", log)
            yield Broker(address, home, environment, process)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], probe: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BrokerNotRunningError(
                f"the broker stopped with exit code {process.returncode}:\n{_tail(log)}"
            )
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(probe, timeout=5),
        ):
            return
        time.sleep(0.05)
    raise BrokerNotRunningError(f"not ready after {START_SECONDS} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])
