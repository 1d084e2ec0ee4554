"""What the loopback wallet refuses at issuance: other issuers, credentials not asked for."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from credentials.keys import SoftwareKey
from tests.wallet_adapters.parties import NOW, URL, VCT, Authority, Broker
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import (
    Answer,
    Message,
    Wallet,
    accept_offer,
    read_direct_post_answer,
    read_token,
)
from wallet_adapters.loopback.state import HeldCredential
from wallet_adapters.openid4vci import TxCode

AUTHORITY = Authority()
STRANGER = Authority("Stranger")


def code_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(WalletProtocolError) as refused:
        attempt()
    return refused.value.code


def spoil_metadata(change: dict[str, Any]) -> Callable[[Broker], None]:
    def spoil(broker: Broker) -> None:
        broker.metadata = change

    return spoil


def issue(make: Callable[[dict[str, Any]], str]) -> Callable[[Broker], None]:
    def spoil(broker: Broker) -> None:
        broker.make = make

    return spoil


CONFIGURATION = {"format": "dc+sd-jwt", "vct": VCT, "proof_types_supported": {}}


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(
            spoil_metadata({"credential_issuer": f"{URL}/"}), "offer_refused", id="other issuer"
        ),
        pytest.param(
            spoil_metadata({"credential_endpoint": ...}), "missing_parameter", id="no endpoint"
        ),
        pytest.param(
            spoil_metadata({"credential_configurations_supported": {}}),
            "offer_refused",
            id="unknown configuration",
        ),
        pytest.param(
            spoil_metadata({"credential_configurations_supported": {"customer": {}}}),
            "offer_refused",
            id="other format",
        ),
        pytest.param(
            spoil_metadata({"credential_configurations_supported": {"customer": CONFIGURATION}}),
            "offer_refused",
            id="no proof type",
        ),
        pytest.param(
            spoil_metadata({"batch_credential_issuance": {"batch_size": "9"}}),
            "malformed",
            id="batch size",
        ),
        pytest.param(
            # The broker answers there, but as the authorization server of its own address.
            spoil_metadata({"authorization_servers": [f"{URL}/oauth-authorization-server"]}),
            "offer_refused",
            id="another authorization server answers",
        ),
        pytest.param(
            issue(lambda jwk: AUTHORITY.issue(jwk, vct=f"{URL}/vct/other")),
            "credential_refused",
            id="other type",
        ),
        pytest.param(
            issue(lambda jwk: AUTHORITY.issue(jwk, expires_at=NOW - 61)),
            "credential_refused",
            id="expired",
        ),
        pytest.param(
            issue(lambda _: AUTHORITY.issue(SoftwareKey.generate().public_jwk())),
            "credential_refused",
            id="bound to another key",
        ),
        pytest.param(
            issue(lambda _: AUTHORITY.issue(None)),
            "credential_refused",
            id="bound to no key",
        ),
        pytest.param(issue(STRANGER.issue), "credential_refused", id="other root"),
    ],
)
def test_issuance_that_is_refused(spoil: Callable[[Broker], None], code: str) -> None:
    broker = Broker(AUTHORITY)
    spoil(broker)
    wallet = Wallet([AUTHORITY.root])
    link = broker.offer.by_value()
    assert code_of(lambda: accept_offer(wallet, link, carry=broker.carry, now=NOW)) == code
    assert wallet.credentials == []


def answer_with(
    broker: Broker, change: Callable[[list[dict[str, str]]], object]
) -> Callable[[Message], Answer]:
    """Carries messages, and changes the credentials on their way."""

    def carry(message: Message) -> Answer:
        answer = broker.carry(message)
        if not message.url.endswith("/credential"):
            return answer
        body = json.loads(answer.body)
        return Answer(200, json.dumps({"credentials": change(body["credentials"])}).encode())

    return carry


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda found: [], id="none"),
        pytest.param(lambda found: found * 2, id="more than keys"),
        pytest.param(lambda found: [found[0], found[0]], id="one copy twice"),
        pytest.param(lambda found: "x", id="no array"),
        pytest.param(lambda found: [found[0]["credential"]], id="strings of a draft"),
        pytest.param(lambda found: [{"credential": {}}], id="no string"),
        pytest.param(
            lambda found: [{"credential": found[0]["credential"].rstrip("~")}], id="no tilde"
        ),
        pytest.param(
            lambda found: [{"credential": found[0]["credential"] + "a.b.c"}], id="key-bound"
        ),
        pytest.param(
            lambda found: [{"credential": found[0]["credential"] + "~"}], id="another tilde"
        ),
        pytest.param(lambda found: [{"credential": "~"}], id="tilde alone"),
    ],
)
def test_credentials_that_are_refused(change: Callable[[list[dict[str, str]]], object]) -> None:
    broker = Broker(AUTHORITY)
    wallet = Wallet([AUTHORITY.root])
    carry = answer_with(broker, change)
    link = broker.offer.by_value()
    found = code_of(lambda: accept_offer(wallet, link, carry=carry, now=NOW, copies=2))
    assert found == "credential_refused"
    assert wallet.credentials == []


def test_fewer_copies_than_keys_are_fine() -> None:
    broker = Broker(AUTHORITY)
    wallet = Wallet([AUTHORITY.root])
    carry = answer_with(broker, lambda found: found[:2])
    link = broker.offer.by_value()
    assert len(accept_offer(wallet, link, carry=carry, now=NOW, copies=3)) == 2


def test_a_stale_nonce_is_the_protocols_invalid_nonce() -> None:
    broker = Broker(AUTHORITY)

    def carry(message: Message) -> Answer:
        broker.nonces.clear()
        return broker.carry(message)

    wallet = Wallet([AUTHORITY.root])
    with pytest.raises(WalletProtocolError) as refused:
        accept_offer(wallet, broker.offer.by_value(), carry=carry, now=NOW)
    assert (refused.value.code, refused.value.error) == ("peer_refused", "invalid_nonce")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(400, b'{"error":"invalid_grant"}'), "invalid_grant"),
        (Answer(200, b'{"error":"invalid_grant"}'), "invalid_grant"),
        (Answer(500, b"<html>"), "invalid_request"),
        (Answer(302, b'{"access_token":"t","token_type":"Bearer"}'), "invalid_request"),
    ],
)
def test_an_error_is_an_error_whatever_its_status(answer: Answer, error: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        read_token(answer)
    assert (refused.value.code, refused.value.error) == ("peer_refused", error)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"access_token":"t"}',
        b'{"access_token":"t","token_type":"DPoP"}',
        b'{"access_token":5,"token_type":"Bearer"}',
        (
            b'{"access_token":"t","token_type":"Bearer",'
            b'"authorization_details":[{"type":"openid_credential"}]}'
        ),
    ],
)
def test_token_answers_that_cannot_be_used(body: bytes) -> None:
    with pytest.raises(WalletProtocolError):
        read_token(Answer(200, body))


def test_foreign_authorization_details_are_read_over() -> None:
    token = read_token(
        Answer(200, b'{"access_token":"t","token_type":"bearer","authorization_details":[5,{}]}')
    )
    assert token.identifiers == {}


def test_where_the_browser_goes() -> None:
    assert read_direct_post_answer(Answer(200, b"{}")) is None
    for body in (b'{"redirect_uri":"javascript:x"}', b'{"redirect_uri":5}', b"[]"):
        with pytest.raises(WalletProtocolError):
            read_direct_post_answer(Answer(200, body))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"anchors":[],"credentials":{}}',
        '{"anchors":["!"],"credentials":[]}',
        '{"anchors":[5],"credentials":[]}',
        '{"anchors":[],"credentials":[{"unknown":1}]}',
        '{"anchors":[],"credentials":[5]}',
    ],
)
def test_states_that_are_not_the_wallets(text: str) -> None:
    with pytest.raises(WalletProtocolError):
        Wallet.from_json(text)


def test_a_broken_copy_is_noticed() -> None:
    held = HeldCredential(credential="x", holder_key={})
    assert code_of(held.claims) == "malformed"
    assert code_of(lambda: held.key) == "malformed"


def test_an_empty_transaction_code_description_asks_for_one_all_the_same() -> None:
    broker = Broker(AUTHORITY)
    broker.offer = type(broker.offer)(
        broker.offer.issuer,
        broker.offer.configuration_ids,
        broker.offer.pre_authorized_code,
        TxCode(),
    )
    wallet = Wallet([AUTHORITY.root])
    link = broker.offer.by_value()
    attempt = lambda: accept_offer(wallet, link, carry=broker.carry, now=NOW)  # noqa: E731
    assert code_of(attempt) == "offer_refused"
