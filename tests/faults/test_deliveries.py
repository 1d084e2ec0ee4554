"""Two brokers that serve and send: each event arrives once, and after kill -9 none is missing."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from broker.store import webhooks
from broker.usecases.webhook import Shown, add_webhook
from tests.faults.lengths import short_or_long
from tests.faults.serving import Deployment, deployment
from tests.postgres import Server

ACTS = short_or_long(20, 2_000)
SECONDS = 60
KILLED_AFTER = 10


class System(ThreadingHTTPServer):
    """A partner's system; `got` are the ids of events, in the order in which they came."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.verified = 0
        self.secret = ""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_address[1]}/events"


class _Handler(BaseHTTPRequestHandler):
    server: System

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Webhook(self.server.secret).verify(body, dict(self.headers))
        self.server.got.append(self.headers["webhook-id"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_what: object) -> None:
        pass


@pytest.fixture
def system() -> Iterator[System]:
    made = System()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def hook(at: Deployment, system: System) -> Shown:
    types = ["consent.withdrawn"]
    shown = add_webhook(at.ctx, "demo", at.partner_id, url=system.url, types=types)
    system.secret = shown.secret
    return shown


def withdraw(at: Deployment, name: str) -> None:
    consent = at.granted(name)
    assert at.caller("officer").post(f"/v1/consents/{consent}/withdrawal", {}).status == 200


def wait_for(system: System, count: int) -> None:
    end = time.monotonic() + SECONDS + ACTS / 10
    while len(set(system.got)) < count and time.monotonic() < end:
        time.sleep(0.1)
    assert len(set(system.got)) == count


@pytest.mark.timeout(600)
def test_two_servers_send_each_event_once(
    system: System, postgres_server: Server, tmp_path: Path
) -> None:
    url = postgres_server.create("deliveries")
    with deployment(
        tmp_path, url, servers=2, BROKER_PRIVATE_HOSTS="localhost", BROKER_RATE_LIMITS="off"
    ) as at:
        hook(at, system)
        for number in range(ACTS):
            withdraw(at, f"crm-{number}")
        wait_for(system, ACTS)
    assert set(Counter(system.got).values()) == {1}


@pytest.mark.timeout(600)
def test_a_broker_that_is_killed_goes_on_where_it_was(system: System, tmp_path: Path) -> None:
    with deployment(tmp_path, BROKER_PRIVATE_HOSTS="localhost") as at:
        webhook_id = hook(at, system).row.id
        for number in range(KILLED_AFTER):
            withdraw(at, f"crm-{number}")
        at.servers[0].process.send_signal(signal.SIGKILL)
        at.servers[0].process.wait()
        with at.ctx.db.transaction() as tx:  # as if its lease had run out, which takes a minute
            webhooks.change(tx, webhook_id, leased_until=0)
    with deployment(tmp_path, BROKER_PRIVATE_HOSTS="localhost") as at:
        withdraw(at, "crm-later")
        wait_for(system, KILLED_AFTER + 1)
    # What was on its way comes twice, with the same id.
    assert len(system.got) <= KILLED_AFTER + 2
