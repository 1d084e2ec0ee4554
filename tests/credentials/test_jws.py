import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey, OKPKey

from credentials.errors import (
    AlgorithmNotAllowed,
    CredentialError,
    HeaderNotAllowed,
    Malformed,
    SignatureInvalid,
    TooLarge,
    TypeMismatch,
)
from credentials.jcs import b64url
from credentials.jws import MAX_JWS_CHARACTERS, parse_jws, sign_jws, verify_jws
from credentials.keys import SoftwareKey

KEY = SoftwareKey.generate("ES256")


def forge(header: dict[str, Any], payload: bytes = b"{}", key: SoftwareKey = KEY) -> str:
    """Sign whatever header, as an attacker who holds a key would."""
    signing_input = f"{b64url(json.dumps(header).encode())}.{b64url(payload)}"
    return f"{signing_input}.{b64url(key.sign(signing_input.encode()))}"


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_joserfc_verifies_ours_and_we_verify_theirs(alg: str) -> None:
    key = SoftwareKey.generate(alg)
    theirs: Any = (ECKey if alg == "ES256" else OKPKey).import_key(key.private_jwk())
    ours = sign_jws(key, {"typ": "JWT"}, {"a": 1})
    assert joserfc_jws.deserialize_compact(ours, theirs, algorithms=[alg]).payload == b'{"a":1}'
    made = joserfc_jws.serialize_compact(
        {"alg": alg, "typ": "JWT"}, b'{"a":1}', theirs, algorithms=[alg]
    )
    assert verify_jws(made, key.public_jwk(), "jwt", [alg])[1] == {"a": 1}


def test_the_older_name_of_ed25519_is_accepted() -> None:
    key = SoftwareKey.generate("Ed25519")
    token = forge({"alg": "EdDSA", "typ": "jwt"}, key=key)
    assert verify_jws(token, key.public_jwk(), "jwt")[0]["alg"] == "EdDSA"
    with pytest.raises(AlgorithmNotAllowed):
        verify_jws(token, key.public_jwk(), "jwt", ["Ed25519", "ES256"])


def test_alg_none_is_refused() -> None:
    for alg in ("none", "None", "", None, 5, ["ES256"]):
        token = forge({"alg": alg, "typ": "jwt"}).rpartition(".")[0] + "."
        with pytest.raises(AlgorithmNotAllowed):
            verify_jws(token, KEY.public_jwk(), "jwt")
    with pytest.raises(AlgorithmNotAllowed):
        verify_jws(f"{b64url(b'{}')}.{b64url(b'{}')}.", KEY.public_jwk(), "jwt")


def test_hs256_with_the_public_key_is_refused() -> None:
    header = b64url(json.dumps({"alg": "HS256", "typ": "jwt"}).encode())
    signing_input = f"{header}.{b64url(b'{}')}"
    secret = json.dumps(KEY.public_jwk()).encode()
    tag = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
    for algs in (None, ["ES256"], ["ES256", "HS256"]):
        with pytest.raises(AlgorithmNotAllowed):
            verify_jws(f"{signing_input}.{b64url(tag)}", KEY.public_jwk(), "jwt", algs)


@pytest.mark.parametrize(
    "extra",
    [
        {"jwk": KEY.public_jwk()},
        {"jku": "https://attacker.example/keys"},
        {"x5u": "https://attacker.example/chain"},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"jwk": None},
    ],
)
def test_headers_that_bring_their_own_key_or_extension_are_refused(extra: dict[str, Any]) -> None:
    token = forge({"alg": "ES256", "typ": "jwt", **extra})
    with pytest.raises(HeaderNotAllowed):
        verify_jws(token, KEY.public_jwk(), "jwt")


def test_a_protocol_may_permit_the_one_header_it_defines() -> None:
    token = forge({"alg": "ES256", "typ": "openid4vci-proof+jwt", "jwk": KEY.public_jwk()})
    jws = parse_jws(token, typ="openid4vci-proof+jwt", permit=["jwk"])
    assert jws.header["jwk"] == KEY.public_jwk()
    with pytest.raises(HeaderNotAllowed):
        parse_jws(token, typ="openid4vci-proof+jwt", permit=["jku"])


@pytest.mark.parametrize("typ", ["JWT", "application/jwt", "jwt"])
def test_types_compare_as_media_types(typ: str) -> None:
    verify_jws(forge({"alg": "ES256", "typ": typ}), KEY.public_jwk(), "jwt")


@pytest.mark.parametrize("typ", ["kb+jwt", "", None, 7, ["jwt"]])
def test_another_type_is_refused(typ: object) -> None:
    with pytest.raises(TypeMismatch):
        verify_jws(forge({"alg": "ES256", "typ": typ}), KEY.public_jwk(), "jwt")
    with pytest.raises(TypeMismatch):
        verify_jws(forge({"alg": "ES256"}), KEY.public_jwk(), "jwt")


def test_a_type_may_be_absent_only_where_the_caller_says_so() -> None:
    verify_jws(forge({"alg": "ES256"}), KEY.public_jwk(), ("jwt", ""))
    with pytest.raises(TypeMismatch):
        verify_jws(forge({"alg": "ES256", "typ": "kb+jwt"}), KEY.public_jwk(), ("jwt", ""))


def test_another_key_does_not_verify() -> None:
    with pytest.raises(SignatureInvalid):
        verify_jws(
            forge({"alg": "ES256", "typ": "jwt"}), SoftwareKey.generate().public_jwk(), "jwt"
        )


def test_a_payload_that_is_no_object_is_refused() -> None:
    for payload in (b"[]", b"1", b"", b"{", b"\xff"):
        with pytest.raises(Malformed):
            verify_jws(forge({"alg": "ES256", "typ": "jwt"}, payload), KEY.public_jwk(), "jwt")


def test_caps_come_before_parsing() -> None:
    with pytest.raises(TooLarge):
        parse_jws("a" * (MAX_JWS_CHARACTERS + 1), typ="jwt")
    with pytest.raises(TooLarge):
        parse_jws("a" * 40_000 + "..", typ="jwt")
    deep = forge({"alg": "ES256", "typ": "jwt"}, b'{"a":' + b"[" * 50_000)
    with pytest.raises(TooLarge):
        verify_jws(deep, KEY.public_jwk(), "jwt")


def test_a_cached_header_cannot_be_changed_by_its_reader() -> None:
    token = forge({"alg": "ES256", "typ": "jwt"})
    header, _ = verify_jws(token, KEY.public_jwk(), "jwt")
    header["alg"] = "none"
    assert verify_jws(token, KEY.public_jwk(), "jwt")[0]["alg"] == "ES256"


def test_signing_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(AlgorithmNotAllowed):
        sign_jws(KEY, {"alg": "none"}, b"{}")
    with pytest.raises(Malformed):
        sign_jws(KEY, {"typ": "jwt"}, {"a": object()})


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{0,30}(\.[A-Za-z0-9_-]{0,30}){0,3}"))
def test_any_text_raises_only_the_family(token: str) -> None:
    with pytest.raises(CredentialError):
        verify_jws(token, KEY.public_jwk(), "jwt")


@given(
    st.dictionaries(
        st.sampled_from(["alg", "typ", "crit", "kid", "x5c"]),
        st.none() | st.text() | st.lists(st.text()),
    )
)
def test_any_header_raises_only_the_family(header: dict[str, Any]) -> None:
    if header.get("alg") == "ES256" and header.get("typ") == "jwt":
        return
    with pytest.raises(CredentialError):
        verify_jws(forge(header), KEY.public_jwk(), "jwt")
