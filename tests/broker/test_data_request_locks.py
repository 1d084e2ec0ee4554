"""On PostgreSQL: what was asked under consents is locked in one order, by all who end it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.store import data_requests, db, erasures
from broker.usecases.erasure import OPERATOR, erase
from broker.usecases.partner import set_partner_state
from broker.usecases.person import Named
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.data_requests import Asked, consenting, register_kind
from tests.broker.flow_world import World, world
from tests.waiting import Met


@pytest.fixture
def broker(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path, database_url=postgres_database) as made:
        register_kind(made)
        yield made


@pytest.fixture
def asked(broker: World) -> Asked:
    """Of one request what was shown waits to be collected, another one is open."""
    found = consenting(broker)
    found.shown()
    found.opened()
    return found


@pytest.fixture
def met(broker: World, monkeypatch: pytest.MonkeyPatch) -> Met:
    monkeypatch.setattr(db, "ATTEMPTS", 1)  # a second one would hide a deadlock
    return Met(broker.ctx.db)


def suspending(broker: World) -> Callable[[], object]:
    return lambda: set_partner_state(broker.ctx, "demo", broker.partner, "suspended")


def test_a_withdrawal_and_a_suspension(
    broker: World, asked: Asked, met: Met, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = data_requests._END  # noqa: SLF001 (between two of its locks)

    class Slow:
        def changed(self, tx: Any, values: Any) -> int:  # noqa: ANN401 (as a `Prepared`)
            done = real.changed(tx, values)
            met.stop()
            return done

    monkeypatch.setattr(data_requests, "_END", Slow())
    consent = asked.at.consent
    withdraw = lambda: withdraw_by_officer(broker.ctx, "demo", broker.officer, consent)  # noqa: E731
    met.run(withdraw, suspending(broker))


def test_an_erasure_and_a_suspension(
    broker: World, asked: Asked, met: Met, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = met.before(erasures.close_invitations)
    monkeypatch.setattr(erasures, "close_invitations", close)
    named = Named(consent_id=asked.at.consent)
    met.run(lambda: erase(broker.ctx, "demo", named, by=OPERATOR), suspending(broker))
