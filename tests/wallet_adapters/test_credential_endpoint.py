"""Credential requests, key proofs and notifications."""

import json
from typing import Any

import pytest

from credentials.jcs import canonical
from credentials.keys import SoftwareKey, thumbprint
from tests.wallet_adapters.forging import hmac_signed, jws, unsigned
from tests.wallet_adapters.parties import NOW, URL
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import (
    CredentialRequest,
    credential_response,
    nonce_response,
    parse_credential_request,
    parse_notification,
    resolve_configuration,
    verify_key_proof,
    verify_key_proofs,
)

KEY = SoftwareKey.generate()
EDWARDS = SoftwareKey.generate("Ed25519")
CLAIMS = {"aud": URL, "iat": NOW, "nonce": "n-1"}
HEADER = {"typ": "openid4vci-proof+jwt", "jwk": KEY.public_jwk()}
REQUEST = {"credential_configuration_id": "customer", "proofs": {"jwt": ["a.b.c"]}}
PRIVATE = KEY.private_jwk()


def proof(header: dict[str, Any] | None = None, **claims: Any) -> str:  # noqa: ANN401
    values = {name: value for name, value in (CLAIMS | claims).items() if value is not ...}
    merged = HEADER | (header or {})
    return jws(KEY, {name: value for name, value in merged.items() if value is not ...}, values)


def test_a_proof_names_its_key_and_nonce() -> None:
    verified = verify_key_proof(proof(), issuer_url=URL, now=NOW)
    assert verified.holder_jwk == KEY.public_jwk()
    assert verified.thumbprint == thumbprint(KEY.public_jwk())
    assert (verified.nonce, verified.issued_at) == ("n-1", NOW)


def test_only_the_public_members_of_a_key_are_kept() -> None:
    jwk = KEY.public_jwk() | {"kid": "mine", "use": "sig", "alg": "ES256", "name": "Ann"}
    verified = verify_key_proof(proof({"jwk": jwk}), issuer_url=URL, now=NOW)
    assert set(verified.holder_jwk) == {"kty", "crv", "x", "y"}


def test_another_algorithm_passes_where_it_is_offered() -> None:
    text = jws(EDWARDS, HEADER | {"jwk": EDWARDS.public_jwk()}, CLAIMS)
    verified = verify_key_proof(text, issuer_url=URL, now=NOW, algorithms=("ES256", "Ed25519"))
    assert verified.holder_jwk == EDWARDS.public_jwk()


