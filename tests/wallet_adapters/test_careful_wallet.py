"""What the loopback wallet refuses of verifiers: forged, stale and unknown requests."""

from collections.abc import Callable
from typing import Any

import pytest

from credentials.keys import SoftwareKey
from credentials.pki import issue_leaf, x5c
from tests.wallet_adapters.forging import hmac_signed, jws, unsigned
from tests.wallet_adapters.parties import NOW, URL, VCT, Authority, Broker
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import (
    KNOWN_TRANSACTION_DATA,
    Wallet,
    accept_offer,
    answer_request,
    check_transaction_data,
    fetch_request_object,
    parse_request_link,
    read_request_object,
    read_unsigned_request,
)
from wallet_adapters.openid4vp import (
    ClaimsQuery,
    CredentialQuery,
    encode_transaction_data,
    optional_each,
    request_link,
    x509_hash_client_id,
)

AUTHORITY = Authority()
HEADER = {"typ": "oauth-authz-req+jwt", "x5c": AUTHORITY.x5c}
DCQL = optional_each([CredentialQuery("c1", (VCT,)), CredentialQuery("c2", (VCT,))])
LINK = request_link(client_id=x509_hash_client_id(AUTHORITY.leaf), request_uri=f"{URL}/request")
CLAIMS = {
    "response_type": "vp_token",
    "response_mode": "direct_post",
    "client_id": x509_hash_client_id(AUTHORITY.leaf),
    "response_uri": f"{URL}/response",
    "nonce": "n-1",
    "state": "s-1",
    "dcql_query": DCQL.as_dict(),
    "aud": "https://self-issued.me/v2",
    "wallet_nonce": "w-1",
    "iat": NOW,
    "exp": NOW + 300,
}


def entry(kind: str = "urn:consent-broker:consent:1", **change: Any) -> str:  # noqa: ANN401
    return encode_transaction_data({"type": kind, "credential_ids": ["c1"]} | change)


def claims(**change: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: value for name, value in (CLAIMS | change).items() if value is not ...}


def signed(header: dict[str, Any] | None = None, **change: Any) -> str:  # noqa: ANN401
    merged = HEADER | (header or {})
    kept = {name: value for name, value in merged.items() if value is not ...}
    return jws(AUTHORITY.key, kept, claims(**change))


def read(token: str, link: str = LINK, anchors: list[bytes] | None = None) -> object:
    request = read_request_object(
        token,
        link=parse_request_link(link),
        wallet_nonce="w-1",
        anchors=[AUTHORITY.root] if anchors is None else anchors,
        now=NOW,
    )
    check_transaction_data(request, KNOWN_TRANSACTION_DATA)
    return request


def code_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(WalletProtocolError) as refused:
        attempt()
    return refused.value.code


def test_a_good_request_object_is_read() -> None:
    request = read_request_object(
        signed(transaction_data=[entry()]),
        link=parse_request_link(LINK),
        wallet_nonce="w-1",
        anchors=[AUTHORITY.root],
        now=NOW,
    )
    assert (request.client_id, request.nonce, request.state) == (CLAIMS["client_id"], "n-1", "s-1")
    assert request.signed
    assert "Broker" in request.verifier
    assert request.dcql == DCQL
    assert request.transaction_data[0].encoded == entry()


