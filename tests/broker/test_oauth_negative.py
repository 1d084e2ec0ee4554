"""What the authorization server and the credential endpoint must refuse, each with its error.

The list of what implementers get wrong, as far as it is OAuth's: signatures and headers at every
place that takes a JWT, pushed requests, codes, verifiers, redirect addresses. What a presentation
may get wrong is in `test_bad_answers.py`.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from broker.web import authorization
from credentials.jcs import b64url
from credentials.keys import SoftwareKey, sign_jws
from tests.broker import clients_world
from tests.broker.authorizing import CLIENT, REDIRECT, Authorizing, query_of
from tests.broker.issuance_world import PROOF_TYPE, PUBLIC_URL, World, world
from wallet_adapters.oauth import new_verifier

Attack = Callable[[SoftwareKey, dict[str, Any], dict[str, Any]], str]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        assert isinstance(made.http.app, FastAPI)
        made.http.app.include_router(authorization.router)
        yield made


@pytest.fixture
def wallet(broker: World) -> Authorizing:
    return Authorizing(broker, broker.invite())


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[clients_world.World]:
    with clients_world.world(tmp_path) as made:
        yield made


# Pushed requests


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"response_type": "token"}, "unsupported_response_type", "unsupported_response_type"),
        ({"response_type": None}, "invalid_request", "missing_parameter"),
        ({"response_mode": "fragment"}, "invalid_request", "malformed"),
        ({"client_id": None}, "invalid_request", "missing_parameter"),
        ({"redirect_uri": None}, "invalid_request", "missing_parameter"),
        ({"redirect_uri": "https://wallet.example/#f"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "http://wallet.example/"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "javascript:alert(1)"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "data:text/html,x"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "wallet:/cb"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "https://a@b.example/"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "https://a;b.example/"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "https://a.example\\@b"}, "invalid_request", "redirect_uri_invalid"),
        ({"redirect_uri": "//wallet.example/cb"}, "invalid_request", "redirect_uri_invalid"),
        ({"code_challenge": None}, "invalid_request", "pkce_required"),
        ({"code_challenge_method": None}, "invalid_request", "pkce_required"),
        ({"code_challenge_method": "plain"}, "invalid_request", "pkce_required"),
        ({"code_challenge": "short"}, "invalid_request", "pkce_required"),
        ({"scope": None}, "invalid_scope", "invalid_grant"),
        ({"scope": "openid"}, "invalid_scope", "invalid_grant"),
        ({"scope": "customer_credential admin"}, "invalid_scope", "invalid_grant"),
        ({"scope": "federation_membership"}, "invalid_scope", "invalid_grant"),  # by offer alone
        ({"issuer_state": None}, "invalid_request", "issuer_state_invalid"),
        ({"issuer_state": "made-up"}, "invalid_request", "issuer_state_invalid"),
        ({"issuer_state": "iv-x." + "A" * 43}, "invalid_request", "issuer_state_invalid"),
        ({"request_uri": "urn:x"}, "invalid_request", "request_uri_invalid"),
        ({"request": "a.b.c"}, "request_not_supported", "malformed"),
        ({"resource": "https://elsewhere.example"}, "invalid_target", "malformed"),
        ({"dpop_jkt": "short"}, "invalid_request", "malformed"),
        ({"authorization_details": "[]"}, "invalid_authorization_details", "malformed"),
        (
            {
                "authorization_details": '[{"type":"openid_credential",'
                '"credential_configuration_id":"other"}]'
            },
            "invalid_authorization_details",
            "invalid_grant",
        ),
    ],
)
def test_a_pushed_request_that_is_refused(
    wallet: Authorizing, changes: dict[str, str | None], error: str, code: str
) -> None:
    answer = wallet.push(**changes)
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["code"]) == (error, code)
    assert answer.headers["cache-control"] == "no-store"


def test_a_parameter_twice_or_not_as_a_form(wallet: Authorizing) -> None:
    body = "response_type=code&response_type=code"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = wallet.broker.http.post("/oauth/par", content=body, headers=headers)
    assert answer.json()["code"] == "repeated_parameter"
    assert wallet.broker.http.post("/oauth/par", json={}).json()["error"] == "invalid_request"


def test_an_issuer_state_of_an_offer_that_is_over(wallet: Authorizing) -> None:
    state = wallet.issuer_state
    wallet.broker.invite()  # in place of the first
    assert wallet.push(issuer_state=state).json()["code"] == "issuer_state_invalid"


def test_an_issuer_state_of_another_tenant(wallet: Authorizing) -> None:
    form = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "scope": "customer_credential",
        "issuer_state": wallet.issuer_state,
        "code_challenge": b64url(bytes(32)),
        "code_challenge_method": "S256",
    }
    answer = wallet.broker.http.post("/t/acme/oauth/par", data=form)
    assert (answer.status_code, answer.json()["code"]) == (400, "issuer_state_invalid")


def test_an_offer_is_not_tried_without_end(wallet: Authorizing) -> None:
    state = wallet.issuer_state
    answers = [wallet.push(issuer_state=state).status_code for _ in range(21)]
    assert answers == [201] * 20 + [400]


# The authorization endpoint: nothing wrong is ever sent on to an address


@pytest.mark.parametrize(
    "query",
    [
        "",
        "client_id=wallet.example",
        "client_id=wallet.example&response_type=code&redirect_uri=https://attacker.example",
        "client_id=wallet.example&request_uri=https://attacker.example/request",
        "client_id=wallet.example&request_uri=urn:ietf:params:oauth:request_uri:made-up",
        "client_id=a&client_id=b&request_uri=urn:ietf:params:oauth:request_uri:x",
        "%FF=%FF",
    ],
)
def test_without_a_pushed_request_nobody_is_sent_anywhere(broker: World, query: str) -> None:
    answer = broker.http.get(f"/oauth/authorize?{query}", follow_redirects=False)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "https://attacker" not in answer.text


def test_a_request_uri_is_its_clients_its_tenants_and_good_once(wallet: Authorizing) -> None:
    request_uri = wallet.request_uri()
    assert wallet.page(request_uri, client_id="other.example").status_code == 400
    elsewhere = wallet.broker.http.get(
        "/t/acme/oauth/authorize", params={"client_id": CLIENT, "request_uri": request_uri}
    )
    assert elsewhere.status_code == 400
    page = wallet.page(request_uri)
    assert wallet.decide(page).status_code == 303
    assert wallet.decide(page).status_code == 400
    assert wallet.page(request_uri).status_code == 400


def test_a_request_uri_ends(wallet: Authorizing) -> None:
    request_uri = wallet.request_uri()
    wallet.broker.advance(300)
    assert wallet.page(request_uri).status_code == 400


# Codes


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"code_verifier": None}, "invalid_request", "missing_parameter"),
        ({"code_verifier": new_verifier()}, "invalid_grant", "pkce_mismatch"),
        ({"code_verifier": "short"}, "invalid_grant", "pkce_mismatch"),
        ({"redirect_uri": None}, "invalid_request", "missing_parameter"),
        ({"redirect_uri": REDIRECT + "&y=2"}, "invalid_grant", "invalid_grant"),
        ({"redirect_uri": REDIRECT.upper()}, "invalid_grant", "invalid_grant"),
        ({"client_id": None}, "invalid_request", "missing_parameter"),
        ({"client_id": "other.example"}, "invalid_grant", "invalid_grant"),
        ({"code": None}, "invalid_request", "missing_parameter"),
        ({"code": "made-up"}, "invalid_grant", "invalid_grant"),
    ],
)
def test_a_code_that_is_refused(
    wallet: Authorizing, changes: dict[str, str | None], error: str, code: str
) -> None:
    answer = wallet.redeem(**{"code": wallet.answer()["code"], **changes})
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["code"]) == (error, code)
    assert "access_token" not in answer.json()


def test_a_try_spends_the_code_even_when_it_fails(wallet: Authorizing) -> None:
    code = wallet.answer()["code"]
    assert wallet.redeem(code, code_verifier=new_verifier()).status_code == 400
    assert wallet.redeem(code).json()["error"] == "invalid_grant"


def test_a_code_is_good_for_a_minute(wallet: Authorizing) -> None:
    code = wallet.answer()["code"]
    wallet.broker.advance(60)
    assert wallet.redeem(code).json()["error"] == "invalid_grant"


def test_a_code_tried_again_ends_the_token_that_came_of_it(wallet: Authorizing) -> None:
    broker = wallet.broker
    code = wallet.answer()["code"]
    token = wallet.redeem(code).json()["access_token"]
    assert wallet.redeem(code).json()["error"] == "invalid_grant"
    assert broker.request(token, broker.proof(broker.nonce())).status_code == 401
    (entry,) = broker.logged("authorization.code_reused")
    assert entry.body["tokens_ended"] == 1


def test_one_invitation_gives_one_token_whichever_way(wallet: Authorizing) -> None:
    first = wallet.answer()["code"]
    second = wallet.answer()["code"]
    assert wallet.redeem(first).status_code == 200
    assert wallet.redeem(second).json()["error"] == "invalid_grant"
    other = Authorizing(wallet.broker, wallet.broker.invite("crm-2"))
    code = other.answer()["code"]
    assert wallet.broker.redeem(other.invitation).status_code == 200
    assert other.redeem(code).json()["error"] == "invalid_grant"


def test_a_code_of_another_tenant(wallet: Authorizing) -> None:
    code = query_of(wallet.decide(wallet.page(wallet.request_uri())).headers["location"])["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "code_verifier": wallet.verifier,
    }
    answer = wallet.broker.http.post("/t/acme/oauth/token", data=form)
    assert answer.json()["error"] == "invalid_grant"
    assert wallet.redeem(code).status_code == 200


# JWTs: the same attacks wherever one is taken


def _none(_key: SoftwareKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{_part({**header, 'alg': 'none'})}.{_part(claims)}."


def _hmac(key: SoftwareKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    text = f"{_part({**header, 'alg': 'HS256'})}.{_part(claims)}"
    secret = json.dumps(key.public_jwk()).encode()
    return f"{text}.{b64url(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def _header(**more: object) -> Attack:
    return lambda key, header, claims: sign_jws(key, {**header, **more}, claims)


def _changed(key: SoftwareKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    head, _, signature = sign_jws(key, header, claims).split(".")
    return f"{head}.{_part({**claims, 'extra': 1})}.{signature}"


def _part(value: dict[str, Any]) -> str:
    return b64url(json.dumps(value).encode())


ATTACKS = {
    "none": _none,
    "hmac": _hmac,
    "jku": _header(jku="https://keys.example"),
    "x5u": _header(x5u="https://keys.example"),
    "crit": _header(crit=["exp"]),
    "type": _header(typ="at+jwt"),
    "changed": _changed,
}


@pytest.mark.parametrize("attack", [*ATTACKS, "jwk"])
def test_a_client_assertion_that_is_refused(clients: clients_world.World, attack: str) -> None:
    client, now = clients.partner, clients.time[0]
    claims = {
        "iss": client.id,
        "sub": client.id,
        "aud": client.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": "j-1",
    }
    forger = SoftwareKey.generate("ES256")
    make = ATTACKS.get(attack, _header(jwk=forger.public_jwk()))
    key = forger if attack == "jwk" else client.key
    answer = clients.ask_token(make(key, {"typ": "JWT"}, claims))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_key_proof_that_is_refused(broker: World, attack: str) -> None:
    key = SoftwareKey.generate("ES256")
    claims = {"aud": PUBLIC_URL, "iat": broker.time[0], "nonce": broker.nonce()}
    header = {"typ": PROOF_TYPE, "jwk": key.public_jwk()}
    token = broker.wallet_token(broker.invite())
    answer = broker.request(token, ATTACKS[attack](key, header, claims))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_proof")
    assert broker.copies() == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_dpop_proof_that_is_refused(wallet: Authorizing, attack: str) -> None:
    key = SoftwareKey.generate("ES256")
    now = wallet.broker.time[0]
    claims = {"jti": "j-1", "htm": "POST", "htu": f"{PUBLIC_URL}/oauth/par", "iat": now}
    header = {"typ": "dpop+jwt", "jwk": key.public_jwk()}
    proof = ATTACKS[attack](key, header, claims)
    answer = wallet.broker.http.post(
        "/oauth/par", data={"client_id": CLIENT}, headers={"DPoP": proof}
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


def test_a_presentation_where_a_key_proof_belongs(broker: World) -> None:
    held = broker.accept(broker.wallet(), broker.invite())[0]
    token = broker.wallet_token(broker.invite("crm-2"))
    for text in (held.credential, held.credential + "a.b.c"):
        answer = broker.request(token, text)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_proof")


@pytest.mark.parametrize("sent", [b"Bearer", b"Basic cDpx", b"DPoP x", b"Bearer \xe9", b"\xff x"])
def test_what_is_no_token(clients: clients_world.World, sent: bytes) -> None:
    answer = clients.http.get("/v1/purposes", headers={b"Authorization": sent})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"]
