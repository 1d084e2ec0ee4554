"""A partner's system that takes events, by its own rules, and a broker that sends to it."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from broker.outbound.guarded import GuardedClient
from broker.store import tables
from broker.usecases.context import Context
from broker.usecases.delivery import deliver_some
from tests.faults.hostile import HOST, Network, answering, serving


@dataclass(frozen=True)
class Got:
    """A delivery as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """It answers `status`, or by event id where that is named; it keeps everything."""

    client: GuardedClient
    url: str = ""
    status: int = 204
    of_type: dict[str, int] = field(default_factory=dict)
    body: bytes = b""
    headers: Sequence[str] = ()
    got: list[Got] = field(default_factory=list)

    def behave(self, connection: socket.socket, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")[1:]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        one = Got(headers, body)
        self.got.append(one)
        status = self.of_type.get(one.event["type"], self.status)
        told = answering(self.body, status=f"{status} Told", headers=self.headers)
        told(connection, request)

    def types(self) -> list[str]:
        """The types that have come, in order; forgotten with that."""
        found = [one.event["type"] for one in self.got]
        self.got.clear()
        return found


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A partner's system under a public name."""
    made = Receiver(Network().client(seconds=3))
    with serving(made.behave) as server:
        made.url = f"http://{HOST}:{server.port}/events"
        yield made


def send_all(ctx: Context, to: Receiver, time: list[int] | None = None) -> int:
    """Every turn that is due, by `time` a second between them; how many there were."""
    turns = 0
    if time is not None:
        time[0] += 1
    while deliver_some(ctx, to.client, draw=lambda _most: 0):
        turns += 1
        if time is not None:
            time[0] += 1
    return turns


def rows(ctx: Context, table: str) -> list[Any]:
    """All rows of a table."""
    with ctx.db.reading() as tx:
        return list(tx.execute(tables.metadata.tables[table].select()).all())