STRANGER = Authority("Stranger")


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(unsigned(HEADER, CLAIMS), "request_object_refused", id="none"),
        pytest.param(
            hmac_signed(HEADER, CLAIMS, AUTHORITY.leaf), "request_object_refused", id="HS256"
        ),
        pytest.param(
            jws(SoftwareKey.generate(), HEADER, CLAIMS), "request_object_refused", id="other key"
        ),
        pytest.param(signed()[:-4] + "AAAA", "request_object_refused", id="signature"),
        pytest.param(signed({"typ": "JWT"}), "request_object_refused", id="typ"),
        pytest.param(signed({"typ": ...}), "request_object_refused", id="no typ"),
        pytest.param(signed({"x5c": ...}), "request_object_refused", id="no x5c"),
        pytest.param(signed({"x5c": []}), "request_object_refused", id="empty x5c"),
        pytest.param(signed({"x5c": [7]}), "request_object_refused", id="x5c of numbers"),
        pytest.param(signed({"x5c": ["AAAA"]}), "request_object_refused", id="x5c no certificate"),
        pytest.param(signed({"jwk": {}}), "request_object_refused", id="jwk"),
        pytest.param(signed({"jku": URL}), "request_object_refused", id="jku"),
        pytest.param(signed({"crit": ["x"]}), "request_object_refused", id="crit"),
        pytest.param(
            jws(STRANGER.key, HEADER | {"x5c": STRANGER.x5c}, CLAIMS),
            "request_object_refused",
            id="other root",
        ),
        pytest.param(signed(client_id="x509_hash:AA"), "client_id_mismatch", id="client_id"),
        pytest.param(signed(client_id=...), "client_id_mismatch", id="no client_id"),
        pytest.param(signed(aud=URL), "request_object_refused", id="aud"),
        pytest.param(signed(aud=...), "request_object_refused", id="no aud"),
        pytest.param(signed(exp=NOW - 61), "request_object_refused", id="expired"),
        pytest.param(signed(iat=NOW + 61), "request_object_refused", id="iat ahead"),
        pytest.param(signed(nbf=NOW + 61), "request_object_refused", id="nbf ahead"),
        pytest.param(signed(exp="x"), "malformed", id="exp no number"),
        pytest.param(signed(wallet_nonce=...), "wallet_nonce_mismatch", id="no wallet_nonce"),
        pytest.param(signed(wallet_nonce="w-2"), "wallet_nonce_mismatch", id="wallet_nonce"),
        pytest.param(
            signed(response_uri="https://thief.example/response"),
            "request_object_refused",
            id="response_uri of another host",
        ),
        pytest.param(signed(response_uri=...), "missing_parameter", id="no response_uri"),
        pytest.param(signed(response_uri="x"), "malformed", id="response_uri no address"),
        pytest.param(
            signed(redirect_uri=f"{URL}/r"), "invalid_authorization_request", id="redirect_uri"
        ),
        pytest.param(signed(scope="pid"), "invalid_authorization_request", id="scope"),
        pytest.param(
            signed(response_mode="fragment"), "invalid_authorization_request", id="response_mode"
        ),
        pytest.param(
            signed(response_type="code"), "invalid_authorization_request", id="response_type"
        ),
        pytest.param(signed(nonce=...), "missing_parameter", id="no nonce"),
        pytest.param(signed(nonce="a b"), "invalid_authorization_request", id="nonce"),
        pytest.param(signed(dcql_query=...), "missing_parameter", id="no query"),
        pytest.param(signed(dcql_query={}), "invalid_query", id="empty query"),
        pytest.param(
            signed(transaction_data=[entry("urn:unknown")]),
            "transaction_data_type_unknown",
            id="transaction data of unknown type",
        ),
        pytest.param(
            signed(transaction_data=[entry(), entry("urn:unknown")]),
            "transaction_data_type_unknown",
            id="one of two of unknown type",
        ),
        pytest.param(
            signed(transaction_data=[entry(credential_ids=["c9"])]),
            "transaction_data_invalid",
            id="transaction data for no query",
        ),
        pytest.param(signed(transaction_data=[]), "transaction_data_invalid", id="no entries"),
        pytest.param(signed(transaction_data=["!"]), "transaction_data_invalid", id="no base64url"),
        pytest.param(signed(transaction_data="x"), "transaction_data_invalid", id="no array"),
        pytest.param("", "request_object_refused", id="nothing"),
        pytest.param('{"error":"x"}', "request_object_refused", id="an error body"),
    ],
)
def test_request_objects_that_are_refused(token: str, code: str) -> None:
    assert code_of(lambda: read(token)) == code


