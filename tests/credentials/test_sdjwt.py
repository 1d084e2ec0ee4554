import json
from typing import Any

import pytest

from credentials.errors import CredentialError, DisclosureInvalid, KeyInvalid, Malformed, TooLarge
from credentials.jcs import b64url_decode
from credentials.keys import SoftwareKey
from credentials.sdjwt import (
    MAX_CHARACTERS,
    MAX_DISCLOSURES,
    ClaimPath,
    issue_sd_jwt,
    parse,
    present,
)
from tests.credentials.world import CLAIMS, NOW, World

KEY = SoftwareKey.generate()
HEADER = {"typ": "dc+sd-jwt"}


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def payload_of(credential: str) -> dict[str, Any]:
    return parse(credential).payload()


def test_the_compact_form_is_taken_apart(world: World) -> None:
    held = parse(world.issue())
    assert held.kb_jwt is None
    assert len(held.disclosures) == 5
    assert held.bound_part == held.raw
    shown = parse(world.show(held.raw).encode())
    assert shown.kb_jwt is not None
    assert shown.bound_part == held.raw
    assert (shown.issuer_jwt, shown.disclosures) == (held.issuer_jwt, held.disclosures)


@pytest.mark.parametrize(
    "text", ["", "a.b.c", "~", "~~", "a.b.c~~", "a.b.c~~d~", "~d~", "é~", b"\xff~", "a.b.c~\n~é"]
)
def test_other_forms_are_refused(text: str | bytes) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_caps_come_before_anything_else() -> None:
    with pytest.raises(TooLarge):
        parse("a" * (MAX_CHARACTERS + 1))
    with pytest.raises(TooLarge):
        parse("a.b.c" + "~d" * (MAX_DISCLOSURES + 1) + "~")
    with pytest.raises(TooLarge):
        parse("~" * MAX_CHARACTERS)
    parse("a.b.c" + "~d" * MAX_DISCLOSURES + "~")


def test_issuing_conceals_what_is_asked_and_nothing_else(world: World) -> None:
    payload = payload_of(world.issue())
    assert payload["jti"] == "copy-1"
    assert not {"given_name", "birthdate", "address"} & payload.keys()
    assert payload["nationalities"][0] == "DE"
    assert payload["nationalities"][1].keys() == {"..."}
    assert payload["_sd_alg"] == "sha-256"
    assert payload["_sd"] == sorted(payload["_sd"])
    assert len(payload["_sd"]) == 3


def test_salts_are_new_each_time_and_128_bits(world: World) -> None:
    salts = [
        json.loads(b64url_decode(disclosure))[0]
        for _ in range(20)
        for disclosure in parse(world.issue()).disclosures
    ]
    assert len(set(salts)) == len(salts) == 100
    assert all(len(b64url_decode(salt)) == 16 for salt in salts)


def test_decoys_look_like_digests() -> None:
    plain = issue_sd_jwt({"a": 1, "b": 2}, ["a"], KEY, HEADER)
    decoyed = issue_sd_jwt({"a": 1, "b": 2}, ["a"], KEY, HEADER, decoys=5)
    assert (len(payload_of(plain)["_sd"]), len(payload_of(decoyed)["_sd"])) == (1, 6)
    assert {len(digest) for digest in payload_of(decoyed)["_sd"]} == {43}
    assert parse(decoyed).claims() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("disclose", "expected"),
    [
        ([], {"jti": "copy-1", "nationalities": ["DE"]}),
        (["jti"], {"jti": "copy-1", "nationalities": ["DE"]}),
        (["unknown"], {"jti": "copy-1", "nationalities": ["DE"]}),
        (["given_name"], {"jti": "copy-1", "nationalities": ["DE"], "given_name": "Ann"}),
        (
            [("address", "city")],
            {"jti": "copy-1", "nationalities": ["DE"], "address": CLAIMS["address"]},
        ),
        (["address"], {"jti": "copy-1", "nationalities": ["DE"], "address": CLAIMS["address"]}),
        (
            [("address", "country")],
            {"jti": "copy-1", "nationalities": ["DE"], "address": {"country": "DE"}},
        ),
        ([("nationalities", None)], {"jti": "copy-1", "nationalities": ["DE", "FR"]}),
        ([("nationalities", 1)], {"jti": "copy-1", "nationalities": ["DE", "FR"]}),
        ([("nationalities", 0)], {"jti": "copy-1", "nationalities": ["DE"]}),
        (None, CLAIMS),
    ],
)
def test_presenting_shows_what_is_chosen(
    world: World, disclose: list[ClaimPath] | None, expected: dict[str, Any]
) -> None:
    claims = present(world.issue(), disclose).claims()
    assert {name: claims[name] for name in CLAIMS if name in claims} == expected


