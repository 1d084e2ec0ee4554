"""On PostgreSQL: sweeps wait for nobody, and what came of an invitation is locked in one order.

Each test stops one of two acts between two of its locks, until the other one waits or is over.
"""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from broker.store import access_tokens, db, deferred
from broker.store.acting import acting_for_all
from broker.usecases.erasure import OPERATOR, erase
from broker.usecases.person import Named
from broker.usecases.token import forget_expired
from tests.broker.issuance_world import OFFICER, PARTNER, World, world
from tests.waiting import WAIT_SECONDS, Met

WAITING = {"subject_ref": "crm-1", "grade": "verified_person"}


@pytest.fixture
def broker(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path, postgres_database) as made:
        yield made


@pytest.fixture
def met(broker: World, monkeypatch: pytest.MonkeyPatch) -> Met:
    monkeypatch.setattr(db, "ATTEMPTS", 1)  # a second one would hide a deadlock
    return Met(broker.ctx.db)


def post(broker: World, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:  # noqa: ANN401 (an answer)
    key = {"Idempotency-Key": secrets.token_hex(8)}
    return broker.http.post(path, json=body, headers=key | headers)


def invitation_that_waits(broker: World) -> dict[str, Any]:
    answer = post(broker, "/v1/invitations", WAITING, broker.token(PARTNER, "partner"))
    found: dict[str, Any] = answer.json()
    return found


def erasing(broker: World) -> Callable[[], object]:
    named = Named(partner_id=PARTNER, subject_ref="crm-1")
    return lambda: erase(broker.ctx, "demo", named, by=OPERATOR)


def test_a_sweep_waits_for_nobody(broker: World) -> None:
    invitation = broker.invite()
    broker.wallet_token(invitation)
    broker.advance(86_401)
    forget = acting_for_all()(forget_expired)
    with ThreadPoolExecutor(1) as pool, broker.ctx.db.transaction() as tx:
        assert access_tokens.end_of(tx, tenant_id="demo", subject=invitation["id"]) == 1
        gone = pool.submit(forget, broker.ctx).result(WAIT_SECONDS)
    assert gone > 0, "what nobody holds is over"


def test_a_wallet_that_is_told_to_wait_and_an_erasure(
    broker: World, met: Met, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = broker.wallet_token(invitation_that_waits(broker))

    def ask() -> int:
        return int(broker.request(token, broker.proof(broker.nonce())).status_code)

    assert ask() == 202
    monkeypatch.setattr(access_tokens, "prolong", met.before(access_tokens.prolong))
    asked, _ = met.run(ask, erasing(broker))
    assert asked == 202


def test_credentials_that_were_waited_for_and_an_erasure(
    broker: World, met: Met, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation = invitation_that_waits(broker)
    token = broker.wallet_token(invitation)
    waits = broker.request(token, broker.proof(broker.nonce())).json()["transaction_id"]
    approval = f"/v1/invitations/{invitation['id']}/approval"
    post(broker, approval, {"approve": True}, broker.token(OFFICER, "officer"))
    real = deferred.remove

    def remove(*of: Any) -> bool:  # noqa: ANN401 (as it is)
        done = real(*of)
        met.stop()  # the contact is not bound yet
        return done

    monkeypatch.setattr(deferred, "remove", remove)

    def fetch() -> int:
        headers = {"Authorization": f"Bearer {token}"}
        body = {"transaction_id": waits}
        return int(post(broker, "/openid4vci/deferred_credential", body, headers).status_code)

    fetched, _ = met.run(fetch, erasing(broker))
    assert fetched == 200
