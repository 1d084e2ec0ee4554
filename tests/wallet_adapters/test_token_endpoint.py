"""Token requests, transaction codes and client assertions."""

import json
from typing import Any

import pytest

from credentials.jcs import canonical
from credentials.keys import SoftwareKey
from tests.wallet_adapters.forging import hmac_signed, jws, unsigned
from tests.wallet_adapters.parties import NOW, URL
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import (
    CLIENT_ASSERTION_TYPE,
    CLIENT_CREDENTIALS_GRANT,
    PRE_AUTHORIZED_CODE_GRANT,
    ClientAssertion,
    ClientCredentialsRequest,
    PreAuthorizedCodeRequest,
    parse_client_assertion,
    parse_token_request,
    require_tx_code,
    token_response,
    verify_client_assertion,
)

KEY = SoftwareKey.generate()
EDWARDS = SoftwareKey.generate("Ed25519")
KEYS = [EDWARDS.public_jwk() | {"kid": "k2"}, KEY.public_jwk() | {"kid": "k1"}]
CODE = {"grant_type": PRE_AUTHORIZED_CODE_GRANT, "pre-authorized_code": "c"}
CLAIMS = {
    "iss": "partner-1",
    "sub": "partner-1",
    "aud": URL,
    "jti": "j-1",
    "iat": NOW,
    "exp": NOW + 60,
}


def assertion(header: dict[str, Any] | None = None, **claims: Any) -> str:  # noqa: ANN401
    values = {name: value for name, value in (CLAIMS | claims).items() if value is not ...}
    return jws(KEY, header or {}, values)


def client(text: str, **form: str) -> dict[str, str]:
    return {
        "grant_type": CLIENT_CREDENTIALS_GRANT,
        "client_assertion_type": CLIENT_ASSERTION_TYPE,
        "client_assertion": text,
    } | form


def verify(text: str, now: int = NOW) -> ClientAssertion:
    return verify_client_assertion(
        parse_client_assertion(text), keys=KEYS, audiences=[URL, f"{URL}/token"], now=now
    )


def code_raised_by(text: str, now: int = NOW) -> str:
    with pytest.raises(WalletProtocolError) as refused:
        verify(text, now)
    assert refused.value.error == "invalid_client"
    return refused.value.code


def test_a_wallet_brings_its_code() -> None:
    request = parse_token_request(CODE | {"tx_code": "1234", "resource": URL, "user_pin": "1"})
    assert request == PreAuthorizedCodeRequest("c", "1234")
    assert "1234" not in repr(request)


def test_a_wallet_may_name_what_it_wants() -> None:
    wanted = {"type": "openid_credential", "credential_configuration_id": "customer"}
    request = parse_token_request(CODE | {"authorization_details": json.dumps([wanted, wanted])})
    assert isinstance(request, PreAuthorizedCodeRequest)
    assert request.configuration_ids == ("customer",)


def test_a_partner_authenticates() -> None:
    request = parse_token_request(client(assertion(), scope="consents decisions"))
    assert isinstance(request, ClientCredentialsRequest)
    assert request.client_id == "partner-1"
    assert request.scopes == ("consents", "decisions")


