"""The credential endpoint, with a real wallet and with everything that a bad one sends."""

import hmac
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from credentials.jcs import b64url
from credentials.keys import SoftwareKey, sign_jws, thumbprint
from credentials.sdjwt import parse
from credentials.status import StatusCheck, verify_status_token
from credentials.verify import verify_credential
from tests.broker.issuance_world import PARTNER, PROOF_TYPE, PUBLIC_URL, World, world
from wallet_adapters.loopback.errors import PeerRefused

DAY = 86_400


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_a_wallet_gets_a_batch_each_copy_by_a_key_of_its_own(broker: World) -> None:
    wallet = broker.wallet()
    held = broker.accept(wallet, broker.invite(grade="code"))
    assert len(held) == 4
    verified = [
        verify_credential(
            one.credential,
            anchors=broker.ctx.keys.anchors(),
            now=broker.time[0],
            issuer=PUBLIC_URL,
            vct=f"{PUBLIC_URL}/vct/customer/1",
            status=StatusCheck.BY_CALLER,
        )
        for one in held
    ]
    copies = {copy.id: copy for copy in broker.copies()}
    assert set(copies) == {one.claims["jti"] for one in verified}
    for one in verified:
        assert one.holder_jwk is not None
        assert one.status is not None
        copy = copies[one.claims["jti"]]
        assert copy.holder_thumbprint == thumbprint(one.holder_jwk)
        assert copy.status_index == one.status.index
        assert one.claims["binding_grade"] == "code"
    assert len({copy.holder_thumbprint for copy in copies.values()}) == 4
    assert len({copy.subject_id for copy in copies.values()}) == 1


def test_a_copy_holds_nothing_that_links_it_but_its_own_numbers(broker: World) -> None:
    held = broker.accept(broker.wallet(), broker.invite("crm-4711"))
    payloads = [parse(one.credential).payload() for one in held]
    assert set(payloads[0]) == {
        "iss", "iat", "exp", "vct", "cnf", "status", "jti", "binding_grade",
    }  # fmt: skip
    own = ("jti", "cnf", "status")
    shared = [{k: v for k, v in one.items() if k not in own} for one in payloads]
    assert all(one == shared[0] for one in shared)
    assert all(one["iat"] % DAY == 0 and one["exp"] % DAY == 0 for one in payloads)
    places = sorted(one["status"]["status_list"]["idx"] for one in payloads)
    assert len(set(places)) == 4
    assert any(b - a > 1 for a, b in itertools.pairwise(places)), "not counted up"


def test_an_issuance_is_in_the_log_without_personal_data(broker: World) -> None:
    invitation = broker.invite("crm-4711")
    broker.accept(broker.wallet(), invitation)
    opened, bound = broker.logged("invitation.opened", "contact.bound")
    assert opened.body["invitation"] == bound.body["invitation"] == invitation["id"]
    assert opened.subject_id is None
    assert bound.subject_id is not None
    assert sorted(bound.body["copies"]) == sorted(copy.id for copy in broker.copies())
    entries = [dict(opened.body), dict(bound.body)]
    assert b"crm-4711" not in orjson.dumps(entries)


def test_a_token_is_good_for_a_second_batch_and_not_for_a_third(broker: World) -> None:
    token = broker.wallet_token(broker.invite())
    for _ in range(2):
        nonce = broker.nonce()
        answer = broker.request(token, *(broker.proof(nonce) for _ in range(4)))
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
    answer = broker.request(token, broker.proof(broker.nonce()))
    assert answer.json()["code"] == "credential_request_denied"
    assert len({copy.subject_id for copy in broker.copies()}) == 1
    assert len(broker.logged("contact.bound")) == 1
    assert len(broker.logged("customer_credential.issued")) == 1


def test_ed25519_keys_are_taken_too(broker: World) -> None:
    token = broker.wallet_token(broker.invite())
    proof = broker.proof(broker.nonce(), SoftwareKey.generate("Ed25519"))
    assert broker.request(token, proof).status_code == 200


