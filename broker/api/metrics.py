"""What Prometheus scrapes: durations of requests, outcomes of decisions, how far the log is behind.

Labels come from small fixed sets: route templates, statuses, outcomes. Never a tenant's, partner's
or customer's identifier. With several workers on a machine, whichever is asked answers for all.
"""

from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from broker.usecases.context import Context

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The figures of one application, in a registry of its own.

    With a `folder` they are those of every worker that shares it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "consent_broker_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._decisions = Counter(
            "consent_broker_decisions",
            "Access decisions by outcome.",
            ("outcome",),
            registry=self.registry,
        )
        self._log_lag = Gauge(
            "consent_broker_log_lag_seconds",
            "How far the audit log is behind; NaN before its first run.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self._log_pending = Gauge(
            "consent_broker_log_pending_entries",
            "Audit entries that wait for their index.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self._log_rolled_back = Gauge(
            "consent_broker_log_rolled_back",
            "1 when the log does not extend the head that was signed last.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self._deletions_overdue = Gauge(
            "consent_broker_deletion_tasks_overdue",
            "Deletion tasks whose time is over and whose receipt has not come.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self._events = Gauge(
            "consent_broker_webhook_events",
            "Events on their way to webhooks (waiting), and dead letters (dead).",
            ("state",),
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self._webhooks_unwell = Gauge(
            "consent_broker_webhooks_unwell",
            "Webhooks that fail, or were disabled by an answer 410.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self._inbox = Gauge(
            "consent_broker_inbox_events",
            "Events of other systems that wait for their consumer.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self._sources_refused = Gauge(
            "consent_broker_event_sources_refused",
            "Sources of events whose circuit is open or half open.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        for outcome in ("permit", "deny"):
            self._decisions.labels(outcome)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def decided(self, outcome: str, count: int = 1) -> None:
        """Count access decisions; `outcome` is `permit` or `deny`."""
        self._decisions.labels(outcome).inc(count)

    def log_stands(self, *, lag: int | None, pending: int, rolled_back: bool) -> None:
        """Say how the audit log stands."""
        self._log_lag.set(float("nan") if lag is None else lag)
        self._log_pending.set(pending)
        self._log_rolled_back.set(rolled_back)

    def deletions_stand(self, *, overdue: int) -> None:
        """Say how many deletion tasks are overdue."""
        self._deletions_overdue.set(overdue)

    def webhooks_stand(self, *, waiting: int, dead: int, unwell: int) -> None:
        """Say how many events wait and died, and how many webhooks do not take them."""
        self._events.labels("waiting").set(waiting)
        self._events.labels("dead").set(dead)
        self._webhooks_unwell.set(unwell)

    def inbox_stands(self, *, waiting: int, refused: int) -> None:
        """Say how many events of others wait, and how many sources are refused."""
        self._inbox.set(waiting)
        self._sources_refused.set(refused)

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        if self._folder is None:
            return generate_latest(self.registry)
        everybodys = CollectorRegistry()
        MultiProcessCollector(everybodys, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(everybodys)


async def get_metrics(request: Request) -> Metrics:
    """The figures of this application."""
    return of(request.app)


Measured = Annotated[Metrics, Depends(get_metrics)]


def of(app: FastAPI) -> Metrics:
    """The figures of an application, made on first use."""
    metrics: Metrics | None = getattr(app.state, "metrics", None)
    if metrics is None:
        metrics = app.state.metrics = Metrics(_folder(app))
    return metrics


def _folder(app: FastAPI) -> Path | None:
    context: Context | None = getattr(app.state, "context", None)
    return None if context is None else context.settings.metrics_folder
