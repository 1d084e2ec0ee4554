from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.did import (
    assertion_keys,
    did_document,
    did_jwk,
    did_key,
    did_web,
    did_web_url,
    resolve,
)
from credentials.errors import DidInvalid, KeyInvalid
from credentials.keys import SoftwareKey

# did:key method specification, test vectors for Ed25519 and P-256.
ED25519_DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
ED25519_X = "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"
P256_DID = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169"


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_keys_survive_did_key_and_did_jwk(alg: str) -> None:
    jwk = SoftwareKey.generate(alg).public_jwk()
    for did in (did_key(jwk), did_jwk(jwk | {"kid": "dropped"})):
        document = resolve(did)
        assert document["id"] == did
        assert assertion_keys(document) == [jwk]
        assert assertion_keys(document, document["assertionMethod"][0]) == [jwk]
        with pytest.raises(DidInvalid):
            assertion_keys(document, f"{did}#other")


def test_did_key_matches_the_published_vectors() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": ED25519_X}
    assert did_key(jwk) == ED25519_DID
    assert assertion_keys(resolve(ED25519_DID)) == [jwk]
    assert did_key(assertion_keys(resolve(P256_DID))[0]) == P256_DID


def test_did_jwk_holds_no_private_part() -> None:
    key = SoftwareKey.generate()
    assert did_jwk(key.private_jwk()) == did_jwk(key.public_jwk())


@pytest.mark.parametrize(
    ("url", "did", "document"),
    [
        (
            "https://broker.example",
            "did:web:broker.example",
            "https://broker.example/.well-known/did.json",
        ),
        (
            "https://broker.example:8443/t/1/",
            "did:web:broker.example%3A8443:t:1",
            "https://broker.example:8443/t/1/did.json",
        ),
        (
            "http://127.0.0.1:8000/t/ä",
            "did:web:127.0.0.1%3A8000:t:%C3%A4",
            "https://127.0.0.1:8000/t/%C3%A4/did.json",
        ),
    ],
)
def test_did_web_names_its_document(url: str, did: str, document: str) -> None:
    assert did_web(url) == did
    assert did_web_url(did) == document
    assert did_web_url(did, scheme="http") == document.replace("https://", "http://")


@pytest.mark.parametrize(
    "did",
    [
        "did:web:",
        "did:web:user%40host",
        "did:web:host%2Fpath",
        "did:web:host:..",
        "did:web:host:%2e%2e",
        "did:web:host:a%2Fb",
        "did:web:host::a",
        "did:web:host:%25",
        "did:web:host%3A80%0D%0Ax",
        "did:web:host#key",
        "did:web:" + "a" * 3000,
        "did:key:z6Mk",
        "web:host",
        "",
    ],
)
def test_did_web_refuses_what_is_no_host_and_plain_path(did: str) -> None:
    with pytest.raises(DidInvalid):
        did_web_url(did)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "https://",
        "https://host?x=1",
        "https://host#x",
        "https://[host",
        "x",
        "https://[::1]",
        "https://u@h",
    ],
)
def test_not_every_url_has_a_did(url: str) -> None:
    with pytest.raises(DidInvalid):
        did_web(url)


def test_a_did_web_document_must_be_its_own() -> None:
    did = "did:web:broker.example"
    jwk = SoftwareKey.generate().public_jwk()
    document = did_document(did, {"key-1": jwk})
    assert resolve(did, document) is document
    assert assertion_keys(document, f"{did}#key-1") == [jwk]
    for other in (None, {}, {"id": "did:web:other.example"}):
        with pytest.raises(DidInvalid):
            resolve(did, other)
    embedded = {"id": did, "verificationMethod": [], "assertionMethod": [{"publicKeyJwk": jwk}]}
    assert assertion_keys(embedded) == [jwk]
    broken: dict[str, Any]
    for broken in ({}, {"assertionMethod": [], "verificationMethod": []}, {"assertionMethod": 5}):
        with pytest.raises(DidInvalid):
            assertion_keys(broken)
    with pytest.raises(KeyInvalid):
        did_document(did, {"key-1": {"kty": "EC"}})


@pytest.mark.parametrize(
    "did",
    [
        "did:key:6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "did:key:z",
        "did:key:z0OIl",
        "did:key:z" + "1" * 200,
        "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc",
        "did:jwk:",
        "did:jwk:e30",
        "did:jwk:!!",
        "did:example:123",
        "did:KEY:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
    ],
)
def test_broken_and_foreign_dids_are_refused(did: str) -> None:
    with pytest.raises(DidInvalid):
        resolve(did)


@given(st.text(max_size=60), st.sampled_from(["", "did:", "did:key:z", "did:jwk:", "did:web:"]))
def test_any_text_raises_only_the_family(text: str, prefix: str) -> None:
    for call in (resolve, did_web_url, did_web):
        with suppress(DidInvalid):
            call(prefix + text)
