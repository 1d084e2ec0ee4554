"""The credential: each way in which it can be wrong, and the code that says so."""

import json
from typing import Any

import pytest

from credentials.jcs import b64url, b64url_decode
from credentials.keys import SoftwareKey
from credentials.sdjwt import issue_sd_jwt, parse
from tests.credentials.forgery import issued, refused
from tests.credentials.world import (
    ISSUER,
    NOW,
    STATUS_URI,
    VCT,
    World,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def test_a_credential_without_tilde_is_refused(world: World) -> None:
    bare = world.issue(claims={}, disclosable=[])
    assert refused(lambda: world.accept(bare[:-1])).code == "malformed"
    assert world.accept(bare).vct == VCT
    full = world.issue()
    # Without its last tilde the last disclosure stands where a KB-JWT would.
    assert refused(lambda: world.accept(full[:-1])).code == "key_binding_unexpected"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"typ": "vc+sd-jwt"}, "type_mismatch"),
        ({"typ": "example+sd-jwt"}, "type_mismatch"),
        ({"typ": "jwt"}, "type_mismatch"),
        ({}, "type_mismatch"),
        ({"typ": "dc+sd-jwt", "jwk": {"kty": "EC"}}, "header_not_allowed"),
        ({"typ": "dc+sd-jwt", "crit": ["x"]}, "header_not_allowed"),
        ({"typ": "dc+sd-jwt"}, "untrusted_chain"),
        ({"typ": "dc+sd-jwt", "kid": "1"}, "untrusted_chain"),
        ({"typ": "dc+sd-jwt", "x5c": []}, "untrusted_chain"),
        ({"typ": "dc+sd-jwt", "x5c": ["AAAA"]}, "untrusted_chain"),
        ({"typ": "dc+sd-jwt", "x5c": "AAAA"}, "malformed"),
        ({"typ": "dc+sd-jwt", "x5c": [["AAAA"]]}, "malformed"),
    ],
)
def test_the_issuer_header_is_checked(world: World, header: dict[str, Any], code: str) -> None:
    assert refused(lambda: world.accept(issued(world, header))).code == code


@pytest.mark.parametrize("alg", ["none", "HS256", "RS256"])
def test_unsafe_algorithms_of_the_issuer_are_refused(world: World, alg: str) -> None:
    shown = parse(world.issue())
    _, payload, signature = shown.issuer_jwt.split(".")
    header = b64url(json.dumps({"alg": alg, "typ": "dc+sd-jwt", "x5c": world.chain}).encode())
    forged = "~".join((f"{header}.{payload}.{signature}", *shown.disclosures, ""))
    assert refused(lambda: world.accept(forged)).code == "algorithm_not_allowed"


def test_another_issuers_root_is_not_trusted_and_the_message_says_why(world: World) -> None:
    error = refused(lambda: world.accept(World.make().issue()))
    assert error.code == "untrusted_chain"
    assert "certificate 0 (CN=Example Issuer)" in str(error)
    assert "CN=Example Root" in str(error)
    assert refused(lambda: world.accept(world.issue(), anchors=[])).code == "untrusted_chain"


def test_a_leaf_of_the_same_root_does_not_sign_for_another_issuer(world: World) -> None:
    foreign = world.issue(issuer="https://another.example")
    assert refused(lambda: world.accept(foreign)).code == "issuer_mismatch"
    beside = world.issue(issuer="https://issuer.example.attacker.example/t/1")
    assert refused(lambda: world.accept(beside)).code == "issuer_mismatch"


def test_issuer_and_type_are_the_expected_ones(world: World) -> None:
    credential = world.issue()
    wrong = refused(lambda: world.accept(credential, issuer="https://issuer.example/t/2"))
    assert wrong.code == "issuer_mismatch"
    for vct in ("https://issuer.example/vct/consent/1", ["a", "b"], []):
        assert refused(lambda vct=vct: world.accept(credential, vct=vct)).code == "type_mismatch"  # type: ignore[misc]
    assert refused(lambda: world.accept(issued(world, vct=None))).code == "type_mismatch"


