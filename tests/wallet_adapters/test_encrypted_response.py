"""Encrypted responses: what a wallet seals is read, and nothing that was not asked for."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey

from credentials.jcs import b64url, b64url_decode
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.encrypted_response import (
    new_response_key,
    open_response,
    public_response_key,
    seal_response,
)

KEY = new_response_key()
PUBLIC = public_response_key(KEY)
PAYLOAD = {"vp_token": {"customer": ["a~b"]}, "state": "s-1"}


def _refused(form: dict[str, str]) -> str:
    with pytest.raises(WalletProtocolError) as refused:
        open_response(form, KEY)
    assert refused.value.error == "invalid_request"
    return refused.value.code


def _sealed(header: dict[str, Any], plaintext: bytes = b"{}") -> str:
    protected = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": KEY["kid"], **header}
    names = [str(protected["alg"]), str(protected["enc"]), "DEF"]
    key = ECKey.import_key({name: PUBLIC[name] for name in ("kty", "crv", "x", "y")})
    return jwe.encrypt_compact(protected, plaintext, key, algorithms=names)


@pytest.mark.parametrize("enc", ["A128GCM", "A256GCM"])
def test_what_is_sealed_is_opened(enc: str) -> None:
    form = open_response({"response": seal_response(PAYLOAD, PUBLIC, enc=enc)}, KEY)
    assert json.loads(form["vp_token"]) == PAYLOAD["vp_token"]
    assert form["state"] == "s-1"


def test_keys_are_fresh_and_only_their_public_part_is_told() -> None:
    assert new_response_key()["x"] != KEY["x"]
    assert set(PUBLIC) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


def test_an_error_may_come_in_the_clear_and_presentations_may_not() -> None:
    assert open_response({"error": "access_denied"}, KEY) == {"error": "access_denied"}
    sealed = seal_response({"error": "access_denied", "state": "s-1"}, PUBLIC)
    assert open_response({"response": sealed}, KEY) == {"error": "access_denied", "state": "s-1"}
    assert _refused({"vp_token": "{}", "state": "s-1"}) == "response_not_encrypted"
    assert _refused({}) == "response_not_encrypted"
    both = {"response": sealed, "vp_token": "{}"}
    assert _refused(both) == "conflicting_parameters"


def test_another_requests_key_opens_nothing() -> None:
    other = public_response_key(new_response_key())
    assert _refused({"response": seal_response(PAYLOAD, other)}) == "response_unreadable"
    # Even where it names ours.
    renamed = seal_response(PAYLOAD, {**other, "kid": KEY["kid"]})
    assert _refused({"response": renamed}) == "response_unreadable"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ECDH-ES+A128KW"},
        {"enc": "A128CBC-HS256"},
        {"enc": "A192GCM"},
        {"zip": "DEF"},
        {"kid": "another"},
        {"jku": "https://keys.example"},
        {"x5u": "https://keys.example"},
    ],
)
def test_other_algorithms_and_headers(header: dict[str, str]) -> None:
    assert _refused({"response": _sealed(header)}) == "response_unreadable"


def test_a_secret_that_everybody_knows() -> None:
    header = {"alg": "dir", "enc": "A256GCM", "kid": KEY["kid"]}
    secret = OctKey.import_key(b64url_decode(str(PUBLIC["x"])))
    text = jwe.encrypt_compact(header, b"{}", secret, algorithms=["dir", "A256GCM"])
    assert _refused({"response": text}) == "response_unreadable"


@pytest.mark.parametrize(
    "point",
    [
        None,
        "text",
        {"kty": "EC", "crv": "P-384", "x": b64url(bytes(48)), "y": b64url(bytes(48))},
        {"kty": "EC", "crv": "P-256", "x": b64url(bytes(32)), "y": b64url(bytes(32))},
        {"kty": "EC", "crv": "P-256", "x": b64url(b"\x01" * 32), "y": b64url(b"\x02" * 32)},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": b64url(bytes(32))},
        KEY,
    ],
)
def test_an_ephemeral_key_that_is_no_point_of_the_curve(point: object) -> None:
    head, *rest = _sealed({}).split(".")
    header = json.loads(b64url_decode(head))
    header["epk"] = point
    text = ".".join([b64url(json.dumps(header).encode()), *rest])
    assert _refused({"response": text}) == "response_unreadable"


def test_one_changed_bit() -> None:
    parts = seal_response(PAYLOAD, PUBLIC).split(".")
    for index in (2, 3, 4):
        raw = bytearray(b64url_decode(parts[index]))
        raw[0] ^= 1
        changed = [*parts[:index], b64url(bytes(raw)), *parts[index + 1 :]]
        assert _refused({"response": ".".join(changed)}) == "response_unreadable"


@pytest.mark.parametrize("plaintext", [b"", b"[]", b"text", b"\xff", b"[" * 5_000])
def test_content_that_is_no_object(plaintext: bytes) -> None:
    assert _refused({"response": _sealed({}, plaintext)}) in {"malformed", "too_deep"}


def test_a_size_is_checked_first() -> None:
    assert _refused({"response": "a" * 600_000}) == "too_large"


@given(st.text(max_size=300))
def test_arbitrary_text_is_refused_in_the_family(text: str) -> None:
    for response in (text, f"{text}.a.b.c.d", ".".join([text] * 5)):
        with pytest.raises(WalletProtocolError):
            open_response({"response": response}, KEY)
