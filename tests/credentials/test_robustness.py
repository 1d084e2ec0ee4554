"""Hostile input: any changed character, anything too large. `tests/fuzzing` has arbitrary bytes."""

import resource

import pytest

from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.sdjwt import MAX_DISCLOSURES, transaction_data_hash
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
