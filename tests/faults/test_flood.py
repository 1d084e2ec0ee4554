"""A source that floods loses nothing that was accepted, and keeps no other source waiting."""

import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker.store import tables
from broker.usecases.source import add_source
from tests.faults.lengths import short_or_long
from tests.faults.serving import Deployment, deployment
from tests.postgres import Server

FLOOD = short_or_long(5_000, 170_000)
BATCH, SENDERS = 200, 8
LIMIT = "events=500/500"
SECONDS = 600


class Source:
    """A system that sends its events in batches and keeps what was not accepted."""

    def __init__(self, at: Deployment, name: str) -> None:
        self._at, self.name = at, name
        self._secret = base64.b64decode(add_source(at.ctx, "demo", name).secret[6:])
        self.accepted = 0
        self.answers: Counter[int] = Counter()

    def send(self, numbers: Sequence[int], server: int = 0) -> None:
        """One batch, again until it is accepted."""
        body = json.dumps([self._event(number) for number in numbers]).encode()
        connection = http.client.HTTPConnection(
            urlsplit(self._at.servers[server].address).netloc, timeout=60
        )
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            connection.request("POST", f"/v1/events/{self.name}", body, self._headers(body))
            answer = connection.getresponse()
            told = json.loads(answer.read())
            self.answers[answer.status] += 1
            if answer.status == 202:
                self.accepted += told["accepted"]
                break
            assert answer.status == 429, told
            time.sleep(float(answer.headers["Retry-After"]) / 10)  # more eager than it was told
        connection.close()

    def _event(self, number: int) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": "https://flood.example",
            "type": "order.paid",
            "subject": f"member-{number}",
            "time": "2026-11-27T12:00:00Z",
            "data": {"amount": number},
        }

    def _headers(self, body: bytes) -> dict[str, str]:
        sent = f"m-{time.time_ns()}", str(int(time.time()))
        signed = b".".join((*(part.encode() for part in sent), body))
        mac = base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()
        return {
            "Content-Type": "application/cloudevents-batch+json",
            "webhook-id": sent[0],
            "webhook-timestamp": sent[1],
            "webhook-signature": f"v1,{mac}",
        }


def test_nothing_is_lost_and_nobody_waits(postgres_server: Server, tmp_path: Path) -> None:
    url = postgres_server.create("flood")
    with deployment(
        tmp_path, url, servers=2, BROKER_RATE_LIMITS=f"{LIMIT},address=5000/5000"
    ) as at:
        flood, calm = Source(at, "flood"), [Source(at, "calm-a"), Source(at, "calm-b")]
        over = threading.Event()
        batches = [range(at_, min(at_ + BATCH, FLOOD)) for at_ in range(0, FLOOD, BATCH)]
        began = time.monotonic()
        floods = [
            threading.Thread(target=_send_all, args=(flood, batches[number::SENDERS], number % 2))
            for number in range(SENDERS)
        ]
        beside = [threading.Thread(target=_trickle, args=(one, over.is_set)) for one in calm]
        for thread in (*floods, *beside):
            thread.start()
        for thread in floods:
            thread.join()
        took = time.monotonic() - began
        over.set()
        for thread in beside:
            thread.join()
        kept = _kept(at)
        figures = {"seconds": took, "answers": [dict(one.answers) for one in (flood, *calm)]}
        (tmp_path / "figures.json").write_text(json.dumps(figures))
    assert flood.answers[429] > 0, "the source was not held back"
    assert flood.accepted == kept["flood"] == FLOOD
    for one in calm:
        assert set(one.answers) == {202}
        assert one.accepted == kept[one.name] == one.answers[202] > 0


def _send_all(source: Source, batches: Sequence[Sequence[int]], server: int) -> None:
    for batch in batches:
        source.send(batch, server)


def _trickle(source: Source, over: Callable[[], bool]) -> None:
    """One event after the other, for as long as the flood is."""
    number = 0
    while not over() or number < 3:
        source.send([number])
        number += 1
        time.sleep(0.05)


def _kept(at: Deployment) -> Counter[str]:
    """How many different events of each source there are."""
    events = tables.metadata.tables["incoming_event"]
    names = tables.metadata.tables["event_source"]
    with at.ctx.db.reading() as tx:
        known = {row.id: row.name for row in tx.execute(names.select())}
        found = {(row.source_id, row.event_id) for row in tx.execute(events.select())}
    return Counter(known[source_id] for source_id, _ in found)


pytestmark = pytest.mark.timeout(1_200)
