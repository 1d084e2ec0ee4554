"""What a verifier refuses in an authorization response: each case with its stable code."""

import dataclasses
import json
from typing import Any

import pytest

from credentials.errors import CredentialError
from credentials.keys import SoftwareKey
from credentials.model import StatusReference
from credentials.sdjwt import bind, present
from credentials.status import StatusCheck
from credentials.verify import VerifiedPresentation
from tests.wallet_adapters.parties import NOW, URL, VCT, Authority
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp import (
    AuthorizationResponse,
    ClaimsQuery,
    CredentialQuery,
    CredentialSet,
    DcqlQuery,
    ExpectedResponse,
    WalletRefusal,
    direct_post_answer,
    encode_transaction_data,
    optional_each,
    parse_authorization_response,
    verify_response,
    verify_several,
)

AUTHORITY = Authority()
HOLDER = SoftwareKey.generate()
CREDENTIAL = AUTHORITY.issue(HOLDER.public_jwk())
CLIENT_ID = "x509_hash:abc"


def terms(query_id: str) -> str:
    return encode_transaction_data(
        {"type": "urn:consent-broker:consent:1", "credential_ids": [query_id], "terms": query_id}
    )


def query(query_id: str, *claims: ClaimsQuery, **change: Any) -> CredentialQuery:  # noqa: ANN401
    return CredentialQuery(query_id, (VCT,), claims=claims, **change)


EXPECTED = ExpectedResponse(
    client_id=CLIENT_ID,
    nonce="n-1",
    state="s-1",
    dcql=optional_each([query("c1"), query("c2")]),
    transaction_data=(terms("c1"), terms("c2")),
)


def shown(
    query_id: str | None = "c1",
    *,
    credential: str = CREDENTIAL,
    holder: SoftwareKey = HOLDER,
    disclose: tuple[str, ...] = (),
    **change: Any,  # noqa: ANN401
) -> str:
    arguments: dict[str, Any] = {
        "nonce": "n-1",
        "audience": CLIENT_ID,
        "now": NOW,
        "transaction_data": [terms(query_id)] if query_id is not None else [],
    }
    return bind(present(credential, disclose), holder, **(arguments | change))


def response(vp_token: object, state: str = "s-1") -> AuthorizationResponse:
    parsed = parse_authorization_response({"vp_token": json.dumps(vp_token), "state": state})
    assert isinstance(parsed, AuthorizationResponse)
    return parsed


def verify(
    vp_token: object,
    expected: ExpectedResponse = EXPECTED,
    **change: Any,  # noqa: ANN401
) -> dict[str, VerifiedPresentation]:
    arguments: dict[str, Any] = {
        "expected": expected,
        "anchors": [AUTHORITY.root],
        "now": NOW,
    }
    return verify_response(response(vp_token), **(arguments | change))


def expecting(dcql: DcqlQuery, *transaction_data: str) -> ExpectedResponse:
    return dataclasses.replace(EXPECTED, dcql=dcql, transaction_data=transaction_data)


def test_both_consents_and_either_one_pass() -> None:
    assert set(verify({"c1": [shown("c1")], "c2": [shown("c2")]})) == {"c1", "c2"}
    assert set(verify({"c2": [shown("c2")]})) == {"c2"}