def test_disclosable_paths_are_known_to_the_holder(world: World) -> None:
    assert set(parse(world.issue()).disclosable()) == {
        ("given_name",),
        ("birthdate",),
        ("address",),
        ("address", "city"),
        ("nationalities", 1),
    }


@pytest.mark.parametrize(
    "disclosable",
    [["unknown"], [("a", "b")], [("list", 2)], [("list", -1)], [("list", "x")], [("list", None)]],
)
def test_paths_that_lead_nowhere_are_refused(disclosable: list[ClaimPath]) -> None:
    with pytest.raises(DisclosureInvalid):
        issue_sd_jwt({"a": 1, "list": [1, 2]}, disclosable, KEY, HEADER)


@pytest.mark.parametrize("claims", [{"_sd": []}, {"a": {"_sd": []}}, {"a": [{"...": "x"}]}])
def test_reserved_names_are_refused_at_issuance(claims: dict[str, Any]) -> None:
    with pytest.raises(DisclosureInvalid):
        issue_sd_jwt(claims, [], KEY, HEADER)


def test_what_no_verifier_would_read_is_not_issued() -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(TooLarge):
        issue_sd_jwt({"deep": deep}, [], KEY, HEADER)
    with pytest.raises(Malformed):
        issue_sd_jwt({"a": object()}, [], KEY, HEADER)


@pytest.mark.parametrize(
    "name", ["iss", "iat", "nbf", "exp", "vct", "vct#integrity", "cnf", "status"]
)
def test_registered_claims_have_arguments_and_stay_open(world: World, name: str) -> None:
    with pytest.raises(DisclosureInvalid):
        world.issue(claims={name: 1})
    with pytest.raises(DisclosureInvalid):
        world.issue(claims={}, disclosable=[name])


def test_type_metadata_integrity_and_key_id_are_carried(world: World) -> None:
    credential = world.issue(vct_integrity="sha256-AAAA", key_id="issuer-1", not_before=NOW)
    verified = world.accept(credential)
    assert verified.claims["vct#integrity"] == "sha256-AAAA"
    header = json.loads(b64url_decode(credential.split(".")[0]))
    assert header == {
        "alg": "ES256",
        "typ": "dc+sd-jwt",
        "kid": "issuer-1",
        "x5c": world.chain,
    }


def test_the_holder_key_is_carried_without_its_private_part(world: World) -> None:
    private = world.holder.private_jwk() | {"kid": "1"}
    assert payload_of(world.issue(holder_jwk=private))["cnf"] == {"jwk": world.holder.public_jwk()}
    with pytest.raises(KeyInvalid):
        world.issue(holder_jwk={"kty": "EC", "crv": "P-256", "x": "AA"})
    with pytest.raises(Malformed):
        world.issue(vct="")


def test_a_holder_that_reads_its_own_still_meets_the_caps() -> None:
    for text in ("a.b~", "a.b.c.d~", "a.!.c~", "a.e30.c~e30~"):
        with pytest.raises(CredentialError):
            parse(text).claims()
