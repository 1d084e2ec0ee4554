"""The strict profile end to end: bound tokens, nonces, encrypted answers, and no way around.

It is HAIP 1.0 but for the attestation of wallets and of their keys, which is not there yet.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from broker.outbound.client import Carrier
from credentials.jcs import b64url_decode
from credentials.keys import SoftwareKey, sign_jws
from dev.running import Broker, running_broker
from tests.broker.journeys import client, trust_of, whole_way
from wallet_adapters.loopback import Answer, Message, Wallet, accept_offer
from wallet_adapters.loopback.errors import PeerRefused
from wallet_adapters.oauth import challenge_of, make_dpop_proof, new_verifier


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    home = tmp_path_factory.mktemp("strict")
    with running_broker(home, {"BROKER_PROFILE": "strict", "BROKER_DEMONSTRATION": "on"}) as broker:
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


WALLET = {"client_id": "wallet.example", "redirect_uri": "https://wallet.example/cb"}


def _consent_request(broker: Broker) -> dict[str, Any]:
    with client(broker, "partner") as partner:
        body = {"subject_ref": "crm-weak", "template": "loyalty-churn", "language": "en"}
        opened: dict[str, Any] = partner.post("/v1/consent-requests", body, idempotent=True)
    return opened


def _request_uri(broker: Broker) -> str:
    link: str = _consent_request(broker)["wallet_link"]
    return parse_qs(urlsplit(link).query)["request_uri"][0]


def _post(broker: Broker, path: str, form: dict[str, str], **proof: str) -> httpx2.Response:
    """Post a form; with `nonce` (empty for none) under a DPoP proof."""
    headers = {}
    if "nonce" in proof:
        headers["DPoP"] = make_dpop_proof(
            SoftwareKey.generate("ES256"),
            method="POST",
            url=broker.address + path,
            now=int(time.time()),
            nonce=proof["nonce"] or None,
        )
    return httpx2.post(broker.address + path, data=form, headers=headers)


def _pushed(broker: Broker, *, bound: bool = True, **changes: str) -> httpx2.Response:
    form = {
        **WALLET,
        "response_type": "code",
        "scope": "customer_credential",
        "issuer_state": "x",
        "code_challenge": challenge_of(new_verifier()),
        "code_challenge_method": "S256",
        **changes,
    }
    if not bound:
        return _post(broker, "/oauth/par", form)
    nonce = httpx2.post(f"{broker.address}/openid4vci/nonce").headers["DPoP-Nonce"]
    return _post(broker, "/oauth/par", form, nonce=nonce)


def _token_form(broker: Broker) -> dict[str, str]:
    told = json.loads((broker.home / "demo-clients.json").read_text())["partner"]
    now, name = int(time.time()), told["client_id"]
    claims = {"iss": name, "sub": name, "aud": broker.address, "exp": now + 60}
    key = SoftwareKey.from_private_jwk(told["private_jwk"])
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": sign_jws(key, {}, {**claims, "jti": secrets.token_hex(8)}),
    }


def _answered_in_the_clear(broker: Broker) -> httpx2.Response:
    address = _request_uri(broker).replace("/request/", "/response/")
    return httpx2.post(address, data={"vp_token": '{"consent_base":["a.b.c~d.e.f"]}'})


def _fetched(broker: Broker, metadata: dict[str, Any]) -> httpx2.Response:
    return httpx2.post(_request_uri(broker), data={"wallet_metadata": json.dumps(metadata)})


WEAKER: dict[str, tuple[Callable[[Broker], httpx2.Response], int, str]] = {
    "a token that is bound to nothing": (
        lambda broker: _post(broker, "/oauth/token", _token_form(broker)),
        400,
        "dpop_proof_missing",
    ),
    "a proof without the server's nonce": (
        lambda broker: _post(broker, "/oauth/token", _token_form(broker), nonce=""),
        400,
        "use_dpop_nonce",
    ),
    "a proof with a nonce of one's own": (
        lambda broker: _post(broker, "/oauth/token", _token_form(broker), nonce="A" * 75),
        400,
        "use_dpop_nonce",
    ),
    "a bearer token": (
        lambda broker: httpx2.get(
            f"{broker.address}/v1/purposes", headers={"Authorization": "Bearer x"}
        ),
        401,
        "unauthorized",
    ),
    "a pushed request that is bound to nothing": (
        lambda broker: _pushed(broker, bound=False),
        400,
        "dpop_proof_missing",
    ),
    "a challenge that shows its verifier": (
        lambda broker: _pushed(broker, code_challenge_method="plain"),
        400,
        "pkce_required",
    ),
    "a wallet that nobody registered": (_pushed, 400, "client_not_known"),
    "an answer in the clear": (_answered_in_the_clear, 400, "response_not_encrypted"),
    "a wallet that encrypts no answer": (
        lambda broker: _fetched(broker, {"response_modes_supported": ["direct_post"]}),
        400,
        "wallet_lacks",
    ),
    "a wallet that knows no x509_hash": (
        lambda broker: _fetched(broker, {"client_id_prefixes_supported": ["redirect_uri"]}),
        400,
        "wallet_lacks",
    ),
    "a wallet without ES256": (
        lambda broker: _fetched(broker, {"request_object_signing_alg_values_supported": ["RS256"]}),
        400,
        "wallet_lacks",
    ),
}


@pytest.mark.parametrize("name", WEAKER)
def test_each_weaker_way_is_refused(strict: Broker, name: str) -> None:
    send, status, code = WEAKER[name]
    refused = send(strict)
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    if code == "use_dpop_nonce":
        assert refused.headers["DPoP-Nonce"]
    if code == "unauthorized":
        assert refused.headers["WWW-Authenticate"].startswith("DPoP ")


def test_an_authorization_request_comes_pushed_or_not_at_all(strict: Broker) -> None:
    query = {**WALLET, "response_type": "code", "scope": "customer_credential"}
    refused = httpx2.get(f"{strict.address}/oauth/authorize?{urlencode(query)}")
    assert refused.status_code == 400
    assert "location" not in refused.headers


def test_what_the_profile_asks_of_metadata_and_requests(strict: Broker) -> None:
    server = httpx2.get(f"{strict.address}/.well-known/oauth-authorization-server").json()
    assert server["require_pushed_authorization_requests"] is True
    assert server["authorization_response_iss_parameter_supported"] is True
    assert server["code_challenge_methods_supported"] == ["S256"]
    assert "ES256" in server["dpop_signing_alg_values_supported"]
    issuer = httpx2.get(f"{strict.address}/.well-known/openid-credential-issuer").json()
    assert issuer["nonce_endpoint"]
    kinds = issuer["credential_configurations_supported"].values()
    # Of the profile's formats; credentials of attributes have one of ours, and come by offer alone.
    profiled = [kind for kind in kinds if kind["format"] in {"dc+sd-jwt", "mso_mdoc"}]
    assert profiled
    assert all(kind["scope"] for kind in profiled), "a scope for each kind (HAIP 1.0, 4.1)"
    link = _consent_request(strict)["wallet_link"]
    assert parse_qs(urlsplit(link).query)["client_id"][0].startswith("x509_hash:")
    asked = httpx2.get(parse_qs(urlsplit(link).query)["request_uri"][0]).text
    claims = json.loads(b64url_decode(asked.split(".")[1]))
    assert claims["response_mode"] == "direct_post.jwt"
    told = claims["client_metadata"]
    assert told["encrypted_response_enc_values_supported"] == ["A128GCM", "A256GCM"]
    assert [key["crv"] for key in told["jwks"]["keys"]] == ["P-256"]
    (authority,) = claims["dcql_query"]["credentials"][0]["trusted_authorities"]
    assert authority["type"] == "aki"
