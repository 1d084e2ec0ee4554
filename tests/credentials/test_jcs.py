import json
from contextlib import suppress
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from credentials.errors import CredentialError, Malformed, TooLarge
from credentials.jcs import b64url, b64url_decode, canonical
from credentials.json_reader import MAX_DEPTH, read_json, read_json_object

SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | SAFE_INTEGERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_canonical_json_equals_the_reference_implementation(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


def test_keys_sort_by_utf16_units_not_by_code_points() -> None:
    # RFC 8785, section 3.2.3: the emoji is a surrogate pair, D83D..., which precedes U+FB33.
    value = {"\ufb33": 1, "\U0001f600": 2, "a": 3}
    assert canonical(value) == '{"a":3,"\U0001f600":2,"\ufb33":1}'.encode()


@pytest.mark.parametrize("value", [1.5, 2**53, b"x", {1: 2}, "\ud800", {"a": object()}])
def test_values_without_one_spelling_have_no_canonical_form(value: object) -> None:
    with pytest.raises(Malformed):
        canonical(value)


def test_canonical_form_of_deep_values_is_refused() -> None:
    value: object = 1
    for _ in range(65):
        value = [value]
    with pytest.raises(TooLarge):
        canonical(value)


@given(st.binary())
def test_base64url_round_trips(data: bytes) -> None:
    assert b64url_decode(b64url(data)) == data


@given(st.text(max_size=40))
def test_base64url_has_one_spelling_per_value(text: str) -> None:
    try:
        decoded = b64url_decode(text)
    except Malformed:
        return
    assert b64url(decoded) == text


@pytest.mark.parametrize(
    "text", ["A", "QQ==", "QR", "Q-=", "a+b/", "QUI.", "QU\n", "é", "Q Q", "=="]
)
def test_base64url_refuses_other_spellings(text: str) -> None:
    with pytest.raises(Malformed):
        b64url_decode(text)


def test_90000_brackets_are_refused_before_parsing() -> None:
    for text in (b"[" * 90_000, b'{"a":' * 40_000, b'["' + b'\\"' * 50 + b'",' + b"[" * 30):
        with pytest.raises(TooLarge):
            read_json(text)


def test_brackets_within_strings_do_not_count() -> None:
    text = json.dumps(["[[[[[[{{{{{{" * 20, '\\"[[[[']).encode()
    assert read_json(text) == json.loads(text)


def test_depth_is_exact() -> None:
    inside = b"[" * MAX_DEPTH + b"1" * 40 + b"]" * MAX_DEPTH
    read_json(inside)
    with pytest.raises(TooLarge):
        read_json(b"[" + inside + b"]")
    # Many brackets side by side are not deep.
    read_json(b"[" + b"[]," * 500 + b"[]]")


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_the_family(data: bytes) -> None:
    with suppress(CredentialError):
        read_json_object(data)