@pytest.mark.parametrize(
    ("form", "code", "error"),
    [
        ({}, "missing_parameter", "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type", "unsupported_grant_type"),
        ({"grant_type": PRE_AUTHORIZED_CODE_GRANT}, "missing_parameter", "invalid_request"),
        (CODE | {"pre-authorized_code": "c" * 600}, "too_large", "invalid_request"),
        (CODE | {"authorization_details": "{}"}, "malformed", "invalid_authorization_details"),
        (CODE | {"authorization_details": "[1]"}, "malformed", "invalid_authorization_details"),
        (CODE | {"authorization_details": "[" * 99}, "too_deep", "invalid_authorization_details"),
        (
            {"grant_type": CLIENT_CREDENTIALS_GRANT},
            "client_authentication_required",
            "invalid_client",
        ),
        (client(""), "client_assertion_invalid", "invalid_client"),
        (client("a.b.c"), "client_assertion_invalid", "invalid_client"),
        (client("a" * 9_000), "too_large", "invalid_request"),
        (client(assertion(), client_id="other"), "client_assertion_invalid", "invalid_client"),
        (client(assertion(), client_secret="s"), "conflicting_parameters", "invalid_request"),
        (
            client(assertion(), client_assertion_type="saml"),
            "client_assertion_invalid",
            "invalid_client",
        ),
        (client(assertion()) | CODE, "client_assertion_invalid", "invalid_client"),
        (
            client(assertion(), grant_type="authorization_code", code="c"),
            "client_assertion_invalid",
            "invalid_client",
        ),
        (client(assertion(), scope="a  b"), "malformed", "invalid_scope"),
        (client(assertion(), scope="a a"), "malformed", "invalid_scope"),
    ],
)
def test_token_requests_that_are_refused(form: dict[str, str], code: str, error: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        parse_token_request(form)
    assert (refused.value.code, refused.value.error) == (code, error)
    assert set(refused.value.body()) == {"error", "error_description"}


@pytest.mark.parametrize(
    ("presented", "expected", "code", "error"),
    [
        (None, "1234", "tx_code_required", "invalid_request"),
        ("", "1234", "tx_code_required", "invalid_request"),
        ("1234", None, "tx_code_unexpected", "invalid_request"),
        ("1235", "1234", "tx_code_wrong", "invalid_grant"),
        ("\ud800", "1234", "tx_code_wrong", "invalid_grant"),
    ],
)
def test_transaction_codes(
    presented: str | None, expected: str | None, code: str, error: str
) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        require_tx_code(presented, expected)
    assert (refused.value.code, refused.value.error) == (code, error)


def test_the_right_transaction_code_passes() -> None:
    require_tx_code("1234", "1234")
    require_tx_code(None, None)


def test_a_token_answer_has_no_nonce() -> None:
    assert token_response(access_token="t", expires_in=300) == {
        "access_token": "t",
        "token_type": "Bearer",
        "expires_in": 300,
    }


def test_a_token_answer_names_scopes_and_identifiers() -> None:
    body = token_response(
        access_token="t",
        expires_in=300,
        scopes=["a", "b"],
        credential_identifiers={"customer": ["c-1"]},
    )
    assert body["scope"] == "a b"
    assert body["authorization_details"] == [
        {
            "type": "openid_credential",
            "credential_configuration_id": "customer",
            "credential_identifiers": ["c-1"],
        }
    ]


@pytest.mark.parametrize(
    "text",
    [
        assertion(),
        assertion({"typ": "JWT"}),
        assertion({"typ": "client-authentication+jwt", "kid": "k1"}),
        assertion(aud=[URL]),
        assertion(aud=f"{URL}/token"),
        assertion(iat=...),
        jws(EDWARDS, {"kid": "k2"}, CLAIMS),
        jws(EDWARDS, {"alg": "EdDSA"}, CLAIMS),
    ],
)
def test_client_assertions(text: str) -> None:
    assert verify(text) == ClientAssertion("partner-1", "j-1", NOW + 60)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(unsigned({}, CLAIMS), "client_assertion_invalid", id="none"),
        pytest.param(
            hmac_signed({}, CLAIMS, canonical(KEY.public_jwk())),
            "client_assertion_invalid",
            id="HS256",
        ),
        pytest.param(
            assertion({"jwk": KEY.public_jwk()}), "client_assertion_invalid", id="own key"
        ),
        pytest.param(assertion({"jku": URL}), "client_assertion_invalid", id="jku"),
        pytest.param(assertion({"crit": ["x"], "x": 1}), "client_assertion_invalid", id="crit"),
        pytest.param(assertion({"typ": "kb+jwt"}), "client_assertion_invalid", id="other typ"),
        pytest.param(assertion({"kid": "k3"}), "client_assertion_invalid", id="unknown kid"),
        pytest.param(assertion({"kid": 3}), "client_assertion_invalid", id="kid no string"),
        pytest.param(
            jws(SoftwareKey.generate(), {}, CLAIMS), "client_assertion_invalid", id="other key"
        ),
        pytest.param(assertion()[:-4] + "AAAA", "client_assertion_invalid", id="signature"),
        pytest.param(assertion(iss="other"), "client_assertion_invalid", id="iss"),
        pytest.param(assertion(sub=...), "missing_parameter", id="no sub"),
        pytest.param(assertion(jti=...), "missing_parameter", id="no jti"),
        pytest.param(assertion(exp=...), "client_assertion_invalid", id="no exp"),
        pytest.param(assertion(exp="60"), "client_assertion_invalid", id="exp no number"),
        pytest.param(assertion(exp=True), "client_assertion_invalid", id="exp true"),
        pytest.param(assertion(exp=NOW - 31), "client_assertion_expired", id="expired"),
        pytest.param(assertion(exp=NOW + 3600), "client_assertion_expired", id="long-lived"),
        pytest.param(assertion(iat=NOW + 31), "client_assertion_invalid", id="iat ahead"),
        pytest.param(assertion(nbf=NOW + 31), "client_assertion_invalid", id="nbf ahead"),
        pytest.param(assertion(aud="https://x"), "client_assertion_audience", id="aud"),
        pytest.param(assertion(aud=...), "client_assertion_audience", id="no aud"),
        pytest.param(assertion(aud=[]), "client_assertion_audience", id="no aud in array"),
        pytest.param(assertion(aud=[URL, "https://x"]), "client_assertion_audience", id="two"),
        pytest.param(assertion(aud={"a": URL}), "client_assertion_audience", id="aud object"),
    ],
)
def test_client_assertions_that_are_refused(text: str, code: str) -> None:
    assert code_raised_by(text) == code


def test_without_registered_keys_nobody_authenticates() -> None:
    with pytest.raises(WalletProtocolError):
        verify_client_assertion(
            parse_client_assertion(assertion()), keys=[], audiences=[URL], now=NOW
        )
