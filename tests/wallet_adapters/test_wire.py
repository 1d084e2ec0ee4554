"""Untrusted bytes: what is too large, too deep, repeated or no message at all."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.wire import (
    MAX_DEPTH,
    MAX_FIELDS,
    check_depth,
    decode_base64url,
    is_url,
    is_url_safe,
    optional_text,
    parse_form,
    parse_json,
    parse_json_object,
    parse_query,
    require_object,
    require_strings,
    require_text,
    require_url,
)


def code_of(refused: pytest.ExceptionInfo[WalletProtocolError]) -> str:
    return refused.value.code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"a":"' + b"x" * 100 + b'"}', "too_large", id="large"),
        pytest.param(b"[" * 40 + b"]" * 40, "too_deep", id="deep"),
        pytest.param(b"[" * 40, "too_deep", id="deep and open"),
        pytest.param(b'{"a":1,"a":2}', "repeated_parameter", id="repeated"),
        pytest.param(b'{"b":{"a":1,"a":1}}', "repeated_parameter", id="repeated below"),
        pytest.param(b"", "malformed", id="empty"),
        pytest.param(b"{'a':1}", "malformed", id="not JSON"),
        pytest.param(b'"\xff"', "malformed", id="not UTF-8"),
        pytest.param(b'{"a":NaN}', "malformed", id="NaN"),
        pytest.param(b"[1]", "malformed", id="no object"),
        pytest.param(b'{"a":' + b"9" * 60 + b"}", None, id="a large number is a number"),
    ],
)
def test_json_objects(body: bytes, code: str | None) -> None:
    if code is None:
        assert parse_json_object(body, what="it", max_bytes=100)
        return
    with pytest.raises(WalletProtocolError) as refused:
        parse_json_object(body, what="it", max_bytes=100, error="invalid_proof")
    assert code_of(refused) == code
    assert refused.value.error == "invalid_proof"


def test_json_at_the_limits_passes() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    text = json.dumps(value)
    assert parse_json(text, what="it", max_bytes=len(text)) == value
    check_depth(value, what="it")
    with pytest.raises(WalletProtocolError) as refused:
        check_depth([value], what="it")
    assert code_of(refused) == "too_deep"


def test_text_with_lone_surrogates_is_malformed() -> None:
    with pytest.raises(WalletProtocolError) as refused:
        parse_json('"\ud800"', what="it")
    assert code_of(refused) == "malformed"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"a=" + b"1" * 100, "too_large", id="large"),
        pytest.param(b"a=1&a=1", "repeated_parameter", id="repeated"),
        pytest.param(b"a=%ff", "malformed", id="not UTF-8"),
        pytest.param("a=ü".encode(), "malformed", id="not ASCII"),
        pytest.param(b"&".join(b"%d=1" % n for n in range(MAX_FIELDS + 1)), "malformed", id="many"),
    ],
)
def test_forms(body: bytes, code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        parse_form(body, max_bytes=100 if code == "too_large" else 10_000)
    assert code_of(refused) == code


def test_a_form_is_decoded() -> None:
    assert parse_form(b"a=%C3%BC+x&b=&c=1%262") == {"a": "ü x", "b": "", "c": "1&2"}
    assert parse_form(b"") == {}


@pytest.mark.parametrize(
    "address",
    [
        "https://a.example/b?c=d",
        "http://127.0.0.1:8000",
        "http://[::1]:8000/x",
        "https://a.example:443",
    ],
)
def test_addresses(address: str) -> None:
    assert is_url(address)
    assert require_url({"u": address}, "u", what="it") == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a.example",
        "ftp://a.example",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https://a b.example",
        "https://a.example/\n",
        "https://ü.example",
        "https://user@a.example",
        "https://a.example\\.b.example",
        "https://a.example:0",
        "https://a.example:99999",
        "https://[::1",
    ],
)
def test_what_is_no_address(address: str) -> None:
    assert not is_url(address)


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a=", "ü", "a\n"])
def test_what_no_nonce_may_hold(text: str) -> None:
    assert not is_url_safe(text)
    assert is_url_safe("aZ09-._~")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "missing_parameter"),
        ("", "missing_parameter"),
        (1, "malformed"),
        (["a"], "malformed"),
        ("x" * 21, "too_large"),
    ],
)
def test_required_text(value: object, code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        require_text({"a": value}, "a", what="it", max_length=20)
    assert code_of(refused) == code
    assert optional_text({}, "a", what="it") is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "missing_parameter"),
        ([], "malformed"),
        ("a", "malformed"),
        (["a", ""], "malformed"),
        (["a", 1], "malformed"),
    ],
)
def test_required_arrays(value: object, code: str) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        require_strings({"a": value}, "a", what="it")
    assert code_of(refused) == code


def test_required_objects() -> None:
    assert require_object({"a": {}}, "a", what="it") == {}
    for value, code in ((None, "missing_parameter"), ([], "malformed")):
        with pytest.raises(WalletProtocolError) as refused:
            require_object({"a": value}, "a", what="it")
        assert code_of(refused) == code


def test_base64url_is_strict() -> None:
    assert decode_base64url("aGk", what="it") == b"hi"
    for text in ("aGk=", "aGl", "a", "aG k", "aG/k", "ü"):
        with pytest.raises(WalletProtocolError):
            decode_base64url(text, what="it")


def test_an_error_becomes_a_body_of_allowed_characters() -> None:
    problem = WalletProtocolError('say "ü" \\ \n', error="invalid_proof")
    assert problem.body() == {"error": "invalid_proof", "error_description": "say ''' ' '"}


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_the_family_only(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    attempts: list[Callable[[], object]] = [
        lambda: parse_json(data, what="it"),
        lambda: parse_json_object(data, what="it"),
        lambda: parse_json_object(text, what="it"),
        lambda: parse_form(data),
        lambda: parse_query(text, what="it"),
        lambda: parse_query(f"x://?{text}", what="it"),
        lambda: decode_base64url(text, what="it"),
    ]
    for attempt in attempts:
        try:
            attempt()
        except WalletProtocolError as problem:
            assert problem.body()["error_description"].isascii()  # noqa: PT017  any outcome is fine
    is_url(text)
