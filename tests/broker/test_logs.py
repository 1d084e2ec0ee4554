"""The request log: one line each, by route and type, and nothing of anybody in it."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from broker.api import logs
from tests.broker.clients_world import World, world

SECRETS = (
    "crm-000381",
    "13800138000",
    "page-token-x7Yq",
    "Zhang San",
    "zhang@customer.example",
)


class Unlucky(Exception):
    """A failure whose message quotes what a customer sent."""


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:

        @made.app.get("/c/{page_token}")
        def page(page_token: str) -> str:
            return page_token

        @made.app.get("/fails/{what}")
        def fails(what: str) -> None:
            try:
                int(what)
            except ValueError as error:
                raise Unlucky(f"no customer {what}") from error

        yield made


def listen(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Log to where pytest listens now; it puts another file there for each phase of a test."""
    logs.configure()
    capfdbinary.readouterr()


def lines(capfdbinary: pytest.CaptureFixture[bytes]) -> list[Mapping[str, Any]]:
    sys.stdout.flush()
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


def test_a_request_is_one_line_with_its_route_template(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    listen(capfdbinary)
    answer = broker.http.get("/c/page-token-x7Yq?phone=13800138000")
    (line,) = lines(capfdbinary)
    assert line["route"] == "/c/{page_token}"
    assert (line["method"], line["status"], line["event"]) == ("GET", 200, "request")
    assert line["ms"] >= 0
    assert line["request_id"] == answer.headers["x-request-id"]
    assert set(line) == {
        "event",
        "level",
        "timestamp",
        "method",
        "route",
        "status",
        "ms",
        "request_id",
    }


def test_routes_below_a_tenant_are_the_same_routes(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    listen(capfdbinary)
    broker.http.get("/t/acme/v1/templates/page-token-x7Yq")
    broker.http.get("/page-token-x7Yq")
    assert [line["route"] for line in lines(capfdbinary)] == [
        "/v1/templates/{template_id}",
        "unmatched",
    ]


def test_whatever_is_sent_the_log_holds_nothing_of_it(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    listen(capfdbinary)
    headers = broker.bearer(broker.officer)
    for secret in SECRETS:
        sent = headers | {
            "X-Request-ID": secret,
            "User-Agent": secret,
            "Idempotency-Key": secret,
            "Referer": f"https://a.example/{secret}",
        }
        broker.http.get(f"/v1/templates/{secret}", params={"q": secret}, headers=sent)
        broker.http.get(f"/fails/{secret}", headers=sent)
        broker.http.get(f"/{secret}", headers=sent)
        broker.http.request(secret.replace(" ", "").replace("@", ""), "/v1/purposes", headers=sent)
        broker.http.post("/v1/templates", json={"id": secret, secret: secret}, headers=sent)
        broker.http.post("/oauth/token", data={"grant_type": secret}, headers=sent)
        broker.http.put(
            f"/v1/partners/{secret}/attribute-mapping", json={"fields": {secret: 1}}, headers=sent
        )
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n")
    written = capfdbinary.readouterr()
    everything = (written.out + written.err).decode()
    assert len(everything.splitlines()) >= 7 * len(SECRETS)
    for secret in SECRETS:
        assert secret not in everything
    assert headers["Authorization"].split()[1] not in everything


def test_an_error_is_named_by_its_types_and_places(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    listen(capfdbinary)
    log = structlog.get_logger("test")
    try:
        try:
            int("13800138000x")
        except ValueError as error:
            raise Unlucky("no customer 13800138000x") from error
    except Unlucky:
        log.exception("sweep_failed")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    ours, servers = lines(capfdbinary)
    for line in (ours, servers):
        assert line["error"].endswith("Unlucky < builtins.ValueError")
        assert "test_an_error_is_named_by_its_types_and_places" in line["at"][-1]
        assert "13800138000" not in json.dumps(line)
    assert (ours["event"], ours["level"]) == ("sweep_failed", "error")


def test_a_driver_s_error_keeps_its_code_and_loses_its_message(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    listen(capfdbinary)
    try:
        with broker.ctx.db.transaction() as tx:
            tx.execute(text("INSERT INTO tenant (id) VALUES (:id)"), {"id": "crm-000381"})
    except SQLAlchemyError:
        structlog.get_logger("test").exception("write_failed")
    (line,) = lines(capfdbinary)
    assert line["error"].endswith("sqlite3.IntegrityError(SQLITE_CONSTRAINT_NOTNULL)")
    assert "crm-000381" not in json.dumps(line)


def test_a_failed_request_is_logged_as_a_500(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    listen(capfdbinary)
    assert broker.http.get("/fails/crm-000381").status_code == 500
    (line,) = [line for line in lines(capfdbinary) if line["event"] == "request"]
    assert (line["route"], line["status"]) == ("/fails/{what}", 500)


@pytest.mark.parametrize("theirs", ["crm-000381", "a b", "0" * 128])
def test_a_caller_s_request_id_is_told_back_and_not_logged(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes], theirs: str
) -> None:
    listen(capfdbinary)
    answer = broker.http.get("/healthz", headers={"X-Request-ID": theirs})
    assert answer.headers.get_list("x-request-id") == [theirs]
    (line,) = lines(capfdbinary)
    assert line["request_id"] != theirs


def test_a_caller_s_uuid_is_the_request_id_everywhere(
    broker: World, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    listen(capfdbinary)
    theirs = "2b1f4c1e-6f0a-4b52-9a1f-7d7a0d0f3c55"
    answer = broker.http.get("/v1/purposes", headers={"X-Request-ID": theirs})
    assert answer.json()["instance"].endswith(theirs)
    (line,) = lines(capfdbinary)
    assert line["request_id"] == theirs


@pytest.mark.parametrize("theirs", ["", "é", "0" * 129, "a\tb"])
def test_what_is_no_request_id_is_replaced(broker: World, theirs: str) -> None:
    answer = broker.http.get("/healthz", headers={b"X-Request-ID": theirs.encode("latin-1")})
    assert answer.headers["x-request-id"] not in {theirs, ""}


def test_text_for_a_person_holds_the_same_and_no_more(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure(as_json=False)
    with world(tmp_path) as made:
        capfd.readouterr()
        with TestClient(made.app, raise_server_exceptions=False) as http:
            http.get("/v1/templates/crm-000381")
    written = capfd.readouterr().out
    assert "{template_id}" in written
    assert "crm-000381" not in written
