"""Credential offers and the two metadata documents."""

import json
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.wallet_adapters.parties import URL
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import (
    AUTHORIZATION_SERVER_METADATA,
    CLIENT_CREDENTIALS_GRANT,
    ISSUER_METADATA,
    PRE_AUTHORIZED_CODE_GRANT,
    CredentialConfiguration,
    CredentialOffer,
    TxCode,
    authorization_server_metadata,
    issuer_metadata,
    parse_offer,
    parse_offer_link,
    well_known_url,
)

OFFER = CredentialOffer(URL, ("customer",), "code-1", TxCode("text", 8, "Ask the clerk"))
CONFIGURATION = CredentialConfiguration(
    vct=f"{URL}/vct/customer/1",
    scope="customer",
    names={"en": "Customer", "fr": "Client"},
    description="Proves that you are a customer",
    claims={"city": {"en": "City"}, "jti": {}},
)


def spoiled(change: dict[str, Any]) -> dict[str, Any]:
    return OFFER.as_dict() | change


def grants(change: dict[str, Any]) -> dict[str, Any]:
    return {"grants": {PRE_AUTHORIZED_CODE_GRANT: {"pre-authorized_code": "c"} | change}}


def test_an_offer_by_value_reads_back() -> None:
    link = OFFER.by_value()
    assert link.startswith("openid-credential-offer://?credential_offer=%7B")
    assert parse_offer_link(link) == OFFER


def test_an_offer_by_reference_names_its_address() -> None:
    link = OFFER.by_reference(f"{URL}/offers/x?y=1")
    assert parse_offer_link(link) == f"{URL}/offers/x?y=1"
    assert list(parse_qs(urlsplit(link).query)) == ["credential_offer_uri"]


def test_an_offer_goes_to_other_wallets_by_their_own_scheme() -> None:
    assert OFFER.by_value("https://wallet.example/add").startswith("https://wallet.example/add?")


def test_the_code_is_not_printed() -> None:
    assert "code-1" not in repr(OFFER)


def test_unknown_members_of_an_offer_are_ignored() -> None:
    assert parse_offer(spoiled({"new": {"a": 1}})) == OFFER


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"credential_issuer": "nowhere"}, "malformed"),
        ({"credential_issuer": None}, "missing_parameter"),
        ({"credential_configuration_ids": []}, "malformed"),
        ({"credential_configuration_ids": ["a", "a"]}, "malformed"),
        ({"credential_configuration_ids": "a"}, "malformed"),
        ({"grants": None}, "missing_parameter"),
        ({"grants": {"authorization_code": {}}}, "missing_parameter"),
        (grants({"pre-authorized_code": ""}), "missing_parameter"),
        (grants({"pre-authorized_code": 5}), "malformed"),
        (grants({"tx_code": 5}), "malformed"),
        (grants({"tx_code": {"input_mode": "voice"}}), "malformed"),
        (grants({"tx_code": {"input_mode": []}}), "malformed"),
        (grants({"tx_code": {"length": "6"}}), "malformed"),
        (grants({"tx_code": {"length": True}}), "malformed"),
        (grants({"tx_code": {"length": 0}}), "malformed"),
        (grants({"tx_code": {"description": "x" * 301}}), "malformed"),
    ],
)
def test_offers_that_cannot_be_followed(change: dict[str, Any], code: str) -> None:
    for text in (json.dumps(spoiled(change)), json.dumps(spoiled(change)).encode()):
        with pytest.raises(WalletProtocolError) as refused:
            parse_offer(text)
        assert refused.value.code == code


