"""The key binding: each way in which it can be wrong, and the code that says so."""

from typing import Any

import pytest

from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.jws import sign_jws
from credentials.keys import SoftwareKey, thumbprint
from credentials.model import StatusReference
from credentials.sdjwt import bind, parse, present, transaction_data_hash
from tests.credentials.forgery import refused, resigned
from tests.credentials.world import (
    AUDIENCE,
    CLAIMS,
    ISSUER,
    NONCE,
    NOW,
    STATUS_URI,
    TERMS,
    VCT,
    World,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


@pytest.mark.parametrize("issuer_alg", ["ES256", "Ed25519"])
@pytest.mark.parametrize("holder_alg", ["ES256", "Ed25519"])
def test_a_presentation_verifies_and_says_what_it_proves(issuer_alg: str, holder_alg: str) -> None:
    world = World.make(issuer_alg, holder_alg)
    shown = world.show(disclose=["given_name", ("address", "city")], transaction_data=[TERMS])
    verified = world.accept_presentation(shown, [TERMS])
    credential = verified.credential
    assert credential.claims["given_name"] == "Ann"
    assert credential.claims["address"] == {"city": "Berlin", "country": "DE"}
    assert credential.claims["nationalities"] == ["DE"]
    assert "birthdate" not in credential.claims
    assert not {"_sd", "_sd_alg", "..."} & credential.claims.keys()
    assert (credential.issuer, credential.vct) == (ISSUER, VCT)
    assert (credential.issued_at, credential.expires_at) == (NOW, NOW + 86_400)
    assert credential.status == StatusReference(STATUS_URI, 7)
    assert credential.issuer_chain is not None
    assert credential.issuer_chain.names == ("https://issuer.example",)
    assert verified.holder_jwk == world.holder.public_jwk()
    assert verified.holder_thumbprint == thumbprint(world.holder.public_jwk())
    assert (verified.nonce, verified.audience, verified.signed_at) == (NONCE, AUDIENCE, NOW)
    assert verified.transaction_data_hashes == (transaction_data_hash(TERMS),)
    assert verified.raw == shown


def test_a_credential_as_issued_verifies_with_all_its_claims(world: World) -> None:
    verified = world.accept(world.issue(), issuer=ISSUER, vct=[VCT])
    assert {name: verified.claims[name] for name in CLAIMS} == CLAIMS
    assert verified.holder_jwk == world.holder.public_jwk()


def test_transaction_data_may_come_in_any_order(world: World) -> None:
    shown = world.show(transaction_data=[TERMS, "b3RoZXI"])
    assert len(world.accept_presentation(shown, ["b3RoZXI", TERMS]).transaction_data_hashes) == 2


@pytest.mark.parametrize(
    ("signed_at", "code"),
    [
        (NOW - 301, "key_binding_expired"),
        (NOW - 300, None),
        (NOW + 60, None),
        (NOW + 61, "key_binding_in_future"),
        (0, "key_binding_expired"),
    ],
)
def test_the_time_of_signing_lies_within_the_window(
    world: World, signed_at: int, code: str | None
) -> None:
    shown = world.show(now=signed_at)
    if code is None:
        assert world.accept_presentation(shown).signed_at == signed_at
    else:
        assert refused(lambda: world.accept_presentation(shown)).code == code


def test_the_window_is_the_verifiers_choice(world: World) -> None:
    old, early = world.show(now=NOW - 3000), world.show(now=NOW + 30)
    assert world.accept_presentation(old, max_age=3600).signed_at == NOW - 3000
    assert refused(lambda: world.accept_presentation(early, skew=10)).code == (
        "key_binding_in_future"
    )


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": "https://other.example"}, "audience_mismatch"),
        ({"aud": [AUDIENCE]}, "audience_mismatch"),
        ({"aud": None}, "audience_mismatch"),
        ({"nonce": "another"}, "nonce_mismatch"),
        ({"nonce": None}, "nonce_mismatch"),
        ({"sd_hash": b64url(bytes(32))}, "sd_hash_mismatch"),
        ({"sd_hash": None}, "sd_hash_mismatch"),
        ({"iat": None}, "malformed"),
        ({"iat": "now"}, "malformed"),
        ({"iat": True}, "malformed"),
        ({"exp": NOW}, "expired"),
        ({"nbf": NOW + 61}, "key_binding_in_future"),
        ({"transaction_data_hashes": []}, "transaction_data_mismatch"),
        ({"transaction_data_hashes": None}, "transaction_data_mismatch"),
        ({"transaction_data_hashes": "x"}, "transaction_data_mismatch"),
        ({"transaction_data_hashes": [1]}, "transaction_data_mismatch"),
        ({"transaction_data_hashes": [b64url(bytes(32))]}, "transaction_data_mismatch"),
        ({"transaction_data_hashes_alg": "sha-512"}, "transaction_data_mismatch"),
    ],
)
def test_every_claim_of_the_kb_jwt_is_checked(
    world: World, claims: dict[str, Any], code: str
) -> None:
    shown = world.show(transaction_data=[TERMS])
    assert world.accept_presentation(resigned(world, shown), [TERMS]).nonce == NONCE
    wrong = resigned(world, shown, **claims)
    assert refused(lambda: world.accept_presentation(wrong, [TERMS])).code == code


