"""Tokens for partners and officers: who gets one, who does not, and what the log keeps of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.store import access_tokens
from broker.usecases.partner import add_partner, set_officer_state, set_partner_state
from broker.usecases.token import forget_expired
from credentials.keys import SoftwareKey
from tests.broker.clients_world import PUBLIC_URL, START, Client, World, client_of, world


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_a_partner_gets_a_token_and_may_read_the_registry(broker: World) -> None:
    answer = broker.ask_token(broker.partner.assertion(START))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 3600
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    assert broker.http.get("/v1/purposes", headers=headers).status_code == 200


@pytest.mark.parametrize("audience", [PUBLIC_URL, f"{PUBLIC_URL}/oauth/token", [PUBLIC_URL]])
def test_the_audience_is_the_issuer_or_the_endpoint(broker: World, audience: object) -> None:
    assert broker.ask_token(broker.partner.assertion(START, aud=audience)).status_code == 200


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": "https://elsewhere.example"}, "client_assertion_audience"),
        ({"aud": [PUBLIC_URL, "https://elsewhere.example"]}, "client_assertion_audience"),
        ({"aud": None}, "client_assertion_audience"),
        ({"exp": START - 60}, "client_assertion_expired"),
        ({"exp": START + 86_400}, "client_assertion_expired"),
        ({"exp": None}, "client_assertion_invalid"),
        ({"nbf": START + 600}, "client_assertion_invalid"),
        ({"jti": None}, "missing_parameter"),
        ({"iss": "p-somebody-else"}, "client_assertion_invalid"),
        ({"sub": "p-nobody", "iss": "p-nobody"}, "client_assertion_invalid"),
    ],
)
def test_a_bad_assertion_is_refused_as_invalid_client(
    broker: World, claims: dict[str, object], code: str
) -> None:
    answer = broker.ask_token(broker.partner.assertion(START, **claims))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.json()["code"] == code
    assert answer.headers["www-authenticate"]
    assert "access_token" not in answer.json()


def test_another_key_does_not_authenticate(broker: World) -> None:
    forger = Client(broker.partner.id, SoftwareKey.generate("ES256"))
    answer = broker.ask_token(forger.assertion(START))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_an_assertion_is_good_once(broker: World) -> None:
    assertion = broker.partner.assertion(START)
    assert broker.ask_token(assertion).status_code == 200
    again = broker.ask_token(assertion)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert "used before" in again.json()["error_description"]


def test_two_clients_may_choose_the_same_jti(broker: World) -> None:
    assert broker.ask_token(broker.partner.assertion(START, jti="1")).status_code == 200
    assert broker.ask_token(broker.officer.assertion(START, jti="1")).status_code == 200


def test_a_spent_assertion_stays_spent_after_pruning_while_it_would_still_verify(
    broker: World,
) -> None:
    assertion = broker.partner.assertion(START)
    assert broker.ask_token(assertion).status_code == 200
    broker.advance(80)  # past exp, within the verifier's skew
    forget_expired(broker.ctx)
    assert broker.ask_token(assertion).status_code == 401


def test_a_client_of_another_tenant_gets_nothing_here(broker: World) -> None:
    here = Client(broker.stranger.id, broker.stranger.key)
    assert broker.ask_token(here.assertion(START)).status_code == 401
    there = broker.ask_token(broker.stranger.assertion(START), "/t/acme/oauth/token")
    assert there.status_code == 200


def test_a_token_of_another_tenant_opens_nothing_here(broker: World) -> None:
    headers = broker.bearer(broker.stranger)
    assert broker.http.get("/t/acme/v1/purposes", headers=headers).status_code == 200
    answer = broker.http.get("/v1/purposes", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_suspension_stops_tokens_that_were_given_before(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    set_partner_state(broker.ctx, "demo", broker.partner.id, "suspended")
    answer = broker.http.get("/v1/purposes", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "unknown_partner")
    refused = broker.ask_token(broker.partner.assertion(START))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    set_partner_state(broker.ctx, "demo", broker.partner.id, "active")
    answer = broker.http.get("/v1/purposes", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), "it has ended"
    fresh = broker.bearer(broker.partner)
    assert broker.http.get("/v1/purposes", headers=fresh).status_code == 200


def test_a_suspended_officer_is_stopped_too(broker: World) -> None:
    headers = broker.bearer(broker.officer)
    set_officer_state(broker.ctx, "demo", broker.officer.id, "suspended")
    answer = broker.http.get("/v1/purposes", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    refused = broker.ask_token(broker.officer.assertion(START))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    set_officer_state(broker.ctx, "demo", broker.officer.id, "active")
    assert broker.http.get("/v1/purposes", headers=headers).status_code == 401, "for good"


def test_a_token_ends(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    broker.advance(3600)
    answer = broker.http.get("/v1/purposes", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_without_a_token_the_challenge_names_no_error(broker: World) -> None:
    answer = broker.http.get("/v1/purposes")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "invalid_client"),
        (
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:pre-authorized_code",
                "pre-authorized_code": "unknown",
            },
            "invalid_grant",
        ),
    ],
)
def test_other_requests_are_refused_in_the_form_of_the_protocol(
    broker: World, form: dict[str, str], error: str
) -> None:
    answer = broker.http.post(
        "/oauth/token", data=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.json()["error"] == error
    assert set(answer.json()) == {"error", "error_description", "code"}
    assert answer.headers["cache-control"] == "no-store"


def test_json_is_not_a_token_request(broker: World) -> None:
    answer = broker.http.post("/oauth/token", json={"grant_type": "client_credentials"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_no_scope_is_granted_silently(broker: World) -> None:
    answer = broker.ask_token(broker.partner.assertion(START), scope="everything")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_a_refusal_is_logged_once_a_minute_whoever_knocks(broker: World) -> None:
    for _ in range(5):
        broker.ask_token(broker.partner.assertion(START, aud="https://elsewhere.example"))
        broker.ask_token(broker.partner.assertion(START, sub="p-nobody", iss="p-nobody"))
    assert broker.logged("token.refused") == [
        {"client": broker.partner.id, "code": "client_assertion_audience"},
        {"code": "client_assertion_invalid"},
    ]
    broker.advance(60)
    broker.ask_token(broker.partner.assertion(START, aud="https://elsewhere.example"))
    assert len(broker.logged("token.refused")) == 3


def test_expired_tokens_are_forgotten_and_live_ones_kept(broker: World) -> None:
    broker.bearer(broker.partner)
    broker.advance(3000)
    live = broker.bearer(broker.partner)
    broker.advance(700)
    assert forget_expired(broker.ctx) > 0
    assert broker.http.get("/v1/purposes", headers=live).status_code == 200
    with broker.ctx.db.reading() as tx:
        assert len(tx.execute(access_tokens.TOKEN.select()).all()) == 1


def test_a_new_partner_can_use_the_key_that_was_shown_once(broker: World) -> None:
    added = add_partner(
        broker.ctx, "demo", name="New", name_zh="新", contact="a@new.example", country="SG"
    )
    assert broker.http.get("/v1/templates", headers=broker.bearer(client_of(added))).is_success
    stored = Path(broker.ctx.settings.home / "broker.db").read_bytes()
    assert str(added.private_jwk["d"]).encode() not in stored
