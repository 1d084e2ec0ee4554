"""Tokens bound to a key: good with proofs by that key, good for nothing without."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.api import access
from broker.settings import SettingsError, read_settings
from broker.store import access_tokens
from credentials.keys import SoftwareKey
from tests.broker import issuance_world
from tests.broker.clients_world import PUBLIC_URL, START, World, application, world
from wallet_adapters.oauth import make_dpop_proof

TOKEN_URL = f"{PUBLIC_URL}/oauth/token"
PURPOSES = f"{PUBLIC_URL}/v1/purposes"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def key() -> SoftwareKey:
    return SoftwareKey.generate("ES256")


def _ask(broker: World, proof: str | None, url: str = TOKEN_URL) -> Any:  # noqa: ANN401 (an answer)
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": broker.partner.assertion(broker.time[0]),
    }
    return broker.http.post(url, data=form, headers={} if proof is None else {"DPoP": proof})


def _token(broker: World, key: SoftwareKey) -> str:
    answer = _ask(broker, make_dpop_proof(key, method="POST", url=TOKEN_URL, now=broker.time[0]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "DPoP"
    return str(answer.json()["access_token"])


def _call(broker: World, token: str, *proofs: str, scheme: str = "DPoP") -> Any:  # noqa: ANN401 (an answer)
    headers = [("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)]
    return broker.http.get("/v1/purposes", headers=headers)


def _proof(broker: World, key: SoftwareKey, token: str | None, **more: Any) -> str:  # noqa: ANN401
    how = {"method": "GET", "url": PURPOSES, "now": broker.time[0], "access_token": token, **more}
    return make_dpop_proof(key, **how)


def test_a_bound_token_is_good_with_proofs_by_its_key(broker: World, key: SoftwareKey) -> None:
    token = _token(broker, key)
    for _ in range(2):
        assert _call(broker, token, _proof(broker, key, token)).status_code == 200


def test_a_bound_token_is_no_bearer_token(broker: World, key: SoftwareKey) -> None:
    token = _token(broker, key)
    answer = _call(broker, token, scheme="Bearer")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    answer = _call(broker, token, _proof(broker, key, token), scheme="Bearer")
    assert answer.status_code == 401


def test_the_name_of_its_row_is_no_bearer_token(broker: World, key: SoftwareKey) -> None:
    """Not even behind a server that would pass a NUL in a header."""
    token = _token(broker, key)
    name = f"dpop\x00{_thumbprint(key)}\x00{token}"
    answer = _call(broker, name, scheme="Bearer")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def _thumbprint(key: SoftwareKey) -> str:
    jwk = {name: key.public_jwk()[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(jwk, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def test_what_is_no_token_is_looked_up_nowhere(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_tokens, "find", lambda *_: pytest.fail("it was looked up"))
    for told in ("", "a b", "a=b", "a,b", "\xe9", "a\t", "\u0661" * 20):
        headers = [(b"authorization", b"Bearer " + told.encode())]
        answer = broker.http.get("/v1/purposes", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), told


def test_a_bound_token_does_not_go_with_another_key(broker: World, key: SoftwareKey) -> None:
    token = _token(broker, key)
    thief = SoftwareKey.generate("ES256")
    answer = _call(broker, token, _proof(broker, thief, token))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == (
        'DPoP error="invalid_token", algs="ES256 Ed25519"'
    )


def test_a_bearer_token_does_not_become_a_bound_one(broker: World, key: SoftwareKey) -> None:
    token = broker.bearer(broker.partner)["Authorization"].removeprefix("Bearer ")
    assert _call(broker, token, _proof(broker, key, token)).status_code == 401
    assert _call(broker, token, scheme="Bearer").status_code == 200


def test_a_proof_is_good_once(broker: World, key: SoftwareKey) -> None:
    token = _token(broker, key)
    proof = _proof(broker, key, token)
    assert _call(broker, token, proof).status_code == 200
    answer = _call(broker, token, proof)
    assert (answer.status_code, answer.json()["code"]) == (401, "dpop_proof_used")
    assert 'error="invalid_dpop_proof"' in answer.headers["www-authenticate"]


def test_a_proof_at_the_token_endpoint_is_good_once(broker: World, key: SoftwareKey) -> None:
    proof = make_dpop_proof(key, method="POST", url=TOKEN_URL, now=START)
    assert _ask(broker, proof).status_code == 200
    answer = _ask(broker, proof)
    assert (answer.status_code, answer.json()["error"], answer.json()["code"]) == (
        400, "invalid_dpop_proof", "dpop_proof_used",
    )  # fmt: skip


def test_a_proof_for_something_else(broker: World, key: SoftwareKey) -> None:
    token = _token(broker, key)
    wrong = [
        _proof(broker, key, token, method="POST"),
        _proof(broker, key, token, url=f"{PUBLIC_URL}/v1/templates"),
        _proof(broker, key, token, url=f"{PUBLIC_URL}/t/acme/v1/purposes"),
        _proof(broker, key, "another token"),
        _proof(broker, key, None),
        _proof(broker, key, token, now=broker.time[0] - 121),
        _proof(broker, key, token, now=broker.time[0] + 61),
    ]
    for proof in wrong:
        answer = _call(broker, token, proof)
        assert answer.status_code == 401
        assert 'DPoP error="invalid_dpop_proof"' in answer.headers["www-authenticate"]


def test_one_proof_and_no_second(broker: World, key: SoftwareKey) -> None:
    token = _token(broker, key)
    for proofs in ([], [_proof(broker, key, token), _proof(broker, key, token)]):
        answer = _call(broker, token, *proofs)
        assert (answer.status_code, answer.json()["code"]) == (401, "dpop_proof_missing")


def test_the_token_endpoint_of_another_tenant_takes_no_proof_of_this_one(
    broker: World, key: SoftwareKey
) -> None:
    proof = make_dpop_proof(key, method="POST", url=TOKEN_URL, now=START)
    answer = _ask(broker, proof, "/t/acme/oauth/token")
    assert (answer.status_code, answer.json()["code"]) == (400, "dpop_proof_mismatch")


def test_a_nonce_is_checked_where_one_is_sent(broker: World, key: SoftwareKey) -> None:
    proof = make_dpop_proof(key, method="POST", url=TOKEN_URL, now=START, nonce="made-up")
    answer = _ask(broker, proof)
    assert (answer.status_code, answer.json()["error"]) == (400, "use_dpop_nonce")
    nonce = answer.headers["dpop-nonce"]
    proof = make_dpop_proof(key, method="POST", url=TOKEN_URL, now=START, nonce=nonce)
    assert _ask(broker, proof).status_code == 200
    broker.advance(300)
    late = make_dpop_proof(key, method="POST", url=TOKEN_URL, now=broker.time[0], nonce=nonce)
    assert _ask(broker, late).json()["error"] == "use_dpop_nonce"


@pytest.fixture
def strict(broker: World) -> World:
    ctx = replace(broker.ctx, settings=replace(broker.ctx.settings, strict=True, development=False))
    broker.ctx = ctx
    broker.app.state.context = ctx
    return broker


def test_the_strict_profile_wants_proofs_with_its_nonce(strict: World, key: SoftwareKey) -> None:
    answer = _ask(strict, None)
    assert (answer.status_code, answer.json()["code"]) == (400, "dpop_proof_missing")
    bare = _ask(strict, make_dpop_proof(key, method="POST", url=TOKEN_URL, now=START))
    assert (bare.status_code, bare.json()["error"]) == (400, "use_dpop_nonce")
    nonce = bare.headers["dpop-nonce"]
    proof = make_dpop_proof(key, method="POST", url=TOKEN_URL, now=START, nonce=nonce)
    token = str(_ask(strict, proof).json()["access_token"])

    without = _call(strict, token, _proof(strict, key, token))
    assert (without.status_code, without.json()["code"]) == (401, "use_dpop_nonce")
    assert 'error="use_dpop_nonce"' in without.headers["www-authenticate"]
    nonce = without.headers["dpop-nonce"]
    assert _call(strict, token, _proof(strict, key, token, nonce=nonce)).status_code == 200


def test_the_strict_profile_takes_no_bearer_token_of_earlier(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    assert broker.http.get("/v1/purposes", headers=headers).status_code == 200
    settings = replace(broker.ctx.settings, strict=True, development=False)
    broker.app.state.context = replace(broker.ctx, settings=settings)
    answer = broker.http.get("/v1/purposes", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("DPoP ")


def test_decisions_take_bound_tokens_too(broker: World, key: SoftwareKey) -> None:
    app = application(broker.ctx)
    app.include_router(access.router)
    http = TestClient(app, base_url=PUBLIC_URL)
    token = _token(broker, key)
    body = {
        "subject": {"type": "partner", "id": broker.partner.id},
        "action": {"name": "read"},
        "resource": {
            "type": "attribute",
            "id": "home_city",
            "properties": {"subject_ref": secrets.token_hex(4)},
        },
        "context": {"purpose": "dpv:ServicePersonalisation#algo:churn-v3@1", "territory": "CN"},
    }
    url = f"{PUBLIC_URL}/access/v1/evaluation"
    proof = _proof(broker, key, token, method="POST", url=url)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    answer = http.post("/access/v1/evaluation", json=body, headers=headers)
    assert (answer.status_code, answer.json()["decision"]) == (200, False)
    again = http.post("/access/v1/evaluation", json=body, headers=headers)
    assert (again.status_code, again.json()["code"]) == (401, "dpop_proof_used")
    headers = {"Authorization": f"Bearer {token}"}
    assert http.post("/access/v1/evaluation", json=body, headers=headers).status_code == 401


def test_a_wallet_binds_its_token_and_gets_credentials_with_it(tmp_path: Path) -> None:
    with issuance_world.world(tmp_path) as made:
        key = SoftwareKey.generate("ES256")
        base = issuance_world.PUBLIC_URL
        invitation = made.invite()
        fields = {
            "grant_type": issuance_world.PRE_AUTHORIZED,
            "pre-authorized_code": made.code(invitation),
        }
        proof = make_dpop_proof(key, method="POST", url=f"{base}/oauth/token", now=made.time[0])
        answer = made.http.post("/oauth/token", data=fields, headers={"DPoP": proof})
        assert answer.json()["token_type"] == "DPoP"
        token = answer.json()["access_token"]
        assert made.request(token, made.proof(made.nonce())).status_code == 401
        url = f"{base}/openid4vci/credential"
        body = {
            "credential_configuration_id": "customer_credential",
            "proofs": {"jwt": [made.proof(made.nonce())]},
        }
        proof = make_dpop_proof(key, method="POST", url=url, now=made.time[0], access_token=token)
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        issued = made.http.post("/openid4vci/credential", json=body, headers=headers)
        assert issued.status_code == 200, issued.text
        metadata = made.http.get("/.well-known/oauth-authorization-server").json()
        assert metadata["dpop_signing_alg_values_supported"] == ["ES256", "Ed25519"]


def test_the_token_is_kept_under_a_hash_that_needs_the_key(broker: World, key: SoftwareKey) -> None:
    token = _token(broker, key)
    stored = Path(broker.ctx.settings.home / "broker.db").read_bytes()
    assert token.encode() not in stored
    assert json.dumps(key.public_jwk()["x"]).encode() not in stored


@pytest.mark.parametrize(
    ("profile", "development", "strict"),
    [("development", True, False), ("production", False, False), ("strict", False, True)],
)
def test_profiles(profile: str, development: bool, strict: bool) -> None:
    found = read_settings({"BROKER_PROFILE": profile})
    assert (found.development, found.strict) == (development, strict)


def test_a_profile_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="BROKER_PROFILE"):
        read_settings({"BROKER_PROFILE": "lax"})