def test_the_payload_signature_is_checked(world: World) -> None:
    header, payload, signature = parse(world.issue()).issuer_jwt.split(".")
    claims = json.loads(b64url_decode(payload)) | {"jti": "copy-2"}
    forged = f"{header}.{b64url(json.dumps(claims).encode())}.{signature}~"
    assert refused(lambda: world.accept(forged)).code == "signature_invalid"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 1.5}, "expired"),
        ({"exp": "tomorrow"}, "malformed"),
        ({"nbf": NOW + 61}, "not_yet_valid"),
        ({"iat": NOW + 61}, "not_yet_valid"),
        ({"iat": [NOW]}, "malformed"),
        ({"iss": 5}, "malformed"),
        ({"cnf": {}}, "malformed"),
        ({"cnf": {"kid": "1"}}, "malformed"),
        ({"cnf": "key"}, "malformed"),
        ({"_sd_alg": "md5"}, "algorithm_not_allowed"),
        ({"_sd_alg": 5}, "algorithm_not_allowed"),
        ({"_sd": "digest"}, "disclosure_invalid"),
        ({"_sd": [5]}, "disclosure_invalid"),
        ({"_sd": ["digest", "digest"]}, "disclosure_invalid"),
        ({"list": [{"...": 5}]}, "disclosure_invalid"),
        ({"list": [{"...": "digest", "more": 1}]}, "disclosure_invalid"),
        ({"object": {"...": "digest"}}, "disclosure_invalid"),
        ({"status": "ok"}, "status_unavailable"),
        ({"status": {"status_list": {"idx": -1, "uri": STATUS_URI}}}, "status_unavailable"),
        ({"status": {"status_list": {"idx": True, "uri": STATUS_URI}}}, "status_unavailable"),
        ({"status": {"other": {}}}, "status_unavailable"),
    ],
)
def test_registered_claims_are_checked(world: World, claims: dict[str, Any], code: str) -> None:
    assert world.accept(issued(world)).issuer == ISSUER
    assert refused(lambda: world.accept(issued(world, **claims))).code == code


def test_times_are_checked_against_the_callers_clock(world: World) -> None:
    credential = world.issue(not_before=NOW + 100)
    assert refused(lambda: world.accept(credential)).code == "not_yet_valid"
    assert world.at(NOW + 40).accept(credential).vct == VCT
    later = world.at(NOW + 86_400)
    assert refused(lambda: later.accept(credential)).code == "expired"


def test_an_issuer_without_chain_is_known_by_its_keys(world: World) -> None:
    key, other = SoftwareKey.generate(), SoftwareKey.generate("Ed25519")
    credential = world.issue(signer=key, x5c=[], key_id="k1")
    keys = {ISSUER: [{**other.public_jwk(), "kid": "k0"}, {**key.public_jwk(), "kid": "k1"}]}
    unnamed = {ISSUER: [other.public_jwk(), {"kty": "EC"}, key.public_jwk()]}
    assert world.accept(credential, issuer_keys=unnamed).issuer == ISSUER
    verified = world.accept(credential, issuer_keys=keys)
    assert verified.issuer_chain is None
    renamed = {ISSUER: [{**key.public_jwk(), "kid": "k2"}]}
    assert refused(lambda: world.accept(credential, issuer_keys=renamed)).code == "untrusted_chain"
    wrong = {ISSUER: [SoftwareKey.generate().public_jwk()]}
    assert refused(lambda: world.accept(credential, issuer_keys=wrong)).code == "signature_invalid"
    elsewhere = {"https://other.example": [key.public_jwk()]}
    assert refused(lambda: world.accept(credential, issuer_keys=elsewhere)).code == (
        "untrusted_chain"
    )


def test_an_sd_jwt_may_have_no_disclosable_claims_at_all(world: World) -> None:
    plain = issue_sd_jwt(
        {"vct": VCT}, [], world.issuer_key, {"typ": "dc+sd-jwt", "x5c": world.chain}
    )
    assert world.accept(plain).claims == {"vct": VCT}