def test_nonces_are_not_stored_and_not_cached(broker: World) -> None:
    answer = broker.http.post("/openid4vci/nonce")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["c_nonce"] != broker.nonce()


def test_a_replayed_nonce(broker: World) -> None:
    token, nonce = broker.wallet_token(broker.invite()), broker.nonce()
    assert broker.request(token, broker.proof(nonce)).status_code == 200
    answer = broker.request(token, broker.proof(nonce))
    assert answer.status_code == 400
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.json()["error"], answer.json()["code"]) == (
        "invalid_nonce", "proof_nonce_invalid",
    )  # fmt: skip
    assert "used already" in answer.json()["error_description"]
    refused = broker.logged("issuance.refused")
    assert [entry.body["code"] for entry in refused] == ["proof_nonce_invalid"]
    assert len(broker.copies()) == 1


def test_an_expired_nonce(broker: World) -> None:
    token, nonce = broker.wallet_token(broker.invite()), broker.nonce()
    broker.advance(300)
    answer = broker.request(token, broker.proof(nonce))
    assert answer.json()["error"] == "invalid_nonce"
    assert "expired" in answer.json()["error_description"]


@pytest.mark.parametrize("nonce", ["guessed", "AAAA", "!", "A" * 75])
def test_an_unknown_nonce(broker: World, nonce: str) -> None:
    token = broker.wallet_token(broker.invite())
    answer = broker.request(token, broker.proof(nonce))
    assert answer.json()["error"] == "invalid_nonce"


def test_a_nonce_of_another_tenant(broker: World) -> None:
    token = broker.wallet_token(broker.invite())
    other = broker.http.post("/t/acme/openid4vci/nonce").json()["c_nonce"]
    assert broker.request(token, broker.proof(other)).json()["error"] == "invalid_nonce"


def test_of_many_requests_with_one_nonce_exactly_one_is_answered(broker: World) -> None:
    token, nonce = broker.wallet_token(broker.invite()), broker.nonce()
    proofs = [broker.proof(nonce) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda proof: broker.request(token, proof), proofs))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 11
    assert len(broker.copies()) == 1


def test_a_proof_without_a_nonce(broker: World) -> None:
    token = broker.wallet_token(broker.invite())
    answer = broker.request(token, broker.proof(None))
    assert answer.json()["code"] == "proof_nonce_missing"


def test_a_key_twice_in_one_batch(broker: World) -> None:
    token, nonce = broker.wallet_token(broker.invite()), broker.nonce()
    key = SoftwareKey.generate("ES256")
    answer = broker.request(token, broker.proof(nonce, key), broker.proof(nonce, key))
    assert (answer.json()["error"], answer.json()["code"]) == (
        "invalid_proof", "proof_key_repeated",
    )  # fmt: skip
    assert broker.copies() == []


def test_a_key_that_is_bound_already(broker: World) -> None:
    token, key = broker.wallet_token(broker.invite()), SoftwareKey.generate("ES256")
    assert broker.request(token, broker.proof(broker.nonce(), key)).status_code == 200
    other = broker.wallet_token(broker.invite("crm-2"))
    answer = broker.request(other, broker.proof(broker.nonce(), key), broker.proof(broker.nonce()))
    assert (answer.json()["error"], answer.json()["code"]) == ("invalid_proof", "proof_key_bound")
    assert len(broker.copies()) == 1
    assert len(broker.logged("contact.bound")) == 1
    assert broker.logged("issuance.refused")[-1].body["code"] == "proof_key_bound"


def test_too_many_proofs(broker: World) -> None:
    token, nonce = broker.wallet_token(broker.invite()), broker.nonce()
    answer = broker.request(token, *(broker.proof(nonce) for _ in range(5)))
    assert (answer.json()["error"], answer.json()["code"]) == (
        "invalid_credential_request", "batch_too_large",
    )  # fmt: skip


