"""Disclosures: none that the issuer did not sign, none twice, none unused."""

import pytest

from credentials.jcs import b64url
from tests.credentials.forgery import digest_of, disclosure, issued, refused
from tests.credentials.world import (
    NOW,
    World,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


@pytest.mark.parametrize(
    "text",
    [
        disclosure("salt", "_sd", 1),
        disclosure("salt", "...", 1),
        disclosure("salt", "iat", 1),
        disclosure("salt", 5, 1),
        disclosure(5, "name", 1),
        disclosure("salt"),
        disclosure("salt", "name", 1, 2),
        disclosure("salt", 1),
        disclosure(),
        b64url(b"5"),
        b64url(b"{}"),
        b64url(b"not JSON"),
        b64url(b"\xff"),
        "not base64url!",
        disclosure("salt", "iss", "https://other.example"),
        disclosure("salt", "exp", NOW + 5),
        disclosure("salt", "status", {}),
        disclosure("salt", "vct#integrity", "sha256-AA"),
    ],
)
def test_a_wrong_disclosure_is_refused(world: World, text: str) -> None:
    credential = issued(world, _sd=[digest_of(text)]) + text + "~"
    assert refused(lambda: world.accept(credential)).code == "disclosure_invalid"


def test_a_right_disclosure_of_the_same_kind_is_not(world: World) -> None:
    text = disclosure("salt", "name", 1)
    assert world.accept(issued(world, _sd=[digest_of(text)]) + text + "~").claims["name"] == 1


def test_duplicate_and_unused_disclosures_are_refused(world: World) -> None:
    text, other = disclosure("salt", "name", 1), disclosure("salt", "other", 1)
    credential = issued(world, _sd=[digest_of(text)])
    for extra in (f"{text}~{text}~", f"{text}~{other}~", f"{other}~"):
        twice = credential + extra
        assert refused(lambda twice=twice: world.accept(twice)).code == "disclosure_invalid"  # type: ignore[misc]
    twin = issued(world, _sd=[digest_of(text)], object={"_sd": [digest_of(text)]})
    assert refused(lambda: world.accept(twin + text + "~")).code == "disclosure_invalid"


def test_a_disclosure_cannot_contain_its_own_or_another_ones_digest_twice(world: World) -> None:
    inner = disclosure("salt", "inner", 1)
    outer = disclosure("salt", "outer", {"_sd": [digest_of(inner)]})
    again = disclosure("salt", "again", {"_sd": [digest_of(inner)]})
    nested = issued(world, _sd=[digest_of(outer)]) + f"{outer}~{inner}~"
    assert world.accept(nested).claims["outer"] == {"inner": 1}
    twice = issued(world, _sd=[digest_of(outer), digest_of(again)]) + f"{outer}~{inner}~{again}~"
    assert refused(lambda: world.accept(twice)).code == "disclosure_invalid"
    orphan = issued(world, _sd=[digest_of(outer)]) + f"{inner}~"
    assert refused(lambda: world.accept(orphan)).code == "disclosure_invalid"


def test_an_array_disclosure_does_not_stand_in_an_object(world: World) -> None:
    element, claim = disclosure("salt", 1), disclosure("salt", "name", 1)
    in_object = issued(world, _sd=[digest_of(element)]) + element + "~"
    assert refused(lambda: world.accept(in_object)).code == "disclosure_invalid"
    in_array = issued(world, list=[{"...": digest_of(claim)}]) + claim + "~"
    assert refused(lambda: world.accept(in_array)).code == "disclosure_invalid"


def test_the_holders_key_cannot_be_concealed(world: World) -> None:
    concealed = disclosure("salt", "jwk", world.holder.public_jwk())
    credential = issued(world, cnf={"_sd": [digest_of(concealed)]}) + concealed + "~"
    assert refused(lambda: world.accept(credential)).code == "disclosure_invalid"
