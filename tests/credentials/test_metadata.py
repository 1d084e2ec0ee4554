import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.errors import (
    CredentialError,
    IssuerMismatch,
    KeyInvalid,
    Malformed,
    TooLarge,
    TypeMismatch,
)
from credentials.metadata import (
    integrity,
    issuer_metadata,
    issuer_metadata_url,
    read_issuer_metadata,
    read_type_metadata,
)
from tests.credentials.world import ISSUER, VCT, World

DOCUMENT = json.dumps({"vct": VCT, "name": "Customer"}).encode()


def test_integrity_matches_a_known_value() -> None:
    assert integrity(b"abc") == "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="


def test_type_metadata_is_the_document_that_the_credential_names() -> None:
    world = World.make()
    credential = world.accept(world.issue(vct_integrity=integrity(DOCUMENT)))
    expected = credential.claims["vct#integrity"]
    metadata = read_type_metadata(DOCUMENT, vct=credential.vct, expected=expected)
    assert metadata["name"] == "Customer"
    with pytest.raises(TypeMismatch):
        read_type_metadata(DOCUMENT + b" ", vct=VCT, expected=expected)
    with pytest.raises(TypeMismatch):
        read_type_metadata(DOCUMENT, vct="https://other.example/vct")


def test_the_strongest_hash_decides() -> None:
    wrong = "sha512-" + "A" * 86 + "=="
    with pytest.raises(TypeMismatch):
        read_type_metadata(DOCUMENT, vct=VCT, expected=f"{integrity(DOCUMENT)} {wrong}")
    other = integrity(b"other")
    read_type_metadata(DOCUMENT, vct=VCT, expected=f"{other} {integrity(DOCUMENT)}")
    for unknown in ("", "md5-AAAA", "sha256"):
        with pytest.raises(TypeMismatch):
            read_type_metadata(DOCUMENT, vct=VCT, expected=unknown)


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://a.example", "https://a.example/.well-known/jwt-vc-issuer"),
        ("https://a.example/", "https://a.example/.well-known/jwt-vc-issuer"),
        ("https://a.example:1/t/1", "https://a.example:1/.well-known/jwt-vc-issuer/t/1"),
    ],
)
def test_issuer_metadata_stand_between_host_and_path(issuer: str, url: str) -> None:
    assert issuer_metadata_url(issuer) == url


@pytest.mark.parametrize(
    "issuer", ["did:web:a", "https://", "https://a?x", "https://a#x", "https://[a"]
)
def test_an_issuer_without_url_has_no_metadata(issuer: str) -> None:
    with pytest.raises(Malformed):
        issuer_metadata_url(issuer)


def test_issuer_metadata_give_the_keys_that_verify() -> None:
    world = World.make()
    document = json.dumps(issuer_metadata(ISSUER, {"k1": world.issuer_key.private_jwk()})).encode()
    assert world.issuer_key.private_jwk()["d"].encode() not in document
    keys = read_issuer_metadata(document, issuer=ISSUER)
    credential = world.issue(x5c=[], key_id="k1")
    assert world.accept(credential, issuer_keys={ISSUER: keys}).issuer == ISSUER
    with pytest.raises(IssuerMismatch):
        read_issuer_metadata(document, issuer="https://issuer.example/t/2")
    with pytest.raises(KeyInvalid):
        issuer_metadata(ISSUER, {"k1": {}})


@pytest.mark.parametrize("jwks", [None, {}, {"keys": []}, {"keys": [5]}, {"keys": {}}, []])
def test_issuer_metadata_without_keys_are_refused(jwks: object) -> None:
    with pytest.raises(Malformed):
        read_issuer_metadata(json.dumps({"issuer": ISSUER, "jwks": jwks}).encode(), issuer=ISSUER)


@given(st.binary(max_size=100))
def test_any_bytes_raise_only_the_family(document: bytes) -> None:
    with pytest.raises(CredentialError):
        read_type_metadata(document, vct=VCT)
    with pytest.raises(CredentialError):
        read_issuer_metadata(document, issuer=ISSUER)
    with pytest.raises(TooLarge):
        read_type_metadata(document + b"[" * 300_000, vct=VCT)
