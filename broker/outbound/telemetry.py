"""OpenTelemetry: spans of requests and their steps, sent by OTLP over HTTP to the operator's own.

The collector's address is the operator's setting (OTEL_EXPORTER_OTLP_ENDPOINT); headers, sampling
and resource attributes are the SDK's own standard variables, which it reads itself. Spans carry
what `api/tracing.py` and `domain/tracing.py` give them, and never the text of an error.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from broker.domain.tracing import Name, trace_with

SERVICE = "consent-broker"
PREFIX = "consent_broker."
_SERVER_ERROR = 500
_context = TraceContextTextMapPropagator()


class _Step:
    """A step's span, as the code that runs in it sees it."""

    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            # Its kind alone: its text may hold what a customer sent.
            self._inner.set_attribute("error.type", kind.__name__)
            self._inner.set_status(Status(StatusCode.ERROR))

    def outcome(self, code: str) -> None:
        """Say by a stable code what came of it."""
        self._inner.set_attribute(f"{PREFIX}outcome", code)


class RequestSpan:
    """The span of a request; what is not known before its end is said at its end."""

    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner

    def answered(self, method: str, route: str, status: int, more: Mapping[str, str]) -> None:
        """Name the span by its route's template, and say how the request was answered."""
        self._inner.update_name(f"{method} {route}")
        self._inner.set_attribute("http.request.method", method)
        self._inner.set_attribute("http.route", route)
        self._inner.set_attribute("http.response.status_code", status)
        for name, value in more.items():
            self._inner.set_attribute(PREFIX + name, value)
        if status >= _SERVER_ERROR:
            self._inner.set_status(Status(StatusCode.ERROR))


class Telemetry:
    """The tracer of this process, from its start to `stop`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)
        trace_with(self)

    @classmethod
    def exporting(cls, endpoint: str, version: str) -> Self:
        """Send spans to `endpoint` (its base address), in batches, from a thread."""
        named = {"service.name": SERVICE, "service.version": version}
        provider = TracerProvider(resource=Resource.create(named))
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    @contextmanager
    def request(self, traceparent: Mapping[str, str]) -> Iterator[RequestSpan]:
        """The span of a request: a trace of its own, linked to the caller's where it names one.

        Anybody may call: whose trace went on here could say that it is to be sampled, and mix what
        it likes into the traces of others (W3C Trace Context, section 7, denial of service; the
        link is what OpenTelemetry has for the edge of what is trusted).
        """
        theirs = trace.get_current_span(_context.extract(traceparent)).get_span_context()
        began = self._tracer.start_as_current_span(
            "request",
            context=Context(),
            links=[trace.Link(theirs)] if theirs.is_valid else [],
            kind=SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        )
        with began as inner:
            yield RequestSpan(inner)

    def flush(self) -> None:
        """Send what waits."""
        self._provider.force_flush()

    def stop(self) -> None:
        """Send what waits, and trace no more."""
        trace_with(None)
        self._provider.shutdown()

    def carried(self) -> dict[str, str]:
        """The headers that carry the trace under way on (W3C Trace Context)."""
        headers: dict[str, str] = {}
        _context.inject(headers)
        return headers

    @contextmanager
    def step(self, name: Name) -> Iterator[_Step]:
        """A span below the one under way; none where no request is."""
        # Steps of the background (the sequencer's, the sweep's) belong to no request.
        if not trace.get_current_span().is_recording():
            yield _Step(trace.INVALID_SPAN)
            return
        kind = SpanKind.CLIENT if name == "fetch" else SpanKind.INTERNAL
        began = self._tracer.start_as_current_span(
            name, kind=kind, record_exception=False, set_status_on_exception=False
        )
        with began as inner, _Step(inner) as step:
            yield step