@pytest.mark.parametrize(
    ("vp_token", "code"),
    [
        pytest.param({"c1": [shown(), shown(now=NOW - 1)]}, "duplicate_presentation", id="two"),
        pytest.param({"c1": [shown()], "c9": [shown()]}, "unknown_query", id="unknown"),
        pytest.param({"": [shown()]}, "unknown_query", id="nameless"),
        pytest.param({"c2": [shown("c1")]}, "transaction_data_mismatch", id="of another query"),
        pytest.param({"c1": [shown(None)]}, "transaction_data_mismatch", id="no transaction data"),
        pytest.param(
            {"c1": [shown(transaction_data=[terms("c1"), terms("c2")])]},
            "transaction_data_mismatch",
            id="of both queries",
        ),
        pytest.param({"c1": [CREDENTIAL]}, "key_binding_missing", id="no key binding"),
        pytest.param({"c1": [CREDENTIAL.rstrip("~")]}, "malformed", id="no last tilde"),
        pytest.param({"c1": [shown(nonce="n-2")]}, "nonce_mismatch", id="nonce"),
        pytest.param({"c1": [shown(audience="abc")]}, "audience_mismatch", id="aud, no prefix"),
        pytest.param({"c1": [shown(now=NOW - 301)]}, "key_binding_expired", id="old"),
        pytest.param({"c1": [shown(now=NOW + 61)]}, "key_binding_in_future", id="future"),
        pytest.param({"c1": [shown(holder=AUTHORITY.key)]}, "signature_invalid", id="other holder"),
        pytest.param(
            {"c1": [shown().replace("~", "~" + CREDENTIAL.split("~")[1] + "~", 1)]},
            "sd_hash_mismatch",
            id="disclosure added",
        ),
        pytest.param(
            {"c1": [shown(credential=AUTHORITY.issue(HOLDER.public_jwk(), vct=f"{URL}/vct/x"))]},
            "type_mismatch",
            id="vct",
        ),
        pytest.param(
            {"c1": [shown(credential=Authority().issue(HOLDER.public_jwk()))]},
            "untrusted_chain",
            id="other root",
        ),
    ],
)
def test_presentations_that_are_refused(vp_token: object, code: str) -> None:
    with pytest.raises((WalletProtocolError, CredentialError)) as refused:
        verify(vp_token)
    assert getattr(refused.value, "code", None) == code


def test_one_bad_presentation_spoils_the_response() -> None:
    with pytest.raises(CredentialError):
        verify({"c1": [shown("c1")], "c2": [shown("c2", nonce="old")]})


def test_the_state_is_the_requests() -> None:
    with pytest.raises(WalletProtocolError) as refused:
        verify_response(
            response({"c1": [shown()]}, state="s-2"),
            expected=EXPECTED,
            anchors=[AUTHORITY.root],
            now=NOW,
        )
    assert refused.value.code == "state_mismatch"


def test_no_presentation_verifies_nothing() -> None:
    for vp_token in ({}, {"c1": ()}):
        with pytest.raises(WalletProtocolError) as refused:
            verify_response(
                AuthorizationResponse(vp_token=vp_token, state="s-1"),
                expected=EXPECTED,
                anchors=[AUTHORITY.root],
                now=NOW,
            )
        assert refused.value.code == "no_presentation"


def test_without_trust_anchors_nobody_is_trusted() -> None:
    with pytest.raises(CredentialError) as refused:
        verify({"c1": [shown()]}, anchors=[])
    assert refused.value.code == "untrusted_chain"


def test_a_required_presentation_is_missed_before_any_is_verified() -> None:
    dcql = DcqlQuery((query("c1"), query("c2")), (CredentialSet((("c1",),)),))
    with pytest.raises(WalletProtocolError) as refused:
        verify({"c2": ["a.b.c~d.e.f"]}, expecting(dcql))
    assert refused.value.code == "required_presentation_missing"


@pytest.mark.parametrize(
    ("claim", "disclose", "code"),
    [
        (ClaimsQuery(("city",)), ("city",), None),
        (ClaimsQuery(("city",)), (), "claims_not_satisfied"),
        (ClaimsQuery(("city",), values=("Ghent",)), ("city",), None),
        (ClaimsQuery(("city",), values=("Bruges",)), ("city",), "claims_not_satisfied"),
        (ClaimsQuery(("jti",), values=("another copy",)), (), "claims_not_satisfied"),
        (ClaimsQuery(("city", "name")), ("city",), "claims_not_satisfied"),
    ],
)
def test_claims_and_values_are_checked(
    claim: ClaimsQuery, disclose: tuple[str, ...], code: str | None
) -> None:
    expected = expecting(DcqlQuery((query("c1", claim),)))
    vp_token = {"c1": [shown(None, disclose=disclose)]}
    if code is None:
        assert set(verify(vp_token, expected)) == {"c1"}
        return
    with pytest.raises(WalletProtocolError) as refused:
        verify(vp_token, expected)
    assert refused.value.code == code


@pytest.mark.parametrize("change", [{"multiple": True}, {"require_holder_binding": False}])
def test_what_this_verifier_does_not_ask_for_it_does_not_take(change: dict[str, Any]) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        verify({"c1": [shown(None)]}, expecting(DcqlQuery((query("c1", **change),))))
    assert refused.value.code == "invalid_query"


