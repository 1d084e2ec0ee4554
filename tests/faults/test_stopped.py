"""SIGTERM under load: what was acknowledged is there, and what was accepted was answered."""

import contextlib
import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from broker.store.consents import CONSENT, REQUEST
from dev.running import Broker, free_port, running_broker
from tests.faults.agreement import check_agreement, settled
from tests.faults.lengths import short_or_long
from tests.faults.load import Load
from tests.faults.serving import Deployment, behind, deployment, fresh_key

STOPS = short_or_long(1, 10)
CONSENTS = 60
LOAD_SECONDS = 1.0
PATIENCE = 60


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("engine", "workers"), [("sqlite", "1"), ("postgresql", "2")])
def test_stopped_under_load(
    engine: str, workers: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "" if engine == "sqlite" else request.getfixturevalue("postgres_database")
    port, loads, environment = str(free_port()), [], {}
    for number in range(STOPS):
        with deployment(
            tmp_path, url, PORT=port, WORKERS=workers, BROKER_DRAIN_SECONDS="1"
        ) as made:
            server = made.servers[0]
            environment = dict(server.environment)
            load = Load(made, f"stop-{number}", CONSENTS)
            with load.running(), stream_of(made, f"watched-{number}") as stream:
                time.sleep(LOAD_SECONDS)
                server.process.send_signal(signal.SIGTERM)
                # Not ready any more, it goes on with whoever comes.
                assert not_ready(server) == ["stopping"]
                acknowledged = load.acknowledged
                assert server.process.wait(PATIENCE) == 0
                assert load.acknowledged > acknowledged
                stream.join(PATIENCE)
                assert not stream.is_alive(), "the stream of events did not end"
                time.sleep(0.3)
            assert load.failed, "nobody met the stopped server"
            assert load.unexpected == []
            loads.append(load)
    with (
        running_broker(tmp_path, environment, log_name="again.log") as again,
        behind([again]) as made,
    ):
        _check_exactly(made, loads)


def _check_exactly(made: Deployment, loads: list[Load]) -> None:
    withdrawn = {one for load in loads for one in load.withdrawn}
    decided = {one for load in loads for one in load.decided}
    opened = {one for load in loads for one in load.opened.values()}
    check_agreement(
        made.ctx,
        made.servers[0].address,
        withdrawn=withdrawn,
        decided=decided,
        checkpoints=[one for load in loads for one in load.checkpoints],
    )
    # No act without its answer: nothing was accepted and then dropped.
    with made.ctx.db.reading() as tx:
        ended = select(CONSENT.c.id).where(CONSENT.c.state == "withdrawn")
        asked = select(REQUEST.c.id).where(REQUEST.c.state == "open", REQUEST.c.language != "en")
        assert set(tx.execute(ended).scalars()) == withdrawn
        assert set(tx.execute(asked).scalars()) == opened
    assert {entry.id for entry in settled(made.ctx) if entry.type == "decision"} == decided


def not_ready(server: Broker) -> list[str]:
    """What the server that is told to stop says of itself, on new connections."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if answer.status == 503:
                assert answer.headers["Connection"] == "close"
                reasons: list[str] = told["reasons"]
                return reasons
        time.sleep(0.02)
    raise AssertionError("it stays ready")


@contextlib.contextmanager
def stream_of(made: Deployment, subject_ref: str) -> Iterator[threading.Thread]:
    """Somebody who watches the page of a request, as browsers do, until the server ends it."""
    body = {"subject_ref": subject_ref, "template": "loyalty-churn", "language": "en"}
    key = {"Idempotency-Key": fresh_key()}
    asked = made.caller("partner").post("/v1/consent-requests", body, **key)
    page = urlsplit(asked.json["page_url"])
    connection = http.client.HTTPConnection(page.netloc, timeout=PATIENCE)
    connection.request("GET", f"{page.path}/events")
    events = connection.getresponse()
    assert events.status == 200
    assert events.readline().startswith(b"event: state")

    ended: list[bytes] = []

    def watch() -> None:
        with contextlib.closing(connection):
            ended.append(events.read())

    thread = threading.Thread(target=watch)
    thread.start()
    yield thread
    thread.join()
    assert len(ended) == 1, "the stream was cut"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=["twice", "ctrl-c"])
def test_who_insists_does_not_wait(sent: signal.Signals, tmp_path: Path) -> None:
    with running_broker(tmp_path, {"BROKER_DRAIN_SECONDS": "600"}) as server:
        server.process.send_signal(sent)
        if sent is signal.SIGTERM:
            assert not_ready(server) == ["stopping"]
            server.process.send_signal(sent)
        assert server.process.wait(PATIENCE) == 0