@pytest.mark.parametrize(
    ("signed", "asked"),
    [
        ([], [TERMS]),
        ([TERMS], []),
        (["b3RoZXI"], [TERMS]),
        ([TERMS, "b3RoZXI"], [TERMS]),
        ([TERMS, TERMS], [TERMS]),
        ([TERMS], [TERMS, "b3RoZXI"]),
    ],
)
def test_exactly_the_transaction_data_of_the_request_is_signed(
    world: World, signed: list[str], asked: list[str]
) -> None:
    shown = world.show(transaction_data=signed)
    assert refused(lambda: world.accept_presentation(shown, asked)).code == (
        "transaction_data_mismatch"
    )


def test_the_transaction_data_hash_covers_the_string_as_sent() -> None:
    # The same JSON in another spelling is another transaction.
    one, other = b64url(b'{"a":1}'), b64url(b'{"a": 1}')
    assert transaction_data_hash(one) != transaction_data_hash(other)


def test_a_dropped_or_added_disclosure_breaks_sd_hash(world: World) -> None:
    credential = world.issue()
    shown = parse(world.show(credential))
    fewer = "~".join((shown.issuer_jwt, *shown.disclosures[1:], str(shown.kb_jwt)))
    assert refused(lambda: world.accept_presentation(fewer)).code == "sd_hash_mismatch"
    little = parse(world.show(credential, ["given_name"]))
    more = "~".join((shown.issuer_jwt, *shown.disclosures, str(little.kb_jwt)))
    assert refused(lambda: world.accept_presentation(more)).code == "sd_hash_mismatch"


def test_a_kb_jwt_does_not_move_to_another_copy(world: World) -> None:
    one, other = parse(world.show()), parse(world.show())
    mixed = one.bound_part + str(other.kb_jwt)
    assert refused(lambda: world.accept_presentation(mixed)).code == "sd_hash_mismatch"


def test_a_verifier_that_asks_for_nothing_accepts_nothing(world: World) -> None:
    for name, code in (("nonce", "nonce_mismatch"), ("audience", "audience_mismatch")):
        empty = {name: ""}
        shown = world.show(**empty)
        assert refused(lambda s=shown, e=empty: world.accept_presentation(s, **e)).code == code  # type: ignore[misc]


def test_another_holders_signature_is_refused(world: World) -> None:
    shown = world.show(holder_signer=SoftwareKey.generate())
    assert refused(lambda: world.accept_presentation(shown)).code == "signature_invalid"


def test_a_presentation_needs_key_binding(world: World) -> None:
    assert refused(lambda: world.accept_presentation(world.issue())).code == "key_binding_missing"
    bearer = world.issue(holder_jwk=None)
    shown = world.show(bearer)
    assert refused(lambda: world.accept_presentation(shown)).code == "key_binding_missing"


def test_a_presentation_is_no_credential_as_issued(world: World) -> None:
    assert refused(lambda: world.accept(world.show())).code == "key_binding_unexpected"
    with pytest.raises(CredentialError) as caught:
        present(world.show(), [])
    assert caught.value.code == "key_binding_unexpected"
    with pytest.raises(CredentialError):
        bind(parse(world.show()), world.holder, nonce=NONCE, audience=AUDIENCE, now=NOW)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"typ": "jwt"}, "type_mismatch"),
        ({}, "type_mismatch"),
        ({"typ": "dc+sd-jwt"}, "type_mismatch"),
        ({"typ": "kb+jwt", "jwk": {}}, "header_not_allowed"),
        ({"typ": "kb+jwt", "jku": "https://a.example"}, "header_not_allowed"),
        ({"typ": "kb+jwt", "x5u": "https://a.example"}, "header_not_allowed"),
        ({"typ": "kb+jwt", "crit": ["exp"]}, "header_not_allowed"),
    ],
)
def test_the_kb_jwt_header_is_checked(world: World, header: dict[str, Any], code: str) -> None:
    shown = world.show()
    headed = parse(shown).bound_part + sign_jws(world.holder, header, {})
    assert refused(lambda: world.accept_presentation(headed)).code == code