def test_an_empty_tx_code_object_still_demands_a_code() -> None:
    assert parse_offer(spoiled(grants({"tx_code": {}}))).tx_code == TxCode()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_parameter"),
        ("credential_offer=", "missing_parameter"),
        ("credential_offer=%7B", "malformed"),
        ("credential_offer_uri=file%3A%2F%2F%2Fetc", "malformed"),
        ("credential_offer=%7B%7D&credential_offer_uri=https%3A%2F%2Fa", "conflicting_parameters"),
        ("credential_offer=1&credential_offer=2", "repeated_parameter"),
        ("credential_offer=" + quote("[" * 100), "too_deep"),
        ("credential_offer=" + "1" * 20_000, "too_large"),
    ],
)
def test_offer_links_that_cannot_be_followed(query: str, code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        parse_offer_link(f"openid-credential-offer://?{query}")
    assert refused.value.code == code


def test_an_offer_cannot_be_built_wrong() -> None:
    for issuer, ids, secret in (("x", ("a",), "c"), (URL, (), "c"), (URL, ("a",), "")):
        with pytest.raises(WalletProtocolError):
            CredentialOffer(issuer, ids, secret)
    with pytest.raises(WalletProtocolError):
        OFFER.by_reference("not an address")


def test_issuer_metadata() -> None:
    document = issuer_metadata(
        issuer_url=URL,
        credential_endpoint=f"{URL}/credential",
        nonce_endpoint=f"{URL}/nonce",
        notification_endpoint=f"{URL}/notification",
        credential_configurations={"customer": CONFIGURATION},
        names={"en": "Broker"},
        batch_size=20,
    )
    assert document == {
        "credential_issuer": URL,
        "credential_endpoint": f"{URL}/credential",
        "nonce_endpoint": f"{URL}/nonce",
        "notification_endpoint": f"{URL}/notification",
        "batch_credential_issuance": {"batch_size": 20},
        "display": [{"name": "Broker", "locale": "en"}],
        "credential_configurations_supported": {
            "customer": {
                "format": "dc+sd-jwt",
                "vct": f"{URL}/vct/customer/1",
                "scope": "customer",
                "cryptographic_binding_methods_supported": ["jwk"],
                "credential_signing_alg_values_supported": ["ES256"],
                "proof_types_supported": {"jwt": {"proof_signing_alg_values_supported": ["ES256"]}},
                "credential_metadata": {
                    "display": [
                        {
                            "name": name,
                            "locale": locale,
                            "description": "Proves that you are a customer",
                        }
                        for locale, name in (("en", "Customer"), ("fr", "Client"))
                    ],
                    "claims": [
                        {"path": ["city"], "display": [{"name": "City", "locale": "en"}]},
                        {"path": ["jti"]},
                    ],
                },
            }
        },
    }


@pytest.mark.parametrize("batch_size", [None, 0, 1])
def test_a_batch_of_one_is_no_batch(batch_size: int | None) -> None:
    document = issuer_metadata(
        issuer_url=URL,
        credential_endpoint=f"{URL}/credential",
        nonce_endpoint=f"{URL}/nonce",
        credential_configurations={"customer": CONFIGURATION},
        authorization_servers=[f"{URL}/as"],
        batch_size=batch_size,
    )
    assert "batch_credential_issuance" not in document
    assert document["authorization_servers"] == [f"{URL}/as"]


def test_issuer_metadata_needs_addresses_and_a_configuration() -> None:
    arguments: dict[str, Any] = {
        "issuer_url": URL,
        "credential_endpoint": f"{URL}/credential",
        "nonce_endpoint": f"{URL}/nonce",
        "credential_configurations": {"customer": CONFIGURATION},
    }
    changes: list[dict[str, Any]] = [
        {"nonce_endpoint": "/nonce"},
        {"credential_configurations": {}},
    ]
    for change in changes:
        with pytest.raises(WalletProtocolError):
            issuer_metadata(**(arguments | change))


def test_authorization_server_metadata() -> None:
    document = authorization_server_metadata(
        issuer_url=URL, token_endpoint=f"{URL}/token", jwks_uri=f"{URL}/jwks", scopes=["consents"]
    )
    assert document["issuer"] == URL
    assert document["scopes_supported"] == ["consents"]
    assert document["jwks_uri"] == f"{URL}/jwks"
    assert document["grant_types_supported"] == [
        PRE_AUTHORIZED_CODE_GRANT,
        CLIENT_CREDENTIALS_GRANT,
    ]
    assert document["token_endpoint_auth_methods_supported"] == ["none", "private_key_jwt"]
    assert document["pre-authorized_grant_anonymous_access_supported"] is True


@pytest.mark.parametrize(
    ("identifier", "address"),
    [
        ("https://a.example", "https://a.example/.well-known/openid-credential-issuer"),
        ("https://a.example/", "https://a.example/.well-known/openid-credential-issuer"),
        (
            "http://127.0.0.1:8000/t/7",
            "http://127.0.0.1:8000/.well-known/openid-credential-issuer/t/7",
        ),
    ],
)
def test_the_well_known_part_goes_before_the_path(identifier: str, address: str) -> None:
    assert well_known_url(identifier, ISSUER_METADATA) == address


@pytest.mark.parametrize("identifier", ["a.example", "https://a.example?x", "https://a.example#"])
def test_an_issuer_identifier_has_no_query(identifier: str) -> None:
    with pytest.raises(WalletProtocolError):
        well_known_url(identifier, AUTHORIZATION_SERVER_METADATA)
