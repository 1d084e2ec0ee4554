"""On PostgreSQL: who changes a consent holds its consent request first, and none waits for ever.

Each test stops a wallet's answer between two of the rows that it changes, until another act waits.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from sqlalchemy import Connection, text

from broker.domain.errors import Gone, StateConflict
from broker.store import consents, presentations
from broker.store.acting import acting_for
from broker.store.db import ATTEMPTS, Database
from broker.usecases import closing, consent_page, presentation
from broker.usecases.partner import set_partner_state
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.flow_world import Customer, World, form, world
from tests.broker.flow_world import presentation as shown
from tests.waiting import somebody_waits
from wallet_adapters.loopback import PresentationRequest

WAIT_SECONDS = 30
Act = Callable[[], object]


@pytest.fixture
def broker(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path, database_url=postgres_database) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


@pytest.fixture
def met(broker: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Act, Act], list[str]]:
    """Runs an answer and another act, which begins once the answer has ended its request.

    What came of each: `done`, or the code of the refusal.
    """
    ended, over, real = threading.Event(), threading.Event(), presentations.finish

    def finish(*of: Any, **more: Any) -> bool:  # noqa: ANN401 (as it is)
        done = real(*of, **more)
        ended.set()
        until = time.monotonic() + WAIT_SECONDS
        while not (over.is_set() or somebody_waits(broker.ctx.db)):
            assert time.monotonic() < until, "the other act neither ends nor waits"
            time.sleep(0.02)
        return done

    @acting_for("demo")
    def run(act: Act) -> str:
        try:
            act()
        except (Gone, StateConflict) as error:
            return error.code
        return "done"

    def late(act: Act) -> str:
        assert ended.wait(WAIT_SECONDS)
        try:
            return run(act)
        finally:
            over.set()

    def meet(answer: Act, other: Act) -> list[str]:
        monkeypatch.setattr(presentations, "finish", finish)
        with ThreadPoolExecutor(2) as pool:
            acts = [pool.submit(run, answer), pool.submit(late, other)]
            return [act.result(2 * WAIT_SECONDS) for act in acts]

    return meet


def answering(broker: World, li: Customer, request: PresentationRequest, query: str) -> Act:
    shows = shown(broker, request, li.wallet.credentials[0], query)
    body = urlencode(form(request, **{query: shows})).encode()
    return lambda: presentation.answer(broker.ctx, "demo", request.state or "", body)


def withdrawing(broker: World, li: Customer) -> tuple[str, Act]:
    """A consent, and the customer's withdrawal of it."""
    given = li.grant("base")["consents"][0]["id"]
    asked = broker.request(broker.withdrawal(given).json()["wallet_link"])
    return given, answering(broker, li, asked, "other_key")


def test_a_signed_withdrawal_and_an_officers(
    broker: World, li: Customer, met: Callable[[Act, Act], list[str]]
) -> None:
    given, withdraw = withdrawing(broker, li)
    officers = lambda: withdraw_by_officer(broker.ctx, "demo", broker.officer, given)  # noqa: E731
    assert met(withdraw, officers) == ["done", "state_conflict"]
    broker.advance()
    assert len(broker.logged("consent.withdrawn")) == 1


@pytest.mark.parametrize("by", ["page", "suspension", "sweep"])
def test_a_grant_and_what_closes_the_request(
    broker: World, li: Customer, met: Callable[[Act, Act], list[str]], by: str
) -> None:
    opened = broker.ask(li.subject_ref)
    token = opened["page_url"].rsplit("/", 1)[1]
    sign = answering(broker, li, broker.request(opened["wallet_link"]), "consent_base")

    def sweep() -> None:
        broker.time[0] += 400 * 86_400
        try:
            assert closing.expire_due(broker.ctx) == 0, "it waits for nobody"
        finally:
            broker.time[0] -= 400 * 86_400

    acts: dict[str, Act] = {
        "page": lambda: consent_page.refuse(broker.ctx, "demo", token),
        "suspension": lambda: set_partner_state(broker.ctx, "demo", broker.partner, "suspended"),
        "sweep": sweep,
    }
    assert met(sign, acts[by]) == ["done", "gone" if by == "page" else "done"]
    with broker.ctx.db.reading() as tx:  # a suspended partner is told nothing
        states = [row.state for row in consents.of_request(tx, opened["id"])]
    assert sorted(states) == ["granted", "refused", "refused"]


def test_a_grant_and_the_withdrawal_of_what_it_replaces(
    broker: World, li: Customer, met: Callable[[Act, Act], list[str]]
) -> None:
    before = li.grant("base")["consents"][0]["id"]
    opened = broker.ask(li.subject_ref)
    sign = answering(broker, li, broker.request(opened["wallet_link"]), "consent_base")
    officers = lambda: withdraw_by_officer(broker.ctx, "demo", broker.officer, before)  # noqa: E731
    assert met(sign, officers) == ["done", "state_conflict"]
    assert broker.consent(before)["state"] == "superseded"


def test_a_grant_and_a_stolen_request_key(
    broker: World, li: Customer, met: Callable[[Act, Act], list[str]]
) -> None:
    opened = broker.ask(li.subject_ref)
    sign = answering(broker, li, broker.request(opened["wallet_link"]), "consent_base")
    with broker.ctx.db.reading() as tx:
        names = [
            orjson.loads(row.document)["client_id"]
            for row in presentations.open_ones(tx, opened["id"])
        ]

    def replace() -> None:
        with broker.ctx.db.transaction() as tx:
            presentations.replace_of_clients(tx, "demo", names, broker.ctx.now())

    assert met(sign, replace) == ["done", "done"]
    assert broker.states(opened)[0] == "granted"


def test_whoever_is_ended_to_break_a_deadlock_runs_again(postgres_database: str) -> None:
    url = postgres_database.replace("postgresql://", "postgresql+psycopg://")
    with contextlib.closing(Database(url)) as db:
        until_both_have_run(db)


def until_both_have_run(db: Database) -> None:
    runs, both = list[str](), threading.Barrier(2)
    with acting_for("demo"), db.transaction() as tx:
        tx.execute(text("CREATE TABLE place (name TEXT PRIMARY KEY, taken INT)"))
        tx.execute(text("INSERT INTO place VALUES ('a', 0), ('b', 0)"))

    @acting_for("demo")
    def run(first: str, second: str) -> int:
        def both_places(tx: Connection) -> int:
            runs.append(first)
            taken = text("UPDATE place SET taken = taken + 1 WHERE name = :name")
            tx.execute(taken, {"name": first})
            if len(runs) <= 2:  # each is before its second place
                both.wait(WAIT_SECONDS)
            return tx.execute(taken, {"name": second}).rowcount

        return db.run(both_places)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, "ab", "ba")) == [1, 1]
    # Where the server is slow to wake whoever waited, the two meet more than once.
    assert 3 <= len(runs) <= 2 + ATTEMPTS
    with acting_for("demo"), db.reading() as tx:
        assert set(tx.execute(text("SELECT taken FROM place")).scalars()) == {2}