def test_proofs_that_are_no_proofs(broker: World) -> None:
    token, nonce = broker.wallet_token(broker.invite()), broker.nonce()
    key, other = SoftwareKey.generate("ES256"), SoftwareKey.generate("ES256")
    claims = {"aud": PUBLIC_URL, "iat": broker.time[0], "nonce": nonce}
    good = {"typ": PROOF_TYPE, "jwk": key.public_jwk()}
    payload = b64url(orjson.dumps(claims))
    none = b64url(orjson.dumps({"alg": "none", **good}))
    symmetric = b64url(orjson.dumps({"alg": "HS256", **good}))
    mac = hmac.digest(orjson.dumps(key.public_jwk()), f"{symmetric}.{payload}".encode(), sha256)
    private = {"typ": PROOF_TYPE, "jwk": key.private_jwk()}
    bad = {
        f"{none}.{payload}.": "proof_invalid",
        f"{none}.{payload}.AA": "proof_algorithm_not_allowed",
        f"{symmetric}.{payload}.{b64url(mac)}": "proof_algorithm_not_allowed",
        sign_jws(key, {**good, "typ": "JWT"}, dict(claims)): "proof_invalid",
        sign_jws(key, {**good, "jku": "https://evil.example"}, dict(claims)): "proof_key_invalid",
        sign_jws(key, {**good, "crit": ["x"]}, dict(claims)): "proof_key_invalid",
        sign_jws(key, {"typ": PROOF_TYPE}, dict(claims)): "proof_key_invalid",
        sign_jws(key, private, dict(claims)): "proof_key_invalid",
        sign_jws(other, good, dict(claims)): "proof_invalid",
        broker.proof(nonce, aud="https://elsewhere.example"): "proof_audience_mismatch",
        broker.proof(nonce, iat=broker.time[0] - 301): "proof_too_old",
        broker.proof(nonce, iat=broker.time[0] + 61): "proof_in_future",
        broker.proof(nonce, iat="now"): "proof_invalid",
        "no-jwt": "proof_invalid",
    }
    for proof, code in bad.items():
        answer = broker.request(token, proof)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_proof"), code
        assert answer.json()["code"] in {code, "proof_algorithm_not_allowed"}, answer.text
    assert len(broker.logged("issuance.refused")) == len(bad)
    assert broker.copies() == []
    assert broker.request(token, broker.proof(nonce)).status_code == 200, "the nonce is unspent"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid_credential_request"),
        (b"[]", "invalid_credential_request"),
        (b"\xff", "invalid_credential_request"),
        (b"{}", "invalid_credential_request"),
        (b'{"format":"dc+sd-jwt"}', "invalid_credential_request"),
        (b'{"credential_configuration_id":"customer_credential"}', "invalid_proof"),
        (
            b'{"credential_configuration_id":"customer_credential","proofs":{"jwt":[]}}',
            "invalid_proof",
        ),
        (
            b'{"credential_configuration_id":"passport","proofs":{"jwt":["a"]}}',
            "unknown_credential_configuration",
        ),
        (
            b'{"credential_identifier":"passport","proofs":{"jwt":["a"]}}',
            "unknown_credential_identifier",
        ),
        (
            (
                b'{"credential_configuration_id":"customer_credential","proofs":{"jwt":["a"]},'
                b'"credential_response_encryption":{}}'
            ),
            "invalid_encryption_parameters",
        ),
    ],
)
def test_requests_that_are_none(broker: World, body: bytes, error: str) -> None:
    token = broker.wallet_token(broker.invite())
    answer = broker.http.post(
        "/openid4vci/credential", content=body, headers={"Authorization": f"Bearer {token}"}
    )
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_tokens_that_are_none(broker: World) -> None:
    proof = broker.proof(broker.nonce())
    for headers in ({}, {"Authorization": "Bearer x"}, broker.token(PARTNER, "partner")):
        answer = broker.http.post(
            "/openid4vci/credential",
            json={
                "credential_configuration_id": "customer_credential",
                "proofs": {"jwt": [proof]},
            },
            headers=headers,
        )
        assert answer.status_code in {401, 403}
    assert broker.copies() == []


