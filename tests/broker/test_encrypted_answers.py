"""`direct_post.jwt` over the whole broker: what a wallet answers is read by nobody on the way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey

from broker.settings import SettingsError, read_settings
from credentials.jcs import b64url_decode
from tests.broker.flow_world import ITEMS, Customer, World, form, presentation, world
from wallet_adapters.loopback import Answer, Message
from wallet_adapters.openid4vp.encrypted_response import seal_response


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, encrypted_responses=True) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer()


def test_consents_are_given_and_withdrawn_encrypted(broker: World, li: Customer) -> None:
    sent: list[Message] = []
    carry = broker.carry

    def watched(message: Message) -> Answer:
        sent.append(message)
        return carry(message)

    broker.carry = watched  # type: ignore[method-assign]  # to see what goes over the wire
    granted = li.grant("base")
    assert [one["state"] for one in granted["consents"]] == ["granted", "refused", "refused"]
    fields = parse_qs(sent[-1].body.decode())
    assert set(fields) == {"response"}
    assert b"vp_token" not in sent[-1].body
    consent_id = granted["consents"][0]["id"]
    asked = broker.withdrawal(consent_id).json()
    li.sign(asked["wallet_link"], "same_key")
    assert broker.consent(consent_id)["state"] == "withdrawn"
    assert broker.evidence(consent_id).verdict == "verified"


def test_each_request_has_a_key_of_its_own(broker: World, li: Customer) -> None:
    keys = [broker.request(broker.ask(li.subject_ref)["wallet_link"]).response_key for _ in "ab"]
    assert keys[0] is not None
    assert keys[1] is not None
    assert keys[0]["kid"] != keys[1]["kid"]
    assert "d" not in keys[0]


def test_an_answer_in_the_clear_or_to_another_request_does_not_count(
    broker: World, li: Customer
) -> None:
    request = broker.request(broker.ask(li.subject_ref)["wallet_link"])
    other = broker.request(broker.ask(li.subject_ref)["wallet_link"])
    held = li.wallet.credentials[0]
    token = presentation(broker, other, held, "consent_base")
    before = broker.rows()
    clear = broker.post(other, form(other, consent_base=token))
    assert (clear.status_code, clear.json()["code"]) == (400, "response_not_encrypted")
    assert request.response_key is not None
    payload = {"vp_token": {"consent_base": [token]}, "state": other.state}
    elsewhere = broker.post(other, {"response": seal_response(payload, request.response_key)})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (400, "response_unreadable")
    assert broker.rows() == before
    assert other.response_key is not None
    right = broker.post(other, {"response": seal_response(payload, other.response_key)})
    assert right.status_code == 200, right.text


def test_a_plain_request_takes_no_encrypted_answer(tmp_path: Path) -> None:
    with world(tmp_path / "plain") as plain:
        li = plain.customer()
        request = plain.request(plain.ask(li.subject_ref)["wallet_link"])
        assert request.response_key is None
        answer = plain.post(request, {"response": "a.b.c.d.e"})
        assert answer.json()["code"] == "response_unreadable", "nobody was told a key"


def test_the_unsigned_form_is_answered_in_development_alone(tmp_path: Path) -> None:
    for development, status in ((True, 200), (False, 400)):
        with world(tmp_path / str(development), development=development) as broker:
            li = broker.customer()
            opened = broker.ask(li.subject_ref)
            assert (opened["development_link"] is not None) is development
            request = broker.request(opened["wallet_link"])
            audience = f"redirect_uri:{request.response_uri}"
            held = li.wallet.credentials[0]
            token = presentation(broker, request, held, "consent_base", aud=audience)
            answer = broker.post(request, form(request, consent_base=token))
            assert answer.status_code == status, answer.text
            if not development:
                assert answer.json()["code"] == "audience_mismatch"


METADATA = {
    "vp_formats_supported": {"dc+sd-jwt": {}},
    "authorization_encryption_alg_values_supported": ["ECDH-ES"],
    "authorization_encryption_enc_values_supported": ["A256GCM"],
}


def _fetched(broker: World, opened: dict[str, Any], metadata: object) -> Any:  # noqa: ANN401 (an answer)
    address = parse_qs(urlsplit(opened["wallet_link"]).query)["request_uri"][0]
    fields = {"wallet_nonce": "w-1", "wallet_metadata": json.dumps(metadata)}
    return broker.http.post(address, data=fields)


def test_a_wallet_that_can_encrypt_is_asked_to_where_that_is_not_demanded(tmp_path: Path) -> None:
    with world(tmp_path / "plain") as plain:
        li = plain.customer()
        opened = plain.ask(li.subject_ref)
        read = _claims(_fetched(plain, opened, METADATA).text)
        assert read["response_mode"] == "direct_post.jwt"
        (key,) = read["client_metadata"]["jwks"]["keys"]
        request = plain.request(opened["wallet_link"])
        token = presentation(plain, request, li.wallet.credentials[0], "consent_base")
        payload = {"vp_token": {"consent_base": [token]}, "state": request.state}
        answer = plain.post(request, {"response": seal_response(payload, key)})
        assert answer.status_code == 200, answer.text
        consent_id = opened["consents"][0]["id"]
        assert plain.consent(consent_id)["state"] == "granted"
        assert plain.evidence(consent_id).verdict == "verified"


def test_what_a_wallet_lacks_is_said_before_it_fails(broker: World, li: Customer) -> None:
    opened = broker.ask(li.subject_ref)
    for metadata, error in (
        ({"response_modes_supported": ["direct_post"]}, "invalid_request"),
        ({"vp_formats_supported": {"mso_mdoc": {}}}, "vp_formats_not_supported"),
    ):
        refused = _fetched(broker, opened, metadata)
        told = refused.json()
        assert (refused.status_code, told["code"], told["error"]) == (400, "wallet_lacks", error)
    assert _fetched(broker, opened, METADATA).status_code == 200, "and it stays open"


def test_a_request_is_encrypted_to_the_wallets_key_and_kept_as_it_was_signed(
    broker: World, li: Customer
) -> None:
    opened = broker.ask(li.subject_ref)
    key = ECKey.generate_key("P-256", private=True)
    told = _fetched(broker, opened, METADATA | {"jwks": {"keys": [key.as_dict(private=False)]}})
    inside = jwe.decrypt_compact(told.text, key, algorithms=["ECDH-ES", "A256GCM"]).plaintext
    assert inside is not None
    assert _claims(inside.decode())["wallet_nonce"] == "w-1"
    with broker.ctx.db.reading() as tx:
        ((request_id, sealed),) = tx.exec_driver_sql(
            "SELECT presentation_request_id, sealed FROM served_request"
        ).all()
    assert broker.ctx.master.open(sealed, f"served:{request_id}") == inside


def _claims(request_object: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b64url_decode(request_object.split(".")[1]))
    return found


def test_the_key_is_not_stored_in_the_clear(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    broker.request(request["wallet_link"])
    with broker.ctx.db.reading() as tx:
        documents = tx.exec_driver_sql("SELECT document FROM presentation_request").all()
    assert documents
    for (document,) in documents:
        assert '"response_key":"' in document
        assert '"d"' not in document


def test_several_consents_in_one_answer(broker: World, li: Customer) -> None:
    assert [one["state"] for one in li.grant(*ITEMS)["consents"]] == ["granted"] * 3


def test_the_setting_and_what_the_strict_profile_makes_of_it() -> None:
    assert read_settings({}).encrypted_responses is False
    assert read_settings({"BROKER_RESPONSE_MODE": "direct_post.jwt"}).encrypted_responses is True
    assert read_settings({"BROKER_PROFILE": "strict"}).encrypted_responses is True
    for wrong in (
        {"BROKER_PROFILE": "strict", "BROKER_RESPONSE_MODE": "direct_post"},
        {"BROKER_RESPONSE_MODE": "fragment"},
    ):
        with pytest.raises(SettingsError, match="BROKER_RESPONSE_MODE"):
            read_settings(wrong)
