"""Traces: what a collector really gets over OTLP, and that nobody's data is in it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from broker.app import create_app
from broker.domain import tracing
from broker.domain.tracing import span
from broker.outbound.guarded import GuardedClient, Rules
from broker.settings import Settings, SettingsError, read_settings
from tests.broker import builders
from tests.broker.flow_world import World, world

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@dataclass
class Collector:
    """A collector of the test's own: keeps what it is sent."""

    endpoint: str = ""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> list[Any]:
        return [
            one
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for one in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        return [one for one in self.spans if one.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            made.raw.append(body)
            made.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(one: Any) -> dict[str, Any]:  # noqa: ANN401 (a protobuf message)
    return {item.key: item.value.string_value or item.value.int_value for item in one.attributes}


@contextmanager
def traced(home: Path, collector: Collector) -> Iterator[World]:
    with world(home, otlp_endpoint=collector.endpoint) as made:
        telemetry = made.http.app.state.telemetry  # type: ignore[attr-defined]
        try:
            yield made
            telemetry.flush()
        finally:
            telemetry.stop()


def test_a_whole_flow_as_a_collector_gets_it(tmp_path: Path, collector: Collector) -> None:
    subject_ref = "crm-personal-000184"
    with traced(tmp_path, collector) as made:
        customer = made.customer(subject_ref)
        request = customer.grant("base")
        (consent_id,) = [one["id"] for one in request["consents"] if one["state"] == "granted"]
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "theirs=crm-381"}
        body = evaluation(made, subject_ref)
        answer = made.api("POST", "/access/v1/evaluation", json=body, headers=headers)
        assert answer.json()["decision"] is True
        page = made.ask(subject_ref)["page_url"].removeprefix(made.ctx.settings.public_url)
        assert made.http.get(page).status_code == 200
        assert made.withdrawal(consent_id, made.officer, json={}).status_code == 200
        assert made.reasons(subject_ref)
        made.http.get("/no/such/path/with/a-secret")
        made.http.get("/healthz")
        tokens = [made._token(made.partner)]  # noqa: SLF001 (a value that must not be found)
        with made.ctx.db.reading() as tx:
            ids = secrets_of(tx)
    by_id = {one.span_id: one for one in collector.spans}
    # A trace of our own with a link to the caller's; the steps are below the request's span.
    (decided,) = [one for one in collector.spans if one.links]
    (link,) = decided.links
    assert (link.trace_id.hex(), link.span_id.hex(), link.trace_state) == (TRACE, PARENT, "")
    assert decided.parent_span_id == b""
    assert TRACE not in {one.trace_id.hex() for one in collector.spans}
    assert decided.name == "POST /access/v1/evaluation"
    assert decided.kind == 2
    assert attributes(decided).items() >= {
        ("http.request.method", "POST"),
        ("http.route", "/access/v1/evaluation"),
        ("http.response.status_code", 200),
        ("consent_broker.tenant", "demo"),
    }
    decisions = collector.named("decision")
    assert [attributes(one)["consent_broker.outcome"] for one in decisions] == ["permit", "deny"]
    assert by_id[decisions[0].parent_span_id] is not None
    assert decisions[0].parent_span_id == decided.span_id
    below = [one for one in collector.spans if one.parent_span_id == decisions[0].span_id]
    assert [one.name for one in below] == ["transaction"]
    (verified,) = collector.named("verification")
    assert by_id[verified.parent_span_id].name == "POST /openid4vp/response/{request_id}"
    written = [one for one in collector.named("transaction") if one.parent_span_id in by_id]
    assert "POST /v1/consents/{consent_id}/withdrawal" in {
        by_id[one.parent_span_id].name for one in written
    }
    # Every step belongs to a request; the background traces nothing.
    assert all(one.parent_span_id for one in collector.spans if one.kind == 1)
    # Named by templates, never by what was asked for.
    names = {one.name for one in collector.spans}
    assert {"GET /c/{page_token}", "GET unmatched"} <= names
    assert not any("healthz" in name for name in names)
    # Nothing of anybody.
    sent = b"".join(collector.raw)
    page_token = page.rsplit("/", 1)[1]
    for secret in (subject_ref, consent_id, page_token, "a-secret", *tokens, *ids):
        assert secret.encode() not in sent, secret
    allowed = {
        *("http.request.method", "http.route", "http.response.status_code", "error.type"),
        *("consent_broker.tenant", "consent_broker.request_id", "consent_broker.outcome"),
    }
    assert {key for one in collector.spans for key in attributes(one)} <= allowed
    assert not any(one.events for one in collector.spans)


def secrets_of(tx: Any) -> list[str]:  # noqa: ANN401 (a connection)
    """Whatever names a customer, a contact, a request or a key in this database."""
    tables = ("subject", "contact", "consent", "consent_request", "invitation", "partner")
    return [
        str(row[0])
        for table in tables
        for row in tx.exec_driver_sql(f"SELECT id FROM {table}").all()
    ]


def evaluation(made: World, subject_ref: str) -> dict[str, Any]:
    return {
        "subject": {"type": "partner", "id": made.partner},
        "action": {"name": "read"},
        "resource": {
            "type": "attribute",
            "id": "purchase_count_12m",
            "properties": {"subject_ref": subject_ref},
        },
        "context": {"purpose": builders.WIRE, "territory": "CN"},
    }


def test_a_caller_does_not_decide_what_is_sampled(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    with traced(tmp_path, collector) as made:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert made.http.get("/log/checkpoint", headers=headers).status_code == 200
    assert collector.spans == []


def test_errors_are_named_by_their_kind_alone(tmp_path: Path, collector: Collector) -> None:
    with traced(tmp_path, collector) as made:
        telemetry = made.http.app.state.telemetry  # type: ignore[attr-defined]
        with telemetry.request({}) as request:
            with pytest.raises(ValueError, match="crm-381"), span("decision"):
                raise ValueError("crm-381 is on the line")
            request.answered("GET", "/x", 500, {})
    (failed,) = collector.named("decision")
    assert attributes(failed) == {"error.type": "ValueError"}
    assert collector.named("GET /x")[0].status.code == 2
    assert b"crm-381" not in b"".join(collector.raw)


def test_a_trace_goes_on_only_at_services_of_our_own(tmp_path: Path, collector: Collector) -> None:
    """Strangers' servers learn nothing of our traces."""
    heads: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heads.append(self.headers)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://localhost:{server.server_address[1]}/"
    private = frozenset({"localhost"})
    try:
        with traced(tmp_path, collector) as made:
            telemetry = made.http.app.state.telemetry  # type: ignore[attr-defined]
            with telemetry.request({"traceparent": f"00-{TRACE}-{PARENT}-01"}):
                for own in (frozenset[str](), private):
                    rules = Rules(plain_http=True, private_hosts=private, traced_hosts=own)
                    GuardedClient(rules).get(url, accept=["text/plain"])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    stranger, ours = heads
    assert stranger["traceparent"] is None
    fetches = collector.named("fetch")
    assert ours["traceparent"].startswith(f"00-{fetches[1].trace_id.hex()}-")
    assert [one.kind for one in fetches] == [3, 3]
    assert ours["traceparent"].split("-")[2] == fetches[1].span_id.hex()
    assert all(attributes(one) == {} for one in fetches)


def test_off_nothing_is_made(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        assert made.http.app.state.telemetry is None  # type: ignore[attr-defined]
        assert span("decision") is span("transaction")
        assert tracing._tracers == []  # noqa: SLF001 (that nothing is kept is what is tested)
        assert made.http.get("/log/checkpoint").status_code == 200


def test_a_collector_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        settings = replace(made.ctx.settings, otlp_endpoint="http://127.0.0.1:9")
        app = create_app(replace(made.ctx, settings=settings))
        try:
            assert TestClient(app).get("/log/checkpoint").status_code == 200
        finally:
            tracing.trace_with(None)


def test_the_setting() -> None:
    assert read_settings({}).otlp_endpoint == ""
    endpoint = "http://127.0.0.1:4318"
    assert read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}).otlp_endpoint == endpoint
    assert read_settings({"BROKER_TRACED_HOSTS": "A.example, b"}).traced_hosts == {"a.example", "b"}
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"})
    assert Settings(home=Path()).traced_hosts == frozenset()
