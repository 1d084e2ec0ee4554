"""Each way in which a presentation can be wrong, and the code that says so."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode
from credentials.jws import sign_jws
from credentials.keys import SoftwareKey, thumbprint
from credentials.model import StatusReference
from credentials.sdjwt import bind, issue_sd_jwt, parse, present, transaction_data_hash
from credentials.status import Status, StatusCheck, StatusList
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


def refused(call: Callable[[], object]) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        call()
    return caught.value


def resigned(
    world: World, presentation: str, *, header: dict[str, Any] | None = None, **claims: object
) -> str:
    """Replace claims of the KB-JWT (drop those that are `None`) and sign it again."""
    shown = parse(presentation)
    assert shown.kb_jwt is not None
    payload = json.loads(b64url_decode(shown.kb_jwt.split(".")[1])) | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    return shown.bound_part + sign_jws(world.holder, header or {"typ": "kb+jwt"}, payload)


def issued(world: World, header: dict[str, Any] | None = None, **claims: object) -> str:
    """Sign a payload as the issuer, free of what `issue_sd_jwt_vc` guards; `None` drops."""
    payload = {
        "iss": ISSUER,
        "vct": VCT,
        "iat": NOW,
        "cnf": {"jwk": world.holder.public_jwk()},
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    default = {"typ": "dc+sd-jwt", "x5c": world.chain}
    return sign_jws(world.issuer_key, default if header is None else header, payload) + "~"


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


# The key binding.


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


# The credential.


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


# Disclosures.


def disclosure(*parts: object) -> str:
    return b64url(json.dumps(parts).encode())


def digest_of(text: str) -> str:
    return transaction_data_hash(text)  # also base64url SHA-256 over ASCII


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


# Status.


def test_revoked_and_suspended_credentials_are_refused() -> None:
    world = World.make()
    shown, credential = world.show(), world.issue()
    assert world.accept_presentation(shown).credential.status is not None
    for status, code in ((Status.INVALID, "revoked"), (2, "suspended"), (3, "suspended")):
        world.statuses.set(7, status)
        assert refused(lambda: world.accept_presentation(shown)).code == code
        assert refused(lambda: world.accept(credential)).code == code
    world.statuses.set(7, Status.VALID)
    assert world.accept(credential).vct == VCT


def test_a_status_that_cannot_be_had_means_no(world: World) -> None:
    credential = world.issue()

    def unreachable(uri: str) -> StatusList:
        raise TimeoutError(uri)

    def unknown(uri: str) -> StatusList:
        raise KeyError(uri)

    def stale(_: str) -> StatusList:
        return StatusList(2, 1000, bytearray(250), fresh_until=NOW)

    def short(_: str) -> StatusList:
        return StatusList.empty(2, 4)

    for resolver in (None, unreachable, unknown, stale, short):
        error = refused(lambda resolver=resolver: world.accept(credential, status=resolver))  # type: ignore[misc]
        assert error.code == "status_unavailable"
    elsewhere = world.issue(status=StatusReference("https://issuer.example/status/2", 7))
    assert refused(lambda: world.accept(elsewhere)).code == "status_unavailable"


def test_a_caller_may_answer_for_the_status_itself(world: World) -> None:
    assert world.accept(world.issue(), status=StatusCheck.BY_CALLER).status is not None


def test_status_is_not_fetched_for_a_presentation_that_fails_otherwise(world: World) -> None:
    asked: list[str] = []

    def resolver(uri: str) -> StatusList:
        asked.append(uri)
        return world.status(uri)

    wrong = world.show(nonce="another")
    refused(lambda: world.accept_presentation(wrong, status=resolver))
    assert asked == []
    world.accept_presentation(world.show(), status=resolver)
    assert asked == [STATUS_URI]


# Issuer keys that the caller resolved.


def test_an_issuer_without_chain_is_known_by_its_keys(world: World) -> None:
    key, other = SoftwareKey.generate(), SoftwareKey.generate("Ed25519")
    credential = world.issue(signer=key, x5c=[], key_id="k1")
    keys = {ISSUER: [{**other.public_jwk(), "kid": "k0"}, {**key.public_jwk(), "kid": "k1"}]}
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
