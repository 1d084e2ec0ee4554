"""On PostgreSQL: offers, data requests and what belongs to them are taken in one order by all.

Each test stops an act between two of its locks until another, which began meanwhile, waits for it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from broker.store import access_tokens, attribute_credentials, authorizations, data_requests
from broker.store.acting import acting_for, acting_for_all
from broker.usecases.erasure import OPERATOR, erase
from broker.usecases.partner import set_partner_state
from broker.usecases.person import Named
from broker.usecases.token import forget_expired
from broker.web import authorization
from tests.broker import issuance_world
from tests.broker.authorizing import Authorizing
from tests.broker.data_requests import KIND, call, consenting, holding, register_kind, waiting
from tests.broker.flow_world import DAY, World, world
from tests.broker.vaults import ATTRIBUTE
from tests.waiting import waited_for

WAIT_SECONDS = 60


@pytest.fixture
def broker(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path, database_url=postgres_database) as made:
        register_kind(made)
        yield made


class Meeting:
    """Another act, which begins when it is told to, once."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act, self._begun = act, list[Future[Any]]()
        self._threads = ThreadPoolExecutor(1)

    def begin(self, tx: Any) -> None:  # noqa: ANN401 (a transaction)
        """Have it begin, and return when it waits for the transaction, or is over."""
        if self._begun:
            return
        self._begun.append(self._threads.submit(self._act))
        while not self._begun[0].done() and not waited_for(tx):
            wait(self._begun, timeout=0.05)

    def end(self) -> None:
        """Raises what it raised, or that it never began."""
        self._threads.shutdown()
        self._begun[0].result(WAIT_SECONDS)


@acting_for("demo")
def suspend(broker: World) -> None:
    set_partner_state(broker.ctx, "demo", broker.partner, "suspended")


def test_a_suspension_and_a_credential_that_is_issued(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting, real = Meeting(lambda: suspend(broker)), access_tokens.end

    def end(tx: Any, *of: Any) -> bool:  # noqa: ANN401 (as it is)
        meeting.begin(tx)  # the offer is taken by now, its token not yet
        return real(tx, *of)

    monkeypatch.setattr(access_tokens, "end", end)
    assert holding(broker, "crm-1").attributes
    meeting.end()
    assert broker.logged("partner.suspended")[0].body["attribute_offers_closed"] == 0


def test_a_suspension_and_a_withdrawal(broker: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = consenting(broker)
    asked.shown()
    asked.opened()
    meeting, real = Meeting(lambda: suspend(broker)), data_requests._END  # noqa: SLF001 (to stop there)

    class Stopped:
        def changed(self, tx: Any, values: Any) -> int:  # noqa: ANN401 (as a `Prepared`)
            gone = real.changed(tx, values)
            meeting.begin(tx)
            return gone

    monkeypatch.setattr(data_requests, "_END", Stopped())
    assert broker.withdrawal(asked.at.consent, broker.officer).status_code == 200
    meeting.end()
    assert waiting(broker, asked.at.consent) == 0


def test_a_suspension_and_the_sweep(broker: World, monkeypatch: pytest.MonkeyPatch) -> None:
    consenting(broker).opened()
    body = {"type": KIND["id"], "claims": {ATTRIBUTE: 1, "shoe_size": 42}, "subject_ref": "crm-2"}
    assert call(broker, "/v1/attribute-offers", body).status_code == 201
    broker.advance(10 * DAY)  # the request and the offer are over, and nobody has swept
    with broker.ctx.db.transaction() as tx:
        access_tokens.prune(tx, broker.time[0])  # or they would meet at these
    meeting = Meeting(acting_for_all()(lambda: forget_expired(broker.ctx)))
    real = attribute_credentials.close_of

    def close_of(tx: Any, *of: Any) -> int:  # noqa: ANN401 (as it is)
        meeting.begin(tx)  # the data request is closed by now, the offer not yet
        return real(tx, *of)

    monkeypatch.setattr(attribute_credentials, "close_of", close_of)
    suspend(broker)
    meeting.end()
    assert broker.logged("partner.suspended")[0].body["data_requests_closed"] == 1


def test_an_erasure_and_a_code_that_is_redeemed(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with issuance_world.world(tmp_path, postgres_database) as made:
        assert isinstance(made.http.app, FastAPI)
        made.http.app.include_router(authorization.router)
        wallet = Authorizing(made, made.invite())
        code = wallet.answer()["code"]
        named = Named(issuance_world.PARTNER, "crm-1")
        meeting = Meeting(acting_for("demo")(lambda: erase(made.ctx, "demo", named, by=OPERATOR)))
        real = authorizations.move

        def move(tx: Any, *of: Any, **more: Any) -> bool:  # noqa: ANN401 (as it is)
            moved = real(tx, *of, **more)
            meeting.begin(tx)  # the invitation is not taken yet
            return moved

        monkeypatch.setattr(authorizations, "move", move)
        assert wallet.redeem(code).status_code == 200
        meeting.end()
        assert len(made.logged("subject.erased")) == 1
