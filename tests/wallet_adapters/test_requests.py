"""Authorization requests and transaction data, on the verifier's side."""

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from credentials.jcs import b64url, b64url_decode
from credentials.jws import parse_jws
from tests.wallet_adapters.parties import NOW, URL, VCT, Authority
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp import (
    CredentialQuery,
    DcqlQuery,
    build_request,
    client_metadata,
    decode_transaction_data,
    encode_transaction_data,
    fallback_nonce,
    optional_each,
    parse_request_uri_post,
    redirect_uri_client_id,
    request_link,
    request_link_by_value,
    sign_request,
    transaction_data_for,
    transaction_data_hash,
    verify_fallback_nonce,
    x509_hash_client_id,
)

AUTHORITY = Authority()
CLIENT_ID = x509_hash_client_id(AUTHORITY.leaf)
DCQL = optional_each([CredentialQuery("c1", (VCT,)), CredentialQuery("c2", (VCT,))])
TYPE = "urn:consent-broker:consent:1"


def entry(**change: Any) -> str:  # noqa: ANN401
    content = {"type": TYPE, "credential_ids": ["c1"], "terms": {"b": 1, "a": "ü"}} | change
    return encode_transaction_data({k: v for k, v in content.items() if v is not ...})


def build(**change: Any) -> dict[str, Any]:  # noqa: ANN401
    arguments: dict[str, Any] = {
        "client_id": CLIENT_ID,
        "response_uri": f"{URL}/response",
        "nonce": "n-1",
        "state": "s-1",
        "dcql": DCQL,
    }
    return build_request(**(arguments | change))


def code_of(**change: Any) -> str:  # noqa: ANN401
    with pytest.raises(WalletProtocolError) as refused:
        build(**change)
    return refused.value.code


def test_a_request() -> None:
    assert build(
        transaction_data=[entry()],
        verifier_info=[{"format": "jwt", "data": "x"}],
        metadata=client_metadata(client_name="Shop"),
        wallet_nonce="w-1",
        issued_at=NOW,
        expires_at=NOW + 300,
    ) == {
        "response_type": "vp_token",
        "response_mode": "direct_post",
        "client_id": CLIENT_ID,
        "response_uri": f"{URL}/response",
        "nonce": "n-1",
        "state": "s-1",
        "dcql_query": DCQL.as_dict(),
        "client_metadata": {
            "vp_formats_supported": {
                "dc+sd-jwt": {
                    "sd-jwt_alg_values": ["ES256"],
                    "kb-jwt_alg_values": ["ES256", "Ed25519"],
                }
            },
            "client_name": "Shop",
        },
        "transaction_data": [entry()],
        "verifier_info": [{"format": "jwt", "data": "x"}],
        "aud": "https://self-issued.me/v2",
        "wallet_nonce": "w-1",
        "iat": NOW,
        "exp": NOW + 300,
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"client_id": "broker"}, "invalid_authorization_request"),
        ({"client_id": "redirect_uri:https://x"}, "invalid_authorization_request"),
        ({"response_uri": "/response"}, "malformed"),
        ({"nonce": ""}, "invalid_authorization_request"),
        ({"nonce": "a b"}, "invalid_authorization_request"),
        ({"state": "ü"}, "invalid_authorization_request"),
        ({"transaction_data": ["!"]}, "malformed"),
        ({"transaction_data": [entry(credential_ids=["c3"])]}, "transaction_data_invalid"),
        ({"transaction_data": [entry(), entry(terms=2)]}, "transaction_data_invalid"),
        ({"transaction_data": [entry()] * 65}, "transaction_data_invalid"),
        (
            {
                "transaction_data": [entry()],
                "dcql": DcqlQuery((CredentialQuery("c1", (VCT,), require_holder_binding=False),)),
            },
            "transaction_data_invalid",
        ),
    ],
)
def test_requests_that_are_not_built(change: dict[str, Any], code: str) -> None:
    assert code_of(**change) == code


def test_an_entry_that_two_queries_may_sign_is_not_built() -> None:
    with pytest.raises(WalletProtocolError):
        entry(credential_ids=["c1", "c2"])
    by_hand = {"type": TYPE, "credential_ids": ["c1", "c2"]}
    encoded = b64url(json.dumps(by_hand).encode())
    assert code_of(transaction_data=[encoded]) == "transaction_data_invalid"


def test_a_request_is_signed_with_its_chain() -> None:
    claims = build()
    jws = parse_jws(sign_request(claims, AUTHORITY.key, AUTHORITY.x5c), typ="oauth-authz-req+jwt")
    assert jws.header["x5c"] == AUTHORITY.x5c
    assert json.loads(jws.payload) == claims
    digest = hashlib.sha256(AUTHORITY.leaf).digest()
    assert claims["client_id"] == f"x509_hash:{b64url(digest)}"


def test_what_is_not_signed() -> None:
    unsigned = build(client_id=redirect_uri_client_id(f"{URL}/response"))
    for claims, chain in ((unsigned, AUTHORITY.x5c), (build(), [])):
        with pytest.raises(WalletProtocolError):
            sign_request(claims, AUTHORITY.key, chain)


