"""Drive a server over HTTP from a process of its own.

Many connections, each with its next request as soon as its answer is there.

    python -m benchmarks.load PORT CONNECTIONS SECONDS REQUESTS

REQUESTS is a file with one base64 HTTP request a line; with `--once` each is sent once, and SECONDS
means nothing. Prints the answers per second and the seconds within which 99 of 100 came, as JSON;
stops with an error at the first answer that is not a 200 or lacks what `--expect` names.
"""

import argparse
import asyncio
import base64
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

HOST = "127.0.0.1"
ONCE_SECONDS = 300


class Connection(asyncio.Protocol):
    """One keep-alive connection that repeats requests until it is told to stop."""

    def __init__(self, requests: Sequence[bytes], expect: bytes) -> None:
        self.requests, self.expect = requests, expect
        self.answers = 0
        self.took: list[float] = []
        self.running = True
        self._sent = 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is of no such class
        self._next()

    def data_received(self, data: bytes) -> None:
        """Count an answer when it is complete, and send the next request."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 200") or self.expect not in body:
            self._finish(RuntimeError(f"unexpected answer: {(head + body)[:600]!r}"))
            return
        self.answers += 1
        self.took.append(time.perf_counter() - self._sent)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that the server closed."""
        self._finish(exc or RuntimeError("the server closed a connection"))

    def _next(self) -> None:
        if not self.running:
            self._finish(None)
        elif self._transport is not None:
            self._sent = time.perf_counter()
            self._transport.write(random.choice(self.requests))

    def _finish(self, error: Exception | None) -> None:
        if not self.finished.done():
            if error is None:
                self.finished.set_result(None)
            else:
                self.finished.set_exception(error)


class Once(Connection):
    """A connection that takes its next request from those that nobody has sent."""

    def __init__(self, unsent: list[bytes], expect: bytes) -> None:
        super().__init__(unsent, expect)
        self.unsent = unsent

    def _next(self) -> None:
        self.requests = [self.unsent.pop()] if self.unsent else []
        self.running = bool(self.requests)
        super()._next()


@dataclass(frozen=True)
class Taken:
    """Answers per second, and the seconds within which 99 of 100 came."""

    rate: float
    p99: float


async def drive_once(port: int, connections: int, requests: list[bytes], expect: bytes) -> Taken:
    """Send each request once, and say how that went over all of them."""
    loop = asyncio.get_running_loop()
    count, start = len(requests), time.perf_counter()
    opened = [
        (await loop.create_connection(lambda: Once(requests, expect), HOST, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(one.finished for one in opened))
    return Taken(count / (time.perf_counter() - start), _p99(opened))


def _p99(opened: Sequence[Connection]) -> float:
    took = sorted(seconds for one in opened for seconds in one.took)
    return took[min(len(took) - 1, len(took) * 99 // 100)] if took else 0.0


async def drive(
    port: int, connections: int, seconds: float, requests: Sequence[bytes], expect: bytes
) -> Taken:
    """Send requests for `seconds`, and say how that went."""
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda: Connection(requests, expect), HOST, port))[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds / 10)  # until every connection is at work
    start, before = time.perf_counter(), sum(one.answers for one in opened)
    await asyncio.sleep(seconds)
    after, elapsed = sum(one.answers for one in opened), time.perf_counter() - start
    for one in opened:
        one.running = False
    await asyncio.gather(*[one.finished for one in opened])
    return Taken((after - before) / elapsed, _p99(opened))


def rate(
    port: int, requests: Path, expect: str, *, connections: int = 16, seconds: float = 1.5
) -> float:
    """Answers per second of the server at `port`, driven from a process of its own.

    Raises `RuntimeError` that quotes an unexpected answer.
    """
    return driven(port, requests, expect, connections=connections, seconds=seconds).rate


def driven(
    port: int,
    requests: Path,
    expect: str,
    *,
    connections: int = 16,
    seconds: float = 1.5,
    once: bool = False,
) -> Taken:
    """The same with how long answers took; `once` sends each request once, however long it takes.

    Raises `RuntimeError` that quotes an unexpected answer.
    """
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(connections)]
    finished = subprocess.run(
        [*command, str(seconds), str(requests), "--expect", expect, *["--once"] * once],
        capture_output=True,
        text=True,
        check=False,
        timeout=ONCE_SECONDS if once else 30 + 4 * seconds,
        cwd=Path(__file__).resolve().parent.parent,
    )
    if finished.returncode != 0:
        raise RuntimeError(f"the load stopped: {finished.stderr[-1000:]}")
    return Taken(**json.loads(finished.stdout))


def write_requests(path: Path, requests: Sequence[bytes]) -> Path:
    """Store requests in the form that this program reads."""
    path.write_bytes(b"\n".join(base64.b64encode(request) for request in requests))
    return path


def post(path: str, body: bytes, headers: Sequence[str] = ()) -> bytes:
    """A POST of JSON as bytes."""
    head = [
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--expect", default="")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    requests = [base64.b64decode(line) for line in options.requests.read_bytes().split(b"\n")]
    expect = options.expect.encode()
    work = (
        drive_once(options.port, options.connections, requests, expect)
        if options.once
        else drive(options.port, options.connections, options.seconds, requests, expect)
    )
    print(json.dumps(asdict(uvloop.run(work))))


if __name__ == "__main__":
    main()
