"""On PostgreSQL: acts that lock the same rows take them in one order, so that none waits for ever.

Each test stops one act between two of its locks, and has the other run into it.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.store import consent_locks, decisions
from broker.store.acting import acting_for
from broker.store.consents import CONSENT
from broker.store.decision_statements import HOLD_REGISTERED, USE
from broker.usecases import federation_member
from broker.usecases.closing import expire_due
from broker.usecases.partner import set_partner_state
from broker.usecases.training_receipt import RefusedReceipt, Sent, accept_receipts
from tests.broker.builders import TENANT
from tests.broker.deciding import desk
from tests.broker.flow_world import World, world
from tests.broker.training import invented, training
from tests.waiting import somebody_waits, waited_for

WAIT_SECONDS = 30


@pytest.fixture
def broker(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path, database_url=postgres_database) as made:
        yield made


class Stopped:
    """A decision that holds consents, and goes on to the partner's row when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.holds, self.go_on = threading.Event(), threading.Event()
        self._real = HOLD_REGISTERED
        monkeypatch.setattr(decisions, "HOLD_REGISTERED", self)

    def rows(self, tx: Any, values: Any) -> Any:  # noqa: ANN401 (as a `Prepared`)
        self.holds.set()
        assert self.go_on.wait(WAIT_SECONDS)
        return self._real.rows(tx, values)


@acting_for(TENANT)
def begun(broker: World, pool: ThreadPoolExecutor) -> "Future[list[str]]":
    return pool.submit(copy_context().run, broker.reasons, "crm-1")


def test_a_suspension_and_a_decision(broker: World, monkeypatch: pytest.MonkeyPatch) -> None:
    li = broker.customer("crm-1")
    li.grant("base")
    broker.ask("crm-1")  # what the suspension closes
    stopped = Stopped(monkeypatch)
    real = consent_locks.hold_open_of

    def hold_open_of(tx: Any, partner_id: str) -> Any:  # noqa: ANN401 (as it is)
        stopped.go_on.set()  # the partner's row is changed by now
        return real(tx, partner_id)

    monkeypatch.setattr(consent_locks, "hold_open_of", hold_open_of)
    with ThreadPoolExecutor(1) as pool:
        decided = begun(broker, pool)
        assert stopped.holds.wait(WAIT_SECONDS)
        set_partner_state(broker.ctx, "demo", broker.partner, "suspended")
        assert "partner_suspended" in decided.result(WAIT_SECONDS)


def test_the_sweep_waits_for_no_decision(broker: World, monkeypatch: pytest.MonkeyPatch) -> None:
    li = broker.customer("crm-1")
    granted = len([one for one in li.grant()["consents"] if one["state"] == "granted"])
    stopped = Stopped(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        decided = begun(broker, pool)
        assert stopped.holds.wait(WAIT_SECONDS)
        broker.time[0] += 400 * 86_400
        assert expire_due(broker.ctx) == 0
        broker.time[0] -= 400 * 86_400
        stopped.go_on.set()
        assert decided.result(WAIT_SECONDS) == []
    broker.time[0] += 400 * 86_400
    assert expire_due(broker.ctx) == granted


def test_two_counted_uses_of_one_customer(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk(tmp_path, postgres_database) as at:
        asked = ("home_city", "purchase_count_12m")
        for attribute in asked:
            at.consent(attributes=(attribute,), uses_left=2)
        used = list[int]()

        class Slow:
            def changed(self, tx: Any, values: Any) -> int:  # noqa: ANN401 (as a `Prepared`)
                count = USE.changed(tx, values)
                used.append(count)
                end = time.monotonic() + WAIT_SECONDS
                # Until the other has come as far, or waits for what this one holds.
                while len(used) == 1 and not waited_for(tx):
                    assert time.monotonic() < end
                    time.sleep(0.02)
                return count

        monkeypatch.setattr(decisions, "USE", Slow())

        @acting_for(TENANT)
        def decide(attribute: str) -> bool:
            return at.decide(attribute=attribute, key=attribute).permit

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(decide, asked)) == [True, True]
        with at.broker.ctx.db.reading() as tx:
            assert set(tx.execute(select(CONSENT.c.uses_left)).scalars()) == {1}


def test_a_revocation_and_receipts(broker: World, monkeypatch: pytest.MonkeyPatch) -> None:
    at = training(broker)
    told = invented(at, at.open(1))
    sent = Sent(told["member"], told["receipt"], told["leaves"])
    holds, waits = threading.Event(), threading.Event()
    real = federation_member._end_memberships  # noqa: SLF001 (between two of its locks)

    def slow(*given: Any) -> Any:  # noqa: ANN401 (as it is)
        holds.set()  # the partner is held by now, the member not yet
        for _ in range(WAIT_SECONDS * 50):
            if somebody_waits(broker.ctx.db):
                waits.set()
                break
            time.sleep(0.02)
        return real(*given)

    monkeypatch.setattr(federation_member, "_end_memberships", slow)

    @acting_for(TENANT)
    def revoke() -> None:
        federation_member.revoke_member(broker.ctx, TENANT, broker.partner)

    @acting_for(TENANT)
    def hand_in() -> Any:  # noqa: ANN401 (as it is)
        assert holds.wait(WAIT_SECONDS)
        return accept_receipts(broker.ctx, TENANT, at.campaign, "consortium", 1, [sent])

    with ThreadPoolExecutor(2) as pool:
        revoked, handed = pool.submit(revoke), pool.submit(hand_in)
        revoked.result(2 * WAIT_SECONDS)
        (one,) = handed.result(2 * WAIT_SECONDS)
    assert waits.is_set()
    assert isinstance(one, RefusedReceipt)
