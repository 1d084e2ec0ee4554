"""Hostile input: any bytes, any changed character, anything too large. Only typed errors."""

import json
import resource
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.jws import sign_jws
from credentials.sdjwt import MAX_DISCLOSURES, parse, transaction_data_hash
from credentials.status import StatusCheck
from tests.credentials.forgery import disclosure, issued
from tests.credentials.world import NOW, TERMS, VCT, World

ALPHABET = "AZaz09-_.~=+/ \n\x00é"
MEBIBYTE = 1024  # of getrusage's kibibytes


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def accepts(world: World, text: str | bytes) -> bool:
    try:
        world.accept_presentation(text, [TERMS], status=StatusCheck.BY_CALLER)
    except CredentialError:
        return False
    return True


@pytest.mark.parametrize("holder_alg", ["ES256", "Ed25519"])
def test_every_single_changed_character_fails(holder_alg: str) -> None:
    world = World.make("Ed25519", holder_alg)
    shown = world.show(
        world.issue(claims={"a": 1, "b": 2}, disclosable=["a"]), transaction_data=[TERMS]
    )
    assert accepts(world, shown)
    for position, character in enumerate(shown):
        # One neighbour in the alphabet (a flipped low bit) and one character from elsewhere.
        for other in (chr(ord(character) ^ 1), ALPHABET[position % len(ALPHABET)]):
            if other != character:
                assert not accepts(world, shown[:position] + other + shown[position + 1 :])


def test_every_dropped_or_doubled_character_fails(world: World) -> None:
    shown = world.show(transaction_data=[TERMS])
    assert accepts(world, shown)
    for position in range(0, len(shown), 3):
        assert not accepts(world, shown[:position] + shown[position + 1 :])
        assert not accepts(world, shown[:position] + shown[position] + shown[position:])


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_raise_only_the_family(world: World, data: bytes | str) -> None:
    assert not accepts(world, data)
    with suppress(CredentialError):
        parse(data).disclosable()


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["_sd", "...", "_sd_alg", "a"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=10,
)
CLAIM_NAMES = st.sampled_from(
    ["iss", "iat", "nbf", "exp", "vct", "cnf", "status", "_sd", "_sd_alg", "...", "a", "b"]
)


@given(st.dictionaries(CLAIM_NAMES, JSON_VALUES), st.lists(JSON_VALUES, max_size=3))
def test_any_signed_payload_raises_only_the_family(
    world: World, claims: dict[str, Any], parts: list[Any]
) -> None:
    # The worst sender is one with a trusted key: everything behind the signature is hostile too.
    texts = [b64url(json.dumps(part).encode()) for part in parts]
    claims.setdefault("_sd", [transaction_data_hash(text) for text in texts])
    payload = {"vct": VCT, **claims}
    header = {"typ": "dc+sd-jwt", "x5c": world.chain}
    credential = sign_jws(world.issuer_key, header, json.dumps(payload).encode())
    with suppress(CredentialError):
        world.accept(credential + "~" + "".join(f"{text}~" for text in texts))


@given(st.dictionaries(st.sampled_from(["iat", "aud", "nonce", "sd_hash", "exp"]), JSON_VALUES))
def test_any_key_binding_raises_only_the_family(world: World, claims: dict[str, Any]) -> None:
    payload = json.dumps(claims).encode()
    shown = world.issue() + sign_jws(world.holder, {"typ": "kb+jwt"}, payload)
    assert not accepts(world, shown)


def test_deep_json_meets_a_typed_error_wherever_it_stands(world: World) -> None:
    deep = b'{"a":' * 45_000
    arrays = b"[" * 90_000
    encoded, brackets = b64url(deep), b64url(arrays)
    credential = world.issue()
    for text in (
        f"{encoded}.e30.AA~",
        f"e30.{brackets}.AA~",
        f"{credential}{brackets}~",
        f"{credential}{encoded}.e30.AA",
        f"{credential}e30.{brackets}.AA",
    ):
        with pytest.raises(CredentialError) as caught:
            world.accept_presentation(text)
        assert caught.value.code in {"too_large", "malformed", "algorithm_not_allowed"}


def test_nested_disclosures_are_capped(world: World) -> None:
    # A chain in which each disclosure conceals the next: every piece is shallow.
    texts = [disclosure("salt", "end", 1)]
    for number in range(MAX_DISCLOSURES - 1):
        texts.append(disclosure("salt", f"n{number}", {"_sd": [transaction_data_hash(texts[-1])]}))
    credential = issued(world, _sd=[transaction_data_hash(texts[-1])])
    with pytest.raises(CredentialError) as caught:
        world.accept(credential + "".join(f"{text}~" for text in texts))
    assert caught.value.code == "too_large"
    few = texts[:20]
    credential = issued(world, _sd=[transaction_data_hash(few[-1])])
    assert world.accept(credential + "".join(f"{text}~" for text in few)).vct == VCT


def test_the_largest_input_costs_little_memory(world: World) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # None of these is copied whole, let alone parsed.
    for text in ("~" * 10_000_000, "a.b.c~" + "d~" * 5_000_000, "[" * 10_000_000, "." * 500_000):
        assert not accepts(world, text)
    many = "".join(f"{disclosure('salt', f'n{number}', 1)}~" for number in range(MAX_DISCLOSURES))
    assert not accepts(world, issued(world) + many)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * MEBIBYTE


def test_errors_hold_no_claim_values() -> None:
    world = World.make()
    shown = world.show(nonce="another")
    credential = world.issue()
    for call in (
        lambda: world.accept_presentation(shown),
        lambda: world.at(NOW + 10**6).accept(credential),
        lambda: world.accept(credential + disclosure("s", "given_name", "Zoe") + "~"),
    ):
        with pytest.raises(CredentialError) as caught:
            call()
        assert not any(value in str(caught.value) for value in ("Ann", "1990", "Berlin", "Zoe"))