def test_links() -> None:
    link = request_link(client_id=CLIENT_ID, request_uri=f"{URL}/request/1")
    assert link.startswith("openid4vp://?client_id=x509_hash%3A")
    assert parse_qs(urlsplit(link).query) == {
        "client_id": [CLIENT_ID],
        "request_uri": [f"{URL}/request/1"],
        "request_uri_method": ["post"],
    }
    plain = request_link(
        client_id=CLIENT_ID, request_uri=f"{URL}/request/1", post=False, scheme="https://w.example/"
    )
    assert plain.startswith("https://w.example/?")
    assert "request_uri_method" not in plain
    with pytest.raises(WalletProtocolError):
        request_link(client_id=CLIENT_ID, request_uri="nowhere")


def test_only_a_development_request_goes_by_value() -> None:
    with pytest.raises(WalletProtocolError):
        request_link_by_value(build())
    with pytest.raises(WalletProtocolError):
        redirect_uri_client_id("nowhere")
    claims = build(client_id=redirect_uri_client_id(f"{URL}/response"), transaction_data=[entry()])
    fields = parse_qs(urlsplit(request_link_by_value(claims)).query)
    assert json.loads(fields["dcql_query"][0]) == DCQL.as_dict()
    assert json.loads(fields["transaction_data"][0]) == [entry()]
    assert "aud" not in fields


def test_what_wallets_post_to_the_request_uri() -> None:
    posted = parse_request_uri_post({"wallet_nonce": "w-1", "wallet_metadata": '{"a":1}', "x": "y"})
    assert (posted.wallet_nonce, posted.wallet_metadata) == ("w-1", {"a": 1})
    assert parse_request_uri_post({}).wallet_nonce is None
    for form in (
        {"wallet_nonce": "w" * 600},
        {"wallet_metadata": "[]"},
        {"wallet_metadata": "{"},
        {"wallet_metadata": "[" * 500},
        {"wallet_metadata": "1" * 20_000},
    ):
        with pytest.raises(WalletProtocolError):
            parse_request_uri_post(form)


def test_transaction_data_is_canonical() -> None:
    decoded = decode_transaction_data(entry())
    assert (
        b64url_decode(entry())
        == (
            '{"credential_ids":["c1"],"terms":{"a":"ü","b":1},"type":"urn:consent-broker:consent:1"}'
        ).encode()
    )
    assert (decoded.type, decoded.credential_ids, decoded.encoded) == (TYPE, ("c1",), entry())
    assert decoded.hash == transaction_data_hash(entry())


def test_the_hash_is_over_the_string_as_sent() -> None:
    # printf eyJhIjoxfQ | openssl dgst -sha256 -binary | base64, in the URL alphabet
    assert transaction_data_hash("eyJhIjoxfQ") == "rUXvq2NVIN9giNdMGM5LfrLpSf-30UlLY-gtKJkm4B0"
    with pytest.raises(WalletProtocolError):
        transaction_data_hash("é")


@pytest.mark.parametrize(
    "content",
    [
        {"type": ...},
        {"type": 1},
        {"credential_ids": ...},
        {"credential_ids": []},
        {"credential_ids": "c1"},
        {"credential_ids": [1]},
        {"transaction_data_hashes_alg": []},
        {"transaction_data_hashes_alg": "sha-256"},
        {"transaction_data_hashes_alg": ["sha-512"]},
        {"terms": 1.5},
        {"terms": object()},
    ],
)
def test_transaction_data_that_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        entry(**content)
    assert refused.value.error == "invalid_transaction_data"


@pytest.mark.parametrize(
    "encoded", ["", "e30=", "bm90IEpTT04", "W10", "A" * 70_000, b64url(b"[" * 99)]
)
def test_strings_that_are_no_transaction_data(encoded: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        decode_transaction_data(encoded)
    assert refused.value.error == "invalid_transaction_data"


def test_each_query_signs_what_names_it() -> None:
    entries = [entry(), entry(credential_ids=["c2"])]
    assert transaction_data_for(entries, "c1") == (entries[0],)
    assert transaction_data_for(entries, "c2") == (entries[1],)
    assert transaction_data_for(entries, "c3") == ()


def test_a_fallback_nonce_commits_to_the_terms() -> None:
    terms = b64url(b'{"purpose":"p"}')
    made = fallback_nonce(terms)
    inner = hashlib.sha256(terms.encode()).digest()
    assert made.nonce == b64url(hashlib.sha256(made.random + inner).digest())
    assert verify_fallback_nonce(made.nonce, terms, made.random) == made
    assert fallback_nonce(terms).nonce != made.nonce
    assert made.random.hex() not in repr(made)


def test_other_terms_do_not_have_this_nonce() -> None:
    terms, other = b64url(b'{"purpose":"p"}'), b64url(b'{"purpose":"q"}')
    made = fallback_nonce(terms)
    for nonce, claimed, random in (
        (made.nonce, other, made.random),
        (made.nonce, terms, bytes(32)),
        ("\ud800", terms, made.random),
        (made.nonce, "not base64url!", made.random),
        (made.nonce, terms, made.random[:-1]),
    ):
        with pytest.raises(WalletProtocolError):
            verify_fallback_nonce(nonce, claimed, random)
