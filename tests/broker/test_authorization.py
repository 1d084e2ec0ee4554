"""Issuance by authorization code: pushed, agreed to on the page, redeemed once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI

from broker.settings import SettingsError, read_settings
from broker.usecases.token import forget_expired
from broker.web import authorization
from credentials.keys import SoftwareKey
from tests.broker.authorizing import CLIENT, REDIRECT, Authorizing, query_of
from tests.broker.issuance_world import PUBLIC_URL, World, world


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        assert isinstance(made.http.app, FastAPI)
        made.http.app.include_router(authorization.router)
        yield made


@pytest.fixture
def wallet(broker: World) -> Authorizing:
    return Authorizing(broker, broker.invite())


def _settings(broker: World, **changes: object) -> None:
    settings = replace(broker.ctx.settings, **changes)  # type: ignore[arg-type]  # names of fields
    assert isinstance(broker.http.app, FastAPI)
    broker.http.app.state.context = replace(broker.ctx, settings=settings)


def test_the_whole_way(wallet: Authorizing) -> None:
    broker = wallet.broker
    page = wallet.page(wallet.request_uri())
    assert page.status_code == 200
    assert CLIENT in page.text
    assert "form-action 'self' https://wallet.example;" in page.headers["content-security-policy"]
    sent = wallet.decide(page)
    assert (sent.status_code, sent.headers["cache-control"]) == (303, "no-store")
    assert sent.headers["location"].startswith(REDIRECT + "&")
    answer = query_of(sent.headers["location"])
    assert (answer["state"], answer["iss"], answer["x"]) == ("s-1", PUBLIC_URL, "1")
    token = wallet.redeem(answer["code"])
    assert token.status_code == 200, token.text
    assert token.headers["cache-control"] == "no-store"
    assert token.json()["token_type"] == "Bearer"
    issued = broker.request(token.json()["access_token"], broker.proof(broker.nonce()))
    assert issued.status_code == 200, issued.text
    assert len(broker.copies()) == 1
    assert len(broker.logged("contact.bound")) == 1


def test_the_code_that_was_sent_is_asked_for_on_the_page(broker: World) -> None:
    wallet = Authorizing(broker, broker.invite(grade="code"))
    page = wallet.page(wallet.request_uri())
    assert 'name="tx_code"' in page.text
    right = wallet.invitation["tx_code"]
    wrong = "000000" if right != "000000" else "000001"
    for typed in ({}, {"tx_code": ""}, {"tx_code": wrong}):
        again = wallet.decide(page, **typed)
        assert again.status_code == 422
        assert 'role="alert"' in again.text
    answer = query_of(wallet.decide(page, tx_code=f" {right} ").headers["location"])
    assert wallet.redeem(answer["code"]).status_code == 200
    assert [entry.body["code"] for entry in broker.logged("invitation.refused")] == [
        "tx_code_wrong"
    ]


def test_five_wrong_codes_end_the_invitation(broker: World) -> None:
    wallet = Authorizing(broker, broker.invite(grade="code"))
    page = wallet.page(wallet.request_uri())
    right = wallet.invitation["tx_code"]
    wrong = "000000" if right != "000000" else "000001"
    answers = [wallet.decide(page, tx_code=wrong).status_code for _ in range(5)]
    assert answers == [422] * 5
    assert wallet.decide(page, tx_code=right).status_code == 400


def test_declining_tells_the_wallet_and_keeps_the_offer(wallet: Authorizing) -> None:
    sent = wallet.decide(wallet.page(wallet.request_uri()), "decline")
    answer = query_of(sent.headers["location"])
    assert (answer["error"], answer["state"], answer["iss"]) == (
        "access_denied", "s-1", PUBLIC_URL,
    )  # fmt: skip
    assert "code" not in answer
    assert wallet.redeem(wallet.answer()["code"]).status_code == 200


def test_a_code_is_bound_to_the_key_of_the_pushed_request(broker: World) -> None:
    wallet = Authorizing(broker, broker.invite(), key=SoftwareKey.generate("ES256"))
    token = wallet.redeem(wallet.answer()["code"])
    assert token.json()["token_type"] == "DPoP"
    for key in (None, SoftwareKey.generate("ES256")):
        thief = Authorizing(broker, broker.invite(f"crm-{key is None}"))
        thief.key = wallet.key
        code = thief.answer()["code"]
        thief.key = key
        refused = thief.redeem(code)
        assert (refused.json()["error"], refused.json()["code"]) == (
            "invalid_grant", "dpop_key_mismatch",
        )  # fmt: skip


def test_the_strict_profile_wants_dpop_with_a_nonce_where_requests_are_pushed(
    broker: World,
) -> None:
    wallet = Authorizing(broker, broker.invite())
    state = wallet.issuer_state
    _settings(broker, strict=True, development=False, wallets=frozenset({(CLIENT, REDIRECT)}))
    assert wallet.push(issuer_state=state).json()["code"] == "dpop_proof_missing"
    wallet.key = SoftwareKey.generate("ES256")
    answer = wallet.push(issuer_state=state)
    assert answer.json()["error"] == "use_dpop_nonce"
    assert answer.headers["dpop-nonce"]


def test_only_registered_wallets_outside_development(wallet: Authorizing) -> None:
    broker = wallet.broker
    _settings(broker, development=False, wallets=frozenset({(CLIENT, REDIRECT)}))
    assert wallet.push().status_code == 201
    for changed in (
        {"redirect_uri": "https://wallet.example/cb"},
        {"redirect_uri": REDIRECT + "&y=2"},
        {"client_id": "other.example"},
    ):
        refused = wallet.push(**changed)
        assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")


def test_a_form_of_another_site_or_another_browser_decides_nothing(wallet: Authorizing) -> None:
    broker = wallet.broker
    page = wallet.page(wallet.request_uri())
    foreign = broker.http.post(
        "/oauth/authorize",
        data={"client_id": CLIENT, "request_uri": "x", "form_token": "", "decision": "agree"},
        headers={"Origin": "https://attacker.example"},
    )
    assert foreign.status_code == 403
    broker.http.cookies.clear()
    assert wallet.decide(page).status_code == 403


def test_codes_and_requests_are_kept_as_hashes_and_forgotten(wallet: Authorizing) -> None:
    broker = wallet.broker
    request_uri = wallet.request_uri()
    code = query_of(wallet.decide(wallet.page(request_uri)).headers["location"])["code"]
    stored = Path(broker.ctx.settings.home / "broker.db").read_bytes()
    stored += Path(broker.ctx.settings.home / "broker.db-wal").read_bytes()
    assert code.encode() not in stored
    assert request_uri.rpartition(":")[2].encode() not in stored
    assert wallet.verifier.encode() not in stored
    broker.advance(4_000)
    assert forget_expired(broker.ctx) >= 1


def test_the_metadata_says_all_of_it(broker: World) -> None:
    told = broker.http.get("/.well-known/oauth-authorization-server").json()
    assert told["authorization_endpoint"] == f"{PUBLIC_URL}/oauth/authorize"
    assert told["pushed_authorization_request_endpoint"] == f"{PUBLIC_URL}/oauth/par"
    assert told["require_pushed_authorization_requests"] is True
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["response_types_supported"] == ["code"]
    assert "authorization_code" in told["grant_types_supported"]
    assert told["scopes_supported"] == ["customer_credential"]


def test_wallets_are_registered_by_a_setting() -> None:
    found = read_settings({"BROKER_WALLETS": "a https://a.example/cb, a com.a:/cb"})
    assert found.wallets == {("a", "https://a.example/cb"), ("a", "com.a:/cb")}
    with pytest.raises(SettingsError, match="BROKER_WALLETS"):
        read_settings({"BROKER_WALLETS": "a"})