def test_a_query_for_several_takes_several_and_each_is_verified() -> None:
    expected = expecting(DcqlQuery((query("c1", multiple=True),)))
    second = AUTHORITY.issue(HOLDER.public_jwk())
    shown_twice = [shown(None), shown(None, credential=second)]
    found = verify_several(
        response({"c1": shown_twice}),
        expected=expected,
        anchors=[AUTHORITY.root],
        now=NOW,
        status=StatusCheck.BY_CALLER,
    )
    assert len(found["c1"]) == 2
    with pytest.raises(CredentialError):
        verify_several(
            response({"c1": [shown(None), shown(None, nonce="n-2")]}),
            expected=expected,
            anchors=[AUTHORITY.root],
            now=NOW,
            status=StatusCheck.BY_CALLER,
        )


def test_a_status_is_looked_up() -> None:
    credential = AUTHORITY.issue(HOLDER.public_jwk(), status=StatusReference(f"{URL}/status/1", 7))
    vp_token = {"c1": [shown(credential=credential)]}
    with pytest.raises(CredentialError) as refused:
        verify(vp_token)
    assert refused.value.code == "status_unavailable"
    verified = verify(vp_token, status=StatusCheck.BY_CALLER)
    assert verified["c1"].credential.status == StatusReference(f"{URL}/status/1", 7)


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "missing_parameter"),
        ({"vp_token": ""}, "missing_parameter"),
        ({"vp_token": "{}"}, "no_presentation"),
        ({"vp_token": '{"c1":[]}'}, "no_presentation"),
        ({"vp_token": '{"c1":["x"],"c1":["y"]}'}, "repeated_parameter"),
        ({"vp_token": json.dumps({"c1": [CREDENTIAL, CREDENTIAL]})}, "duplicate_presentation"),
        ({"vp_token": json.dumps({"c1": CREDENTIAL})}, "malformed"),
        ({"vp_token": json.dumps({"c1": [{}]})}, "malformed"),
        ({"vp_token": json.dumps({"c1": [CREDENTIAL.split("~")[0]]})}, "malformed"),
        ({"vp_token": json.dumps({"c1": ["~" * 1000]})}, "malformed"),
        ({"vp_token": json.dumps({"c1": ["a" * 70_000]})}, "too_large"),
        ({"vp_token": json.dumps({"c1": ["a"] * 65})}, "too_large"),
        ({"vp_token": json.dumps({str(n): ["a"] for n in range(65)})}, "too_large"),
        ({"vp_token": "a" * 600_000}, "too_large"),
        ({"vp_token": '{"c1":' + "[" * 5_000}, "too_deep"),
        ({"vp_token": CREDENTIAL}, "malformed"),
        ({"vp_token": "{}", "state": "s" * 600}, "too_large"),
        ({"response": "a.b.c.d.e"}, "encrypted_response_unexpected"),
        ({"error": "access_denied", "vp_token": "{}"}, "conflicting_parameters"),
        ({"error": ""}, "missing_parameter"),
        ({"error": "<script>"}, "malformed"),
        ({"error": "a" * 65}, "too_large"),
    ],
)
def test_forms_that_are_no_response(form: dict[str, str], code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        parse_authorization_response(form)
    assert refused.value.code == code


def test_a_wallet_may_say_no() -> None:
    refusal = parse_authorization_response(
        {
            "error": "invalid_transaction_data",
            "error_description": "unknown\ntype\x00" + "x" * 600,
            "state": "s-1",
        }
    )
    assert isinstance(refusal, WalletRefusal)
    assert (refusal.error, refusal.state) == ("invalid_transaction_data", "s-1")
    assert refusal.description.startswith("unknowntypexx")
    assert len(refusal.description) <= 500
    assert refusal.transaction_data_unknown


def test_the_answer_sends_the_browser_on() -> None:
    assert direct_post_answer() == {}
    assert direct_post_answer(f"{URL}/done?a=b", "c~d") == {
        "redirect_uri": f"{URL}/done?a=b&response_code=c~d"
    }
    for address, code in ((f"{URL}/done", None), ("nowhere", "c"), (f"{URL}/done", "a b")):
        with pytest.raises(WalletProtocolError):
            direct_post_answer(address, code)
