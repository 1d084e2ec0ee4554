"""DPoP proofs and PKCE by themselves: what verifies, and everything that must not."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.jcs import b64url
from credentials.keys import SoftwareKey, sign_jws, thumbprint
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import (
    challenge_of,
    make_dpop_proof,
    new_verifier,
    read_challenge,
    verify_dpop_proof,
    verify_verifier,
)
from wallet_adapters.oauth.dpop import MAX_AGE, SKEW, normalized, token_hash

NOW = 1_795_478_400
URL = "https://consent.example/oauth/token"
KEY = SoftwareKey.generate("ES256")


def _proof(header: dict[str, Any] | None = None, key: SoftwareKey = KEY, **claims: object) -> str:
    payload = {"jti": "j-1", "htm": "POST", "htu": URL, "iat": NOW, **claims}
    stated = {name: value for name, value in payload.items() if value is not None}
    return sign_jws(key, {"typ": "dpop+jwt", "jwk": key.public_jwk(), **(header or {})}, stated)


def _verify(proof: str, **more: Any) -> Any:  # noqa: ANN401 (a proof)
    return verify_dpop_proof(proof, method="POST", url=URL, now=NOW, **more)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_a_proof_of_ours_verifies_and_names_its_key(alg: str) -> None:
    key = SoftwareKey.generate(alg)
    proof = make_dpop_proof(
        key, method="POST", url=URL + "?x=1#y", now=NOW, nonce="n-1", access_token="secret"
    )
    found = _verify(proof, access_token="secret")
    assert (found.thumbprint, found.nonce) == (thumbprint(key.public_jwk()), "n-1")
    assert found.expires_at == NOW + MAX_AGE
    again = make_dpop_proof(key, method="POST", url=URL, now=NOW)
    assert _verify(again).once != found.once


def test_the_hash_of_a_token_is_the_one_of_the_specification() -> None:
    # RFC 9449, section 7.1
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert token_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"htm": "GET"}, "dpop_proof_mismatch"),
        ({"htm": "post"}, "dpop_proof_mismatch"),
        ({"htm": None}, "dpop_proof_mismatch"),
        ({"htu": "https://consent.example/oauth/token/"}, "dpop_proof_mismatch"),
        ({"htu": "https://consent.example/t/acme/oauth/token"}, "dpop_proof_mismatch"),
        ({"htu": "http://consent.example/oauth/token"}, "dpop_proof_mismatch"),
        ({"htu": "https://elsewhere.example/oauth/token"}, "dpop_proof_mismatch"),
        ({"htu": "https://u@consent.example/oauth/token"}, "dpop_proof_mismatch"),
        ({"htu": None}, "dpop_proof_invalid"),
        ({"htu": 7}, "dpop_proof_invalid"),
        ({"iat": NOW - MAX_AGE - 1}, "dpop_proof_stale"),
        ({"iat": NOW + SKEW + 1}, "dpop_proof_stale"),
        ({"iat": None}, "dpop_proof_invalid"),
        ({"iat": True}, "dpop_proof_invalid"),
        ({"iat": "now"}, "dpop_proof_invalid"),
        ({"jti": None}, "dpop_proof_invalid"),
        ({"jti": "j" * 300}, "dpop_proof_invalid"),
    ],
)
def test_a_wrong_claim(claims: dict[str, Any], code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        _verify(_proof(**claims))
    assert (refused.value.code, refused.value.error) == (code, "invalid_dpop_proof")


@pytest.mark.parametrize(
    ("ath", "code"),
    [(None, "dpop_proof_invalid"), (b64url(bytes(32)), "dpop_proof_mismatch")],
)
def test_a_proof_for_another_token(ath: str | None, code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        _verify(_proof(ath=ath), access_token="secret")
    assert refused.value.code == code


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"crit": ["exp"]},
        {"jku": "https://keys.example"},
        {"x5u": "https://keys.example"},
        {"jwk": None},
        {"jwk": "text"},
        {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
        {"jwk": KEY.private_jwk()},
        {"jwk": SoftwareKey.generate("ES256").public_jwk()},
        {"jwk": SoftwareKey.generate("Ed25519").public_jwk()},
    ],
)
def test_a_wrong_header(header: dict[str, object]) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        _verify(_proof(header))
    assert (refused.value.code, refused.value.error) == (
        "dpop_proof_invalid", "invalid_dpop_proof",
    )  # fmt: skip


def test_without_a_signature_or_signed_by_the_public_key_as_a_secret() -> None:
    claims = b64url(json.dumps({"jti": "1", "htm": "POST", "htu": URL, "iat": NOW}).encode())
    public = json.dumps(KEY.public_jwk()).encode()
    for alg in ("none", "HS256"):
        head = b64url(json.dumps({"alg": alg, "typ": "dpop+jwt", "jwk": KEY.public_jwk()}).encode())
        text = f"{head}.{claims}"
        mac = b64url(hmac.digest(public, text.encode(), hashlib.sha256)) if alg == "HS256" else ""
        with pytest.raises(WalletProtocolError) as refused:
            _verify(f"{text}.{mac}")
        assert refused.value.code == "dpop_proof_invalid"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTPS://Consent.Example/a", "https://consent.example/a"),
        ("https://consent.example:443/a", "https://consent.example/a"),
        ("http://consent.example:80", "http://consent.example/"),
        ("https://consent.example/%7Ea%2f", "https://consent.example/~a%2F"),
        ("https://consent.example/a?b#c", "https://consent.example/a"),
    ],
)
def test_addresses_are_compared_as_the_specification_says(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


def test_a_slash_in_disguise_is_another_address() -> None:
    assert normalized("https://a.example/b%2Fc") != normalized("https://a.example/b/c")


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_arbitrary_text_is_refused_in_the_family(text: str) -> None:
    with pytest.raises(WalletProtocolError):
        _verify(text)


def test_a_challenge_fits_its_verifier_alone() -> None:
    # RFC 7636, appendix B
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge_of(verifier) == challenge
    fields = {"code_challenge": challenge, "code_challenge_method": "S256"}
    assert read_challenge(fields) == challenge
    verify_verifier(verifier, challenge)
    for other in (None, "", new_verifier(), verifier[:42], verifier + " ", challenge):
        with pytest.raises(WalletProtocolError) as refused:
            verify_verifier(other, challenge)
        assert refused.value.error == "invalid_grant"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
        {
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "plain",
        },
        {"code_challenge": "short", "code_challenge_method": "S256"},
        {"code_challenge_method": "S256"},
    ],
)
def test_only_s256_and_never_nothing(fields: dict[str, str]) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        read_challenge(fields)
    assert (refused.value.code, refused.value.error) == ("pkce_required", "invalid_request")
