"""PyPI `sd-jwt`, the reference implementation: it verifies ours and we verify theirs."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from sd_jwt.common import SDObj
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier

from credentials.disclosures import Path
from credentials.sdjwt import bind, issue_sd_jwt, parse, present
from tests.credentials.world import AUDIENCE, CLAIMS, ISSUER, NONCE, NOW, VCT, World

NAMES = st.sampled_from(["a", "b", "c", "ä", "\U0001f600"])
LEAVES = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5)
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def their_verdict(world: World, text: str, *, bound: bool) -> dict[str, Any]:
    key = JWK(**world.issuer_key.public_jwk())
    expected = (AUDIENCE, NONCE) if bound else (None, None)
    verifier = SDJWTVerifier(text, lambda _issuer, _header: key, *expected)
    payload: dict[str, Any] = verifier.get_verified_payload()
    return payload


def paths(value: object, prefix: Path = ()) -> list[Path]:
    found: list[Path] = [prefix] if prefix else []
    if isinstance(value, dict):
        for name, member in value.items():
            found += paths(member, (*prefix, name))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            found += paths(element, (*prefix, index))
    return found


def test_they_verify_our_credential_and_our_presentation(world: World) -> None:
    credential = world.issue()
    theirs = their_verdict(world, credential, bound=False)
    assert theirs == world.accept(credential).claims
    shown = world.show(credential, ["given_name", ("address", "city")])
    assert their_verdict(world, shown, bound=True) == (
        world.accept_presentation(shown).credential.claims
    )


def concealed(value: Any, marked: set[Path], prefix: Path = ()) -> Any:  # noqa: ANN401  any JSON
    """Give claims in their notation: what is disclosable is wrapped in SDObj."""
    if isinstance(value, dict):
        return {
            SDObj(name) if (*prefix, name) in marked else name: concealed(
                member, marked, (*prefix, name)
            )
            for name, member in value.items()
        }
    if isinstance(value, list):
        elements = [
            (concealed(element, marked, (*prefix, index)), (*prefix, index) in marked)
            for index, element in enumerate(value)
        ]
        return [SDObj(element) if wrap else element for element, wrap in elements]
    return value


def test_we_verify_their_credential_and_their_presentation(world: World) -> None:
    claims = {"iss": ISSUER, "iat": NOW, "vct": VCT, **CLAIMS}
    marked: set[Path] = {("given_name",), ("address",), ("address", "city"), ("nationalities", 1)}
    issuer = SDJWTIssuer(
        concealed(claims, marked),
        JWK(**world.issuer_key.private_jwk()),
        JWK(**world.holder.public_jwk()),
        add_decoy_claims=True,
        extra_header_parameters={"typ": "dc+sd-jwt", "x5c": world.chain},
    )
    verified = world.accept(issuer.sd_jwt_issuance)
    assert {name: verified.claims[name] for name in CLAIMS} == CLAIMS

    holder = SDJWTHolder(issuer.sd_jwt_issuance)
    holder.create_presentation({"given_name": True, "address": {"city": True}})
    ours = bind(
        parse(holder.sd_jwt_presentation), world.holder, nonce=NONCE, audience=AUDIENCE, now=NOW
    )
    shown = world.accept_presentation(ours)
    assert shown.credential.claims["address"] == CLAIMS["address"]
    assert shown.credential.claims["nationalities"] == ["DE"]


def test_we_verify_their_key_binding(world: World) -> None:
    holder = SDJWTHolder(world.issue())
    holder.create_presentation(
        {"given_name": True},
        nonce=NONCE,
        aud=AUDIENCE,
        holder_key=JWK(**world.holder.private_jwk()),
    )
    # Their KB-JWT carries the time of their clock.
    signed_at = holder.key_binding_jwt_payload["iat"]
    shown = world.accept_presentation(
        holder.sd_jwt_presentation, max_age=NOW, skew=abs(signed_at - NOW)
    )
    assert shown.credential.claims["given_name"] == "Ann"
    assert shown.signed_at == signed_at


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(claims=st.dictionaries(NAMES, TREES, max_size=4), data=st.data())
def test_any_nesting_resolves_alike_on_both_sides(
    world: World, claims: dict[str, Any], data: st.DataObject
) -> None:
    possible = paths(claims)
    marked = set(data.draw(st.lists(st.sampled_from(possible)))) if possible else set()
    shown = set(data.draw(st.lists(st.sampled_from(possible)))) if possible else set()

    ours = issue_sd_jwt(claims, marked, world.issuer_key, {"typ": "dc+sd-jwt"}, decoys=2)
    held = parse(ours)
    assert held.claims() == claims
    assert set(held.disclosable()) == marked
    assert their_verdict(world, ours, bound=False) == claims

    part = present(ours, shown)
    assert their_verdict(world, part.raw, bound=False) == part.claims()

    theirs = SDJWTIssuer(concealed(claims, marked), JWK(**world.issuer_key.private_jwk()))
    assert parse(theirs.sd_jwt_issuance).claims() == claims
