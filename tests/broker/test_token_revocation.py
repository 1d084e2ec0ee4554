"""Tokens that are given back (RFC 7009), and tokens that end with their client's key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.domain.errors import InvalidRequest, NotFound, UnknownPartner
from broker.usecases.client_authentication import (
    authenticate,
    registered_client,
    spend_assertion,
)
from broker.usecases.partner import replace_officer_key, replace_partner_key
from credentials.keys import SoftwareKey
from tests.broker import issuance_world
from tests.broker.clients_world import PUBLIC_URL, START, Client, World, client_of, world
from wallet_adapters.oauth import make_dpop_proof
from wallet_adapters.openid4vci.client_assertion import parse_client_assertion
from wallet_adapters.openid4vci.errors import ClientAssertionInvalid

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def issuing(tmp_path: Path) -> Iterator[issuance_world.World]:
    with issuance_world.world(tmp_path) as made:
        yield made


def _form(broker: World, client: Client, token: str, **claims: object) -> dict[str, str]:
    return {
        "token": token,
        "token_type_hint": "access_token",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": client.assertion(broker.time[0], **claims),
    }


def _token_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


def test_a_client_gives_back_its_token(broker: World) -> None:
    headers, other = broker.bearer(broker.partner), broker.bearer(broker.partner)
    form = _form(broker, broker.partner, _token_of(headers), aud=f"{PUBLIC_URL}/oauth/revoke")
    answer = broker.http.post("/oauth/revoke", data=form)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    late = broker.http.get("/v1/purposes", headers=headers)
    assert (late.status_code, late.json()["code"]) == (401, "unauthorized")
    assert broker.http.get("/v1/purposes", headers=other).status_code == 200, "only that one"
    again = broker.http.post("/oauth/revoke", data=_form(broker, broker.partner, form["token"]))
    assert again.status_code == 200, "there is nothing left to do (section 2.2)"
    assert broker.logged("token.revoked") == [{"role": "partner", "partner": broker.partner.id}]


def test_a_bound_token_is_given_back_without_a_proof(broker: World) -> None:
    key = SoftwareKey.generate("ES256")
    proof = make_dpop_proof(key, method="POST", url=f"{PUBLIC_URL}/oauth/token", now=START)
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": broker.officer.assertion(START),
    }
    told = broker.http.post("/oauth/token", data=form, headers={"DPoP": proof}).json()
    token = told["access_token"]

    def call() -> int:
        url = f"{PUBLIC_URL}/v1/purposes"
        own = make_dpop_proof(key, method="GET", url=url, now=START, access_token=token)
        headers = {"Authorization": f"DPoP {token}", "DPoP": own}
        return int(broker.http.get("/v1/purposes", headers=headers).status_code)

    assert call() == 200
    bearer = broker.http.get("/v1/purposes", headers={"Authorization": f"Bearer {token}"})
    assert bearer.status_code == 401, "what it is given back by does not open anything"
    revoked = broker.http.post("/oauth/revoke", data=_form(broker, broker.officer, token))
    assert revoked.status_code == 200
    assert call() == 401


def test_a_token_of_another_client_stays(broker: World) -> None:
    headers = broker.bearer(broker.officer)
    refused = broker.http.post(
        "/oauth/revoke", data=_form(broker, broker.partner, _token_of(headers))
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")
    assert refused.json()["code"] == "token_of_another_client"
    alone = broker.http.post("/oauth/revoke", data={"token": _token_of(headers)})
    assert (alone.status_code, alone.json()["error"]) == (401, "invalid_client")
    foreign = broker.http.post(
        "/t/acme/oauth/revoke", data=_form(broker, broker.stranger, _token_of(headers))
    )
    assert foreign.status_code == 200, "unknown there"
    assert broker.http.get("/v1/purposes", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"aud": "https://elsewhere.example"}, 401),
        ({"exp": START - 60}, 401),
        ({"jti": None}, 401),
        ({"sub": "p-" + "z" * 20, "iss": "p-" + "z" * 20}, 401),
    ],
)
def test_a_bad_assertion_gives_nothing_back(
    broker: World, claims: dict[str, object], status: int
) -> None:
    headers = broker.bearer(broker.partner)
    form = _form(broker, broker.partner, _token_of(headers), **claims)
    assert broker.http.post("/oauth/revoke", data=form).status_code == status
    assert broker.http.get("/v1/purposes", headers=headers).status_code == 200


def test_an_assertion_for_revocation_is_good_once_and_for_nothing_else(broker: World) -> None:
    form = _form(broker, broker.partner, "x" * 43, aud=f"{PUBLIC_URL}/oauth/revoke")
    refused = broker.ask_token(form["client_assertion"])
    assert (refused.status_code, refused.json()["code"]) == (401, "client_assertion_audience")
    assert broker.http.post("/oauth/revoke", data=form).status_code == 200
    again = broker.http.post("/oauth/revoke", data=form)
    assert (again.status_code, again.json()["code"]) == (401, "client_assertion_invalid")


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": "x" * 513}])
def test_what_names_no_token_is_refused(broker: World, form: dict[str, str]) -> None:
    refused = broker.http.post("/oauth/revoke", data=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    json = broker.http.post("/oauth/revoke", json={"token": "x"})
    assert (json.status_code, json.json()["code"]) == (400, "malformed")


def test_a_wallet_gives_back_its_token(issuing: issuance_world.World) -> None:
    token = issuing.wallet_token(issuing.invite())
    assert issuing.http.post("/oauth/revoke", data={"token": token}).status_code == 200
    refused = issuing.request(token, issuing.proof(issuing.nonce()))
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    (entry,) = issuing.logged("token.revoked")
    assert entry.body["role"] == "wallet"


def test_the_metadata_names_the_endpoint(issuing: issuance_world.World) -> None:
    told = issuing.http.get("/.well-known/oauth-authorization-server").json()
    assert told["revocation_endpoint"] == f"{issuance_world.PUBLIC_URL}/oauth/revoke"
    assert told["revocation_endpoint_auth_methods_supported"] == ["none", "private_key_jwt"]
    assert "none" not in told["revocation_endpoint_auth_signing_alg_values_supported"]


def test_a_newer_invitation_ends_the_token_of_the_older(issuing: issuance_world.World) -> None:
    older = issuing.wallet_token(issuing.invite())
    newer = issuing.wallet_token(issuing.invite())
    refused = issuing.request(older, issuing.proof(issuing.nonce()))
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert issuing.request(newer, issuing.proof(issuing.nonce())).status_code == 200


def test_a_replaced_key_and_its_tokens_end(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    changed = replace_partner_key(broker.ctx, "demo", broker.partner.id)
    assert broker.http.get("/v1/purposes", headers=headers).status_code == 401
    refused = broker.ask_token(broker.partner.assertion(START))
    assert (refused.status_code, refused.json()["code"]) == (401, "client_assertion_invalid")
    fresh = broker.bearer(client_of(changed))
    assert broker.http.get("/v1/purposes", headers=fresh).status_code == 200
    (entry,) = broker.logged("partner.key_replaced")
    assert entry["tokens_ended"] == 1
    assert entry["key"] != entry["replaced"]
    officer = broker.bearer(broker.officer)
    own = SoftwareKey.generate("Ed25519")
    told = replace_officer_key(broker.ctx, "demo", broker.officer.id, own.public_jwk())
    assert told.to_json().keys() == {"client_id", "name"}, "the client has the private key"
    assert broker.http.get("/v1/purposes", headers=officer).status_code == 401
    assert broker.bearer(Client(broker.officer.id, own))


def test_a_key_that_is_none_replaces_nothing(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    private = SoftwareKey.generate("ES256").private_jwk()
    for jwk in (
        private,
        {},
        {"kty": "oct", "k": "AA"},
        {**broker.partner.key.public_jwk(), "x": "AA"},
    ):
        with pytest.raises(InvalidRequest):
            replace_partner_key(broker.ctx, "demo", broker.partner.id, jwk)
    with pytest.raises(UnknownPartner):
        replace_partner_key(broker.ctx, "acme", broker.partner.id)
    with pytest.raises(NotFound):
        replace_officer_key(broker.ctx, "demo", broker.partner.id)
    assert broker.http.get("/v1/purposes", headers=headers).status_code == 200


def test_a_token_that_is_being_given_does_not_outlive_its_key(broker: World) -> None:
    """The key is replaced between the check of an assertion and the transaction of its token."""
    with broker.ctx.db.reading() as tx:
        client = registered_client(tx, "demo", broker.partner.id)
    unverified = parse_client_assertion(broker.partner.assertion(START))
    authenticated = authenticate(broker.ctx, "demo", client, unverified, path="/oauth/token")
    replace_partner_key(broker.ctx, "demo", broker.partner.id)
    with pytest.raises(ClientAssertionInvalid), broker.ctx.db.transaction() as tx:
        spend_assertion(broker.ctx, tx, "demo", authenticated)
