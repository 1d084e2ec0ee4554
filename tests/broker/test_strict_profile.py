"""The strict profile end to end: bound tokens, nonces, encrypted answers, and no way around."""

import json
import time
from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest

from broker.outbound.client import Carrier
from credentials.keys import SoftwareKey
from dev.running import Broker, running_broker
from tests.broker.journeys import client, trust_of, whole_way
from wallet_adapters.loopback import Answer, Message, Wallet, accept_offer
from wallet_adapters.loopback.errors import PeerRefused


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    home = tmp_path_factory.mktemp("strict")
    with running_broker(home, {"BROKER_PROFILE": "strict"}) as broker:
        yield broker


def _invitation(broker: Broker, subject_ref: str) -> dict[str, str]:
    with client(broker, "partner") as partner:
        body = {"subject_ref": subject_ref, "grade": "link"}
        return partner.post("/v1/invitations", body, idempotent=True)


def test_the_whole_way_of_a_consent(strict: Broker) -> None:
    steps, kept, _ = whole_way(strict)
    assert steps
    assert kept is not None


def test_a_wallet_without_a_key_of_its_own_gets_no_token(strict: Broker) -> None:
    wallet = Wallet(anchors=list(trust_of(strict).roots))
    invitation = _invitation(strict, "crm-bare")
    with closing(Carrier()) as carry, pytest.raises(PeerRefused, match="invalid_dpop_proof"):
        accept_offer(wallet, invitation["offer_uri"], carry=carry, now=int(time.time()))
    assert wallet.credentials == []


def test_a_wallet_with_one_takes_the_nonce_it_is_given(strict: Broker) -> None:
    sent: list[Message] = []
    with closing(Carrier()) as carrier:

        def carry(message: Message) -> Answer:
            sent.append(message)
            return carrier(message)

        held = accept_offer(
            Wallet(anchors=list(trust_of(strict).roots)),
            _invitation(strict, "crm-bound")["offer_uri"],
            carry=carry,
            now=int(time.time()),
            copies=2,
            dpop_key=SoftwareKey.generate("ES256"),
        )
    assert len(held) == 2
    tokens = [message for message in sent if message.url.endswith("/oauth/token")]
    assert len(tokens) == 2, "refused for want of a nonce, then taken"
    assert len({message.headers["dpop"] for message in sent if "dpop" in message.headers}) == sum(
        "dpop" in message.headers for message in sent
    )
    assert not any("Bearer" in str(dict(message.headers)) for message in sent)


def test_a_request_asks_for_an_encrypted_answer_and_has_no_unsigned_form(strict: Broker) -> None:
    with client(strict, "partner") as partner:
        body = {"subject_ref": "crm-1", "template": "loyalty-churn", "language": "en"}
        opened = partner.post("/v1/consent-requests", body, idempotent=True)
    assert "redirect_uri%3A" not in json.dumps(opened)
    metadata = httpx2.get(f"{strict.address}/.well-known/oauth-authorization-server").json()
    assert metadata["dpop_signing_alg_values_supported"]
