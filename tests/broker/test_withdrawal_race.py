"""Withdraw against decide: no permit for a question sent after the acknowledgement was received."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, union_all

from broker.store.acting import acting_for
from broker.store.audit import ENTRY, PENDING
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.builders import TENANT
from tests.broker.deciding import Desk, desk
from tests.faults.lengths import short_or_long

ROUNDS = {"sqlite": short_or_long(1_000, 10_000), "postgresql": short_or_long(250, 10_000)}
ASKERS = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


async def one_round(at: Desk, number: int, consent_id: str, pause: float) -> list[str]:
    """Ask all the time while the consent is withdrawn in another thread; the faults that showed."""
    acknowledged = threading.Event()
    faults = []
    permits = 0

    def withdraw() -> None:
        withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent_id)
        acknowledged.set()

    async def ask() -> None:
        nonlocal permits
        while True:
            sent_after = acknowledged.is_set()
            decision = await at.ask(subject_ref=f"crm-{number}")
            permits += decision.permit
            if decision.permit and sent_after:
                faults.append(f"round {number}: permitted after the acknowledgement")
            if sent_after:
                return

    async def withdraw_soon() -> None:
        await asyncio.sleep(pause)
        await asyncio.to_thread(withdraw)

    await asyncio.gather(withdraw_soon(), *[ask() for _ in range(ASKERS)])
    return faults


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_withdrawals_against_decisions(at: Desk) -> None:
    count = ROUNDS["sqlite" if at.broker.ctx.db.is_sqlite else "postgresql"]
    consents = [at.broker.consent(at.partner_id, f"crm-{number}") for number in range(count)]
    draw = random.Random(7)

    async def rounds() -> list[str]:
        faults = []
        for number, consent_id in enumerate(consents):
            faults += await one_round(at, number, consent_id, draw.uniform(0, 0.004))
        return faults

    assert asyncio.run(rounds()) == []
    _check_order(at, consents)


def test_withdrawals_against_decisions_of_other_event_loops(at: Desk) -> None:
    """The askers sit in threads with event loops of their own, as in other workers."""
    consents = [at.broker.consent(at.partner_id, f"crm-{number}") for number in range(40)]
    faults: list[str] = []

    @acting_for(TENANT)
    def worker(numbers: range) -> None:
        async def rounds() -> None:
            for number in numbers:
                faults.extend(await one_round(at, number, consents[number], 0.001))

        asyncio.run(rounds())

    threads = [threading.Thread(target=worker, args=(range(n, 40, 4),)) for n in range(4)]
    with ExitStack() as running:
        for thread in threads:
            thread.start()
            running.callback(thread.join)
    assert faults == []
    _check_order(at, consents)


def _check_order(at: Desk, consents: list[str]) -> None:
    """In the log no permit of a consent stands behind its withdrawal."""
    both = union_all(
        select(ENTRY.c.log_index.label("place"), ENTRY.c.id, ENTRY.c.consent_id, ENTRY.c.type),
        select(PENDING.c.seq + 1_000_000_000, PENDING.c.id, PENDING.c.consent_id, PENDING.c.type),
    ).subquery()
    with at.broker.ctx.db.reading() as tx:
        rows = tx.execute(select(both).order_by(both.c.place)).all()
    permits = {entry.id for entry in at.broker.logged("decision") if entry.body["decision"]}
    withdrawn = set()
    for row in rows:
        if row.type == "consent.withdrawn":
            withdrawn.add(row.consent_id)
        assert row.id not in permits or row.consent_id not in withdrawn
    assert withdrawn == set(consents)