def test_another_leaf_below_the_same_root_is_another_verifier() -> None:
    key = SoftwareKey.generate()
    leaf = issue_leaf(
        AUTHORITY.root, AUTHORITY.root_key, key.public_jwk(), name="Other", now=NOW, uri=[URL]
    )
    token = jws(key, HEADER | {"x5c": x5c([leaf])}, CLAIMS)
    assert code_of(lambda: read(token)) == "client_id_mismatch"


def test_without_anchors_no_verifier_is_trusted() -> None:
    assert code_of(lambda: read(signed(), anchors=[])) == "request_object_refused"


def test_another_verifiers_link_does_not_fit() -> None:
    other = request_link(client_id="x509_hash:AA", request_uri=f"{URL}/request")
    assert code_of(lambda: read(signed(), link=other)) == "client_id_mismatch"


@pytest.mark.parametrize("prefix", ["x509_san_dns:broker.example", "broker", "redirect_uri:x"])
def test_other_client_id_prefixes_are_not_accepted(prefix: str) -> None:
    link = request_link(client_id=prefix, request_uri=f"{URL}/request")
    assert code_of(lambda: read(signed(client_id=prefix), link)) == "client_id_prefix_unsupported"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("request_uri=https%3A%2F%2Fa", "missing_parameter"),
        ("client_id=a&request=b", "request_object_refused"),
        ("client_id=a&request_uri=ftp%3A%2F%2Fa", "malformed"),
        (
            "client_id=a&request_uri=https%3A%2F%2Fa&request_uri_method=POST",
            "invalid_authorization_request",
        ),
        ("client_id=a&client_id=b", "repeated_parameter"),
        ("client_id=a&dcql_query=%7B", "malformed"),
    ],
)
def test_links_that_are_refused(query: str, code: str) -> None:
    assert code_of(lambda: parse_request_link(f"openid4vp://?{query}")) == code


def test_an_unsigned_request_is_answered_only_where_it_comes_from() -> None:
    broker = Broker(AUTHORITY)
    link = parse_request_link(broker.ask(DCQL, unsigned=True))
    assert not read_unsigned_request(link).signed
    for change, code in (
        ({"response_uri": f"{URL}/other"}, "client_id_mismatch"),
        ({"transaction_data": ["!"]}, "transaction_data_invalid"),
    ):
        spoiled = dict(link.parameters) | change
        forged = type(link)(link.client_id, None, post=False, parameters=spoiled)
        assert code_of(lambda found=forged: read_unsigned_request(found)) == code  # type: ignore[misc]
    x509 = type(link)("x509_hash:abc", None, post=False, parameters=CLAIMS)
    assert code_of(lambda: read_unsigned_request(x509)) == "client_id_prefix_unsupported"
    assert code_of(lambda: fetch_request_object(link, "w-1")) == "missing_parameter"


def test_unsigned_requests_are_for_development() -> None:
    broker = Broker(AUTHORITY)
    wallet = Wallet([AUTHORITY.root])
    link = broker.ask(DCQL, unsigned=True)
    attempt = lambda: answer_request(wallet, link, carry=broker.carry, now=NOW)  # noqa: E731
    assert code_of(attempt) == "missing_parameter"


def test_a_request_for_what_is_not_held_is_refused_to_the_verifier() -> None:
    broker = Broker(AUTHORITY)
    wallet = Wallet([AUTHORITY.root])
    accept_offer(wallet, broker.offer.by_value(), carry=broker.carry, now=NOW)
    for query in (
        CredentialQuery("c1", (f"{URL}/vct/other",)),
        CredentialQuery("c1", (VCT,), format="mso_mdoc"),
        CredentialQuery("c1", (VCT,), claims=(ClaimsQuery(("city",), values=("Bruges",)),)),
    ):
        link = broker.ask(optional_each([query]))
        attempt = lambda at=link: answer_request(wallet, at, carry=broker.carry, now=NOW)  # noqa: E731
        assert code_of(attempt) == "nothing_to_present"
        assert broker.refusal is not None
        assert broker.refusal.error == "access_denied"
