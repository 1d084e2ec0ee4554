"""What happens while a proof waits for its turn: whoever takes it looks again."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.usecases import key_rotation
from broker.usecases.proof_batches import ProofBatches
from tests.broker.data_requests import consenting, register_kind
from tests.broker.flow_world import TEMPLATE, World, world
from tests.broker.proving import PERSON, follow, holder, show
from tests.broker.test_attribute_credentials import EARNS, accept, offer, register, trusted
from wallet_adapters.loopback.errors import PeerRefused
from zkp import ProvenPresentation, ToVerify


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as made:
        yield made


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let it happen once, before the next proof is verified."""
    verify, left = ProofBatches.verify, [happens]

    def waits(batches: ProofBatches, asked: ToVerify) -> ProvenPresentation:
        while left:
            left.pop()()
        return verify(batches, asked)

    monkeypatch.setattr(ProofBatches, "verify", waits)


def steal(broker: World) -> None:
    (made,) = (one for one in key_rotation.every_key(broker.ctx) if one["purpose"] == "attributes")
    assert key_rotation.compromise(broker.ctx, made["id"], broker.time[0]).replaced_by is not None


def test_a_proof_whose_request_ends_or_whose_key_is_stolen_meanwhile(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(broker)
    wallet = holder(broker)
    accept(broker, wallet, offer(broker).json())
    body = {
        "template": TEMPLATE,
        "credentials": {"id": {"schema": PERSON.id, "issuers": trusted(broker)}},
        "statements": [EARNS],
    }

    def asked() -> Any:  # noqa: ANN401
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        return broker.api("POST", "/v1/proof-requests", json=body, headers=headers).json()

    stolen = asked()
    meanwhile(monkeypatch, lambda: steal(broker))
    with pytest.raises(PeerRefused):
        show(broker, wallet, stolen["wallet_link"])
    assert broker.logged("proof.rejected")[-1].body["code"] == "issuer_key_compromised"
    assert follow(broker, stolen)["state"] == "open"
    assert broker.logged("proof.verified") == []

    body["credentials"]["id"]["issuers"] = trusted(broker)  # type: ignore[index]
    accept(broker, wallet, offer(broker).json())
    late = asked()
    meanwhile(monkeypatch, lambda: broker.advance(900))
    with pytest.raises(PeerRefused):
        show(broker, wallet, late["wallet_link"])
    assert follow(broker, late)["state"] == "expired"
    assert broker.logged("proof.verified") == []


def test_nothing_is_handed_on_by_the_word_of_a_key_that_is_stolen_meanwhile(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_kind(broker)
    asked = consenting(broker)
    opened = asked.opened()
    meanwhile(monkeypatch, lambda: steal(broker))
    with pytest.raises(PeerRefused):
        show(broker, asked.wallet, opened["wallet_link"])
    assert broker.logged("data.rejected")[-1].body["code"] == "issuer_key_compromised"
    assert asked.follow(opened)["state"] == "open"
    assert asked.collect(opened).status_code == 409
