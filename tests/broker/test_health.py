"""Liveness, readiness with reasons, and figures that name nobody."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from broker.api import metrics
from broker.domain.errors import LogRolledBack
from broker.store.head_file import FILE_NAME
from broker.usecases.sequencer import LARGEST_STEP_BACK, Sequencer
from tests.broker.clients_world import World, application, world


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def figure(broker: World, name: str) -> float:
    lines = broker.http.get("/metrics").text.splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_a_broker_whose_log_keeps_up_is_ready(broker: World) -> None:
    answer = broker.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reasons": []})
    assert answer.headers["cache-control"] == "no-store"


def test_a_log_that_is_a_minute_behind_is_a_reason(broker: World) -> None:
    broker.time[0] += 61
    answer = broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["log_behind"])
    assert broker.http.get("/healthz").json() == {"status": "ok"}
    broker.advance(1)
    assert broker.http.get("/readyz").status_code == 200


def test_a_clock_that_went_back_is_a_reason_of_its_own(broker: World) -> None:
    broker.time[0] -= LARGEST_STEP_BACK + 1
    answer = broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["clock_went_back"])
    broker.time[0] += LARGEST_STEP_BACK + 1
    assert broker.http.get("/readyz").status_code == 200


def test_a_database_that_is_gone_is_a_reason(broker: World) -> None:
    with broker.ctx.db.transaction() as tx:
        tx.execute(text("DROP TABLE audit_pending"))
    answer = broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["database_unreachable"])
    assert broker.http.get("/healthz").status_code == 200


def test_missing_migrations_are_a_reason(broker: World) -> None:
    with broker.ctx.db.transaction() as tx:
        tx.execute(text("DELETE FROM alembic_version"))
    answer = broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["migrations_missing"])


def test_the_figures_follow_the_log(broker: World) -> None:
    assert figure(broker, "consent_broker_log_pending_entries ") == 0
    broker.ask_token("no.jwt.atall")
    broker.ask_token(broker.partner.assertion(broker.time[0], aud="elsewhere"))
    assert figure(broker, "consent_broker_log_pending_entries ") == 1
    broker.time[0] += 30
    assert figure(broker, "consent_broker_log_lag_seconds ") == 30
    broker.advance(0)
    assert figure(broker, "consent_broker_log_pending_entries ") == 0
    assert figure(broker, "consent_broker_log_rolled_back ") == 0


def test_requests_and_decisions_are_counted(broker: World) -> None:
    broker.http.get("/t/acme/v1/purposes")
    broker.http.get("/v1/purposes")
    name = 'consent_broker_request_seconds_count{method="GET",route="/v1/purposes",status="401"}'
    assert figure(broker, name) == 2
    assert figure(broker, 'consent_broker_decisions_total{outcome="permit"}') == 0
    metrics.of(broker.app).decided("deny", 3)
    assert figure(broker, 'consent_broker_decisions_total{outcome="deny"}') == 3


def test_strange_methods_and_paths_make_no_new_series(broker: World) -> None:
    for number in range(20):
        broker.http.request(f"M{number}", f"/p{number}")
    listed = broker.http.get("/metrics").text
    assert 'method="other",route="unmatched",status="404"} 20' in listed
    assert "/p1" not in listed


def test_two_applications_in_a_process_count_apart(broker: World) -> None:
    other = application(broker.ctx)
    metrics.of(other).decided("permit")
    assert figure(broker, 'consent_broker_decisions_total{outcome="permit"}') == 0


def test_a_rolled_back_log_is_a_reason_by_itself(broker: World) -> None:
    (broker.ctx.settings.home / FILE_NAME).unlink()
    keys, settings, now = broker.ctx.keys, broker.ctx.settings, broker.ctx.now
    restarted = Sequencer(broker.ctx.db, keys.log_signer(), settings, now)
    with pytest.raises(LogRolledBack):
        restarted.run_once(now())
    app = application(replace(broker.ctx, log=restarted))
    with TestClient(app) as http:
        answer = http.get("/readyz")
        figures = http.get("/metrics").text
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["log_rolled_back"])
    assert "consent_broker_log_rolled_back 1.0" in figures
