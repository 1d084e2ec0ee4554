"""Acts on one consent at the same time: one counts, on both databases, and the log tells which."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from broker.domain.errors import BrokerError
from broker.store.acting import acting_for
from broker.usecases import consent_page, presentation, request_object
from broker.usecases.closing import expire_due
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.flow_world import Customer, World, form, world
from tests.broker.flow_world import presentation as shown
from wallet_adapters.loopback import PresentationRequest
from wallet_adapters.openid4vp.request import RequestUriPost

AT_ONCE = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    with world(tmp_path, database_url=url) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


def at_once(acts: Sequence[Callable[[], object]]) -> list[str]:
    """Do all acts at the same time; of each the code of its refusal, or `done`."""
    gate = threading.Barrier(len(acts))

    @acting_for("demo")
    def run(act: Callable[[], object]) -> str:
        gate.wait()
        try:
            act()
        except BrokerError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def answering(
    broker: World, li: Customer, request: PresentationRequest, query: str, copy: int = 0
) -> Callable[[], object]:
    """The act of answering a request with one signature."""
    held = li.wallet.credentials[copy]
    body = urlencode(form(request, **{query: shown(broker, request, held, query)})).encode()
    return lambda: presentation.answer(broker.ctx, "demo", request.state or "", body)


def test_of_many_answers_one_counts(broker: World, li: Customer) -> None:
    opened = broker.ask(li.subject_ref)
    request = broker.request(opened["wallet_link"])
    acts = [answering(broker, li, request, "consent_base", n % 4) for n in range(AT_ONCE)]
    assert sorted(at_once(acts)) == ["done"] + ["gone"] * (AT_ONCE - 1)
    broker.advance()
    assert broker.states(opened) == ["granted", "refused", "refused"]
    assert len(broker.logged("consent.granted")) == 1
    assert len(broker.logged("presentation.rejected")) == AT_ONCE - 1


def test_no_more_requests_are_posted_for_at_once_than_one_after_the_other(
    broker: World, li: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_object, "POSTED_AT_MOST", 3)
    request_id = broker.request(broker.ask(li.subject_ref)["wallet_link"]).state or ""
    signing, real = threading.Barrier(AT_ONCE), request_object._made  # noqa: SLF001 (to wait there)

    def made(*of: Any) -> tuple[str, str]:  # noqa: ANN401
        signing.wait(30)
        return real(*of)

    monkeypatch.setattr(request_object, "_made", made)
    post = RequestUriPost(wallet_metadata=None, wallet_nonce="w")
    acts = [lambda: request_object.serve(broker.ctx, "demo", request_id, post)] * AT_ONCE
    # The world has fetched it once.
    assert sorted(at_once(acts)) == ["done"] * 2 + ["invalid_request"] * (AT_ONCE - 2)


def test_signing_and_refusing_at_once_does_one(broker: World, li: Customer) -> None:
    opened = broker.ask(li.subject_ref)
    request = broker.request(opened["wallet_link"])
    token = opened["page_url"].rsplit("/", 1)[1]
    acts = [
        answering(broker, li, request, "consent_base"),
        lambda: consent_page.refuse(broker.ctx, "demo", token),
    ]
    outcome = at_once(acts)
    broker.advance()
    assert sorted(outcome) == ["done", "gone"]
    granted = outcome[0] == "done"
    assert broker.states(opened)[0] == ("granted" if granted else "refused")
    assert len(broker.logged("consent.granted", "consent.refused")) == 3


def test_two_requests_signed_at_once_leave_one_live_consent(broker: World, li: Customer) -> None:
    opened = [broker.ask(li.subject_ref) for _ in range(4)]
    acts = [
        answering(broker, li, broker.request(one["wallet_link"]), "consent_base", n)
        for n, one in enumerate(opened)
    ]
    assert at_once(acts) == ["done"] * 4
    broker.advance()
    states = [broker.states(one)[0] for one in opened]
    assert sorted(states) == ["granted"] + ["superseded"] * 3


def test_of_withdrawals_at_once_one_counts(broker: World, li: Customer) -> None:
    base = li.grant("base")["consents"][0]["id"]
    asked = broker.request(broker.withdrawal(base).json()["wallet_link"])
    acts: list[Callable[[], object]] = [
        answering(broker, li, asked, "other_key", 0),
        answering(broker, li, asked, "other_key", 1),
        *[lambda: withdraw_by_officer(broker.ctx, "demo", broker.officer, base)] * 2,
    ]
    outcome = at_once(acts)
    broker.advance()
    assert outcome.count("done") == 1
    assert set(outcome) <= {"done", "gone", "state_conflict"}
    assert broker.consent(base)["state"] == "withdrawn"
    assert len(broker.logged("consent.withdrawn")) == 1
    assert broker.evidence(base).verdict == "verified"


def test_the_sweep_and_an_officer_end_a_consent_once(broker: World, li: Customer) -> None:
    request = li.grant("base", "visits", "singapore")
    ids = [one["id"] for one in request["consents"]]
    broker.advance(400 * 86_400)
    acts: list[Callable[[], object]] = [
        lambda: expire_due(broker.ctx),
        lambda: expire_due(broker.ctx),
        lambda: withdraw_by_officer(broker.ctx, "demo", broker.officer, ids[0]),
    ]
    outcome = at_once(acts)
    broker.advance()
    assert set(outcome) <= {"done", "state_conflict"}
    expire_due(broker.ctx)
    broker.advance()
    ended = broker.logged("consent.expired", "consent.withdrawn")
    assert sorted(str(entry.consent_id) for entry in ended) == sorted(ids)