def test_an_expired_token(broker: World) -> None:
    token = broker.wallet_token(broker.invite())
    broker.advance(600)
    answer = broker.request(token, broker.proof(broker.nonce()))
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]


def test_a_token_of_one_tenant_at_another(broker: World) -> None:
    token = broker.wallet_token(broker.invite())
    nonce = broker.http.post("/t/acme/openid4vci/nonce").json()["c_nonce"]
    answer = broker.http.post(
        "/t/acme/openid4vci/credential",
        json={
            "credential_configuration_id": "customer_credential",
            "proofs": {"jwt": [broker.proof(nonce, aud=f"{PUBLIC_URL}/t/acme")]},
        },
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 401
    assert broker.copies() == []


def test_nothing_is_bound_while_the_log_stands_still(broker: World) -> None:
    token = broker.wallet_token(broker.invite())
    broker.time[0] += 120  # and no run of the sequencer
    answer = broker.request(token, broker.proof(broker.nonce()))
    assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
    assert broker.copies() == []


def test_a_wallet_refuses_an_offer_that_was_used(broker: World) -> None:
    invitation = broker.invite()
    broker.accept(broker.wallet(), invitation)
    with pytest.raises(PeerRefused):
        broker.accept(broker.wallet(), invitation)


def test_metadata_is_where_wallets_look(broker: World) -> None:
    issuer = broker.http.get("/.well-known/openid-credential-issuer").json()
    assert issuer["credential_issuer"] == PUBLIC_URL
    assert issuer["batch_credential_issuance"] == {"batch_size": 4}
    configuration = issuer["credential_configurations_supported"]["customer_credential"]
    assert configuration["format"] == "dc+sd-jwt"
    kinds = broker.http.get(configuration["vct"]).json()
    assert kinds["vct"] == configuration["vct"]
    assert {one["locale"] for one in kinds["display"]} == {"zh-CN", "en"}
    server = broker.http.get("/.well-known/oauth-authorization-server").json()
    assert server["issuer"] == PUBLIC_URL
    assert server["token_endpoint"] == f"{PUBLIC_URL}/oauth/token"
    for name in ("consent", "receipt"):
        assert broker.http.get(f"/vct/{name}/1").json()["vct"] == f"{PUBLIC_URL}/vct/{name}/1"
    assert broker.http.get("/vct/customer/2").status_code == 404


def test_the_issuer_publishes_the_key_that_its_credentials_are_signed_by(broker: World) -> None:
    held = broker.accept(broker.wallet(), broker.invite(), copies=1)
    header = broker.http.get("/.well-known/jwt-vc-issuer").json()
    assert header["issuer"] == PUBLIC_URL
    verified = verify_credential(
        held[0].credential,
        anchors=broker.ctx.keys.anchors(),
        now=broker.time[0],
        status=lambda uri: verify_status_token(
            broker.http.get(uri).text,
            uri=uri,
            anchors=broker.ctx.keys.anchors(),
            now=broker.time[0],
        ),
    )
    assert verified.issuer_chain is not None
    (published,) = header["jwks"]["keys"]
    assert thumbprint(published) == thumbprint(broker.ctx.keys.issuer("demo").signer.public_jwk())
    document = broker.http.get("/.well-known/did.json").json()
    assert document["id"] == "did:web:127.0.0.1%3A8000"
    assert thumbprint(document["verificationMethod"][0]["publicKeyJwk"]) == thumbprint(published)


def test_a_tenant_has_an_issuer_of_its_own(broker: World) -> None:
    address = "/.well-known/openid-credential-issuer/t/acme"
    assert broker.http.get(address).json()["credential_issuer"] == f"{PUBLIC_URL}/t/acme"
    document = broker.http.get("/t/acme/did.json").json()
    assert document["id"] == "did:web:127.0.0.1%3A8000:t:acme"
    assert (
        broker.http.get("/.well-known/jwt-vc-issuer/t/acme").json()["jwks"]
        != (broker.http.get("/.well-known/jwt-vc-issuer").json()["jwks"])
    )
    assert broker.http.get("/t/nobody/.well-known/did.json").status_code == 404