@pytest.mark.parametrize("issued_at", [NOW - 300, NOW, NOW + 60, NOW + 0.5])
def test_a_proof_within_its_window(issued_at: float) -> None:
    verified = verify_key_proof(proof(iat=issued_at), issuer_url=URL, now=NOW)
    assert verified.issued_at == int(issued_at)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(unsigned(HEADER, CLAIMS), "proof_algorithm_not_allowed", id="none"),
        pytest.param(
            unsigned(HEADER | {"alg": "NONE"}, CLAIMS, signature=b"x"),
            "proof_algorithm_not_allowed",
            id="NONE",
        ),
        pytest.param(
            hmac_signed(HEADER, CLAIMS, canonical(KEY.public_jwk())),
            "proof_algorithm_not_allowed",
            id="HS256 with the public key",
        ),
        pytest.param(
            jws(EDWARDS, HEADER | {"jwk": EDWARDS.public_jwk()}, CLAIMS),
            "proof_algorithm_not_allowed",
            id="algorithm not offered",
        ),
        pytest.param(proof({"alg": ["ES256"]}), "proof_algorithm_not_allowed", id="alg no string"),
        pytest.param(proof({"jwk": ...}), "proof_key_invalid", id="no jwk"),
        pytest.param(proof({"jwk": "x"}), "proof_key_invalid", id="jwk no object"),
        pytest.param(proof({"jwk": {}}), "proof_key_invalid", id="empty jwk"),
        pytest.param(proof({"jwk": {"kty": "oct", "k": "AA"}}), "proof_key_invalid", id="oct"),
        pytest.param(proof({"jwk": PRIVATE}), "proof_key_invalid", id="private jwk"),
        pytest.param(
            proof({"jwk": KEY.public_jwk() | {"x": "AA"}}), "proof_key_invalid", id="no point"
        ),
        pytest.param(proof({"jwk": ..., "kid": "did:x#1"}), "proof_key_invalid", id="kid alone"),
        pytest.param(proof({"kid": "did:x#1"}), "proof_key_invalid", id="kid and jwk"),
        pytest.param(proof({"x5c": ["AA"]}), "proof_key_invalid", id="x5c and jwk"),
        pytest.param(proof({"trust_chain": []}), "proof_key_invalid", id="trust chain"),
        pytest.param(proof({"jku": URL}), "proof_key_invalid", id="jku"),
        pytest.param(proof({"x5u": URL}), "proof_key_invalid", id="x5u"),
        pytest.param(proof({"crit": ["b64"], "b64": False}), "proof_key_invalid", id="crit"),
        pytest.param(proof({"typ": "JWT"}), "proof_invalid", id="typ"),
        pytest.param(proof({"typ": ...}), "proof_invalid", id="no typ"),
        pytest.param(proof(aud="https://x"), "proof_audience_mismatch", id="aud"),
        pytest.param(proof(aud=[URL]), "proof_audience_mismatch", id="aud array"),
        pytest.param(proof(aud=...), "proof_audience_mismatch", id="no aud"),
        pytest.param(proof(iss="someone"), "proof_invalid", id="iss of an anonymous wallet"),
        pytest.param(proof(iat=...), "proof_invalid", id="no iat"),
        pytest.param(proof(iat="now"), "proof_invalid", id="iat no number"),
        pytest.param(proof(iat=True), "proof_invalid", id="iat true"),
        pytest.param(proof(iat=NOW - 301), "proof_too_old", id="old"),
        pytest.param(proof(iat=NOW + 61), "proof_in_future", id="future"),
        pytest.param(proof(nonce=...), "proof_nonce_missing", id="no nonce"),
        pytest.param(proof(nonce=""), "proof_nonce_missing", id="empty nonce"),
        pytest.param(proof(nonce=7), "malformed", id="nonce no string"),
        pytest.param(proof()[:-4] + "AAAA", "proof_invalid", id="signature"),
        pytest.param(
            jws(SoftwareKey.generate(), HEADER, CLAIMS), "proof_invalid", id="other key signed"
        ),
        pytest.param("a.b", "proof_invalid", id="two parts"),
        pytest.param("", "proof_invalid", id="nothing"),
        pytest.param("a" * 9_000, "proof_invalid", id="large"),
        pytest.param(proof(extra=json.loads("[" * 30 + "]" * 30)), "too_deep", id="deep claims"),
    ],
)
def test_proofs_that_are_refused(text: str, code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        verify_key_proof(text, issuer_url=URL, now=NOW)
    assert (refused.value.code, refused.value.error) == (code, "invalid_proof")


def test_iss_is_the_client_of_the_token() -> None:
    verified = verify_key_proof(proof(iss="w"), issuer_url=URL, now=NOW, client_id="w")
    assert verified.nonce == "n-1"


def test_a_batch_has_a_key_for_each_copy() -> None:
    other = SoftwareKey.generate()
    second = jws(other, HEADER | {"jwk": other.public_jwk()}, CLAIMS)
    verified = verify_key_proofs([proof(), second], issuer_url=URL, now=NOW)
    assert [item.holder_jwk for item in verified] == [KEY.public_jwk(), other.public_jwk()]


def test_one_key_twice_would_link_the_copies() -> None:
    with pytest.raises(WalletProtocolError) as refused:
        verify_key_proofs([proof(), proof(nonce="n-2")], issuer_url=URL, now=NOW)
    assert refused.value.code == "proof_key_repeated"


def test_no_proofs_prove_nothing() -> None:
    with pytest.raises(WalletProtocolError) as refused:
        verify_key_proofs([], issuer_url=URL, now=NOW)
    assert refused.value.code == "proof_missing"


def test_a_credential_request() -> None:
    request = parse_credential_request(json.dumps(REQUEST | {"new": 1}).encode(), max_batch=1)
    assert request == CredentialRequest("customer", None, ("a.b.c",))


@pytest.mark.parametrize(
    ("change", "code", "error"),
    [
        (
            {"credential_configuration_id": None},
            "invalid_credential_request",
            "invalid_credential_request",
        ),
        (
            {"credential_identifier": "c-1"},
            "invalid_credential_request",
            "invalid_credential_request",
        ),
        ({"credential_configuration_id": 5}, "malformed", "invalid_credential_request"),
        ({"proof": {}}, "invalid_credential_request", "invalid_credential_request"),
        (
            {"credential_response_encryption": {"enc": "A128GCM"}},
            "encryption_not_offered",
            "invalid_encryption_parameters",
        ),
        ({"proofs": None}, "proof_missing", "invalid_proof"),
        ({"proofs": []}, "proof_missing", "invalid_proof"),
        ({"proofs": {}}, "proof_missing", "invalid_proof"),
        ({"proofs": {"attestation": ["a"]}}, "proof_missing", "invalid_proof"),
        ({"proofs": {"jwt": ["a"], "di_vp": [{}]}}, "proof_missing", "invalid_proof"),
        ({"proofs": {"jwt": []}}, "proof_missing", "invalid_proof"),
        ({"proofs": {"jwt": "a"}}, "proof_missing", "invalid_proof"),
        ({"proofs": {"jwt": [1]}}, "proof_missing", "invalid_proof"),
        ({"proofs": {"jwt": ["a" * 9_000]}}, "proof_missing", "invalid_proof"),
        ({"proofs": {"jwt": ["a"] * 4}}, "batch_too_large", "invalid_credential_request"),
    ],
)
def test_credential_requests_that_are_refused(
    change: dict[str, Any], code: str, error: str
) -> None:
    body = REQUEST | change
    for form in (json.dumps(body).encode(), body):
        with pytest.raises(WalletProtocolError) as refused:
            parse_credential_request(form, max_batch=3)
        assert (refused.value.code, refused.value.error) == (code, error)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 20_000, "too_deep"),
        (b" " * 300_000, "too_large"),
        (b"credential_configuration_id=customer", "malformed"),
    ],
)
def test_bodies_that_are_no_request(body: bytes, code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        parse_credential_request(body, max_batch=3)
    assert (refused.value.code, refused.value.error) == (code, "invalid_credential_request")


def test_a_request_by_configuration() -> None:
    request = CredentialRequest("customer", None, ())
    assert resolve_configuration(request, configuration_ids=["customer"]) == "customer"
    with pytest.raises(WalletProtocolError) as refused:
        resolve_configuration(request, configuration_ids=["receipt"])
    assert refused.value.error == "unknown_credential_configuration"


def test_a_request_by_identifier() -> None:
    request = CredentialRequest(None, "c-1", ())
    found = resolve_configuration(
        request, configuration_ids=["customer"], credential_identifiers={"c-1": "customer"}
    )
    assert found == "customer"
    for identifiers in (None, {}, {"c-2": "customer"}):
        with pytest.raises(WalletProtocolError) as refused:
            resolve_configuration(
                request, configuration_ids=["customer"], credential_identifiers=identifiers
            )
        assert refused.value.error == "unknown_credential_identifier"


def test_identifiers_that_were_granted_must_be_used() -> None:
    with pytest.raises(WalletProtocolError) as refused:
        resolve_configuration(
            CredentialRequest("customer", None, ()),
            configuration_ids=["customer"],
            credential_identifiers={"c-1": "customer"},
        )
    assert refused.value.error == "invalid_credential_request"


def test_credentials_come_each_in_its_object() -> None:
    assert credential_response(["a~", "b~"], "n-1") == {
        "credentials": [{"credential": "a~"}, {"credential": "b~"}],
        "notification_id": "n-1",
    }
    assert "notification_id" not in credential_response(["a~"])


@pytest.mark.parametrize("credentials", [[], ["a"], ["a~", "b~c.d.e"]])
def test_what_is_no_credential_is_not_sent(credentials: list[str]) -> None:
    with pytest.raises(WalletProtocolError):
        credential_response(credentials)


def test_a_nonce_answer() -> None:
    assert nonce_response("n-1") == {"c_nonce": "n-1"}


def test_notifications() -> None:
    body = {"notification_id": "n-1", "event": "credential_accepted", "event_description": "ok"}
    found = parse_notification(json.dumps(body).encode())
    assert (found.notification_id, found.event) == ("n-1", "credential_accepted")
    assert found.description == "ok"
    changes: list[dict[str, str | None]] = [
        {"event": "lost"},
        {"event": None},
        {"notification_id": ""},
    ]
    for change in changes:
        with pytest.raises(WalletProtocolError) as refused:
            parse_notification({**body, **change})
        assert refused.value.error == "invalid_notification_request"
