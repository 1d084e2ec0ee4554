import json
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.errors import CredentialError, Malformed, StatusUnavailable
from credentials.jcs import b64url
from credentials.jws import sign_jws
from credentials.keys import SoftwareKey
from credentials.model import StatusReference
from credentials.pki import issue_leaf, x5c
from credentials.status import (
    MAX_LIST_BYTES,
    StatusList,
    issue_status_token,
    read_status_list,
    verify_status_token,
)
from credentials.status_indexes import index_permutation
from tests.credentials.world import ISSUER, NOW, STATUS_URI, World
from tests.programs import shared


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def token(world: World, **changes: object) -> str:
    arguments: dict[str, Any] = {
        "signer": world.issuer_key,
        "x5c": world.chain,
        "uri": STATUS_URI,
        "now": NOW,
        "ttl": 300,
        "expires_at": NOW + 3600,
    }
    arguments.update(changes)
    return issue_status_token(world.statuses, **arguments)


def forged(world: World, header: dict[str, Any] | None = None, **claims: object) -> str:
    payload = {
        "sub": STATUS_URI,
        "iat": NOW,
        "exp": NOW + 3600,
        "ttl": 300,
        "status_list": {"bits": 1, "lst": StatusList.empty(1, 8).compress()},
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    default = {"typ": "statuslist+jwt", "x5c": world.chain}
    return sign_jws(world.issuer_key, default if header is None else header, payload)


def verify(world: World, text: str, **changes: object) -> StatusList:
    arguments: dict[str, Any] = {"uri": STATUS_URI, "anchors": [world.root], "now": NOW}
    arguments.update(changes)
    return verify_status_token(text, **arguments)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(StatusUnavailable) as caught:
        call()
    return str(caught.value)


def test_the_published_vectors_decode() -> None:
    vectors = json.loads(shared("vectors/token-status-list/vectors.json").read_text())
    assert {vector["bits"] for vector in vectors} == {1, 2, 4, 8}
    for vector in vectors:
        statuses = read_status_list(vector["status_list"])
        assert statuses.size == vector["entries"]
        expected = {int(index): value for index, value in vector["non_zero"].items()}
        for index, value in expected.items():
            assert statuses.get(index) == value
        ours = StatusList.empty(vector["bits"], vector["entries"])
        for index, value in expected.items():
            ours.set(index, value)
        # Every other entry is zero, and ours is the same array.
        assert ours.data == statuses.data
        assert read_status_list({"bits": ours.bits, "lst": ours.compress()}).data == ours.data


def test_the_example_of_the_draft() -> None:
    # draft-21, section 4.1: one bit each, statuses 1 0 0 1 1 1 0 1, then 1 1 0 0 0 1 0 1.
    statuses = StatusList.empty(1, 16)
    for index, value in enumerate([1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]):
        statuses.set(index, value)
    assert bytes(statuses.data) == b"\xb9\xa3"


@given(st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_entries_do_not_touch_each_other(bits: int, values: list[int]) -> None:
    statuses = StatusList.empty(bits, len(values))
    wanted = [value % (1 << bits) for value in values]
    for index, value in enumerate(wanted):
        statuses.set(index, (1 << bits) - 1)
        statuses.set(index, value)
    assert [statuses.get(index) for index in range(len(values))] == wanted


@given(st.sampled_from([1, 2, 8]), st.lists(st.integers(0, 63), max_size=30), st.integers(0, 1))
def test_many_entries_at_once_are_as_one_by_one(bits: int, indexes: list[int], value: int) -> None:
    one_by_one, at_once = StatusList.empty(bits, 64), StatusList.empty(bits, 64)
    for index in (3, 40):
        one_by_one.set(index, 1)
        at_once.set(index, 1)
    for index in indexes:
        one_by_one.set(index, value)
    at_once.set_all(indexes, value)
    assert at_once.data == one_by_one.data


@pytest.mark.parametrize("index", [-1, 16])
def test_one_index_outside_refuses_them_all(index: int) -> None:
    statuses = StatusList.empty(1, 16)
    with pytest.raises(StatusUnavailable):
        statuses.set_all([0, index, 5], 1)
    with pytest.raises(Malformed):
        statuses.set_all([0], 2)
    assert not any(statuses.data)


def test_indexes_and_values_outside_are_refused() -> None:
    statuses = StatusList.empty(1, 10)
    assert statuses.size == 16
    for index in (-1, 16):
        with pytest.raises(StatusUnavailable):
            statuses.get(index)
        with pytest.raises(StatusUnavailable):
            statuses.set(index, 1)
    for value in (-1, 2):
        with pytest.raises(Malformed):
            statuses.set(0, value)
    for bits, size in ((3, 8), (0, 8), (1, 0), (1, -1)):
        with pytest.raises(Malformed):
            StatusList.empty(bits, size)


def test_a_token_gives_its_list_back_with_its_freshness(world: World) -> None:
    world.statuses.set(3, 1)
    read = verify(world, token(world))
    assert (read.bits, read.size, read.get(3), read.get(4)) == (2, 1000, 1, 0)
    assert read.fresh_until == NOW + 300
    assert verify(world, token(world, expires_at=NOW + 10)).fresh_until == NOW + 10
    assert verify(world, forged(world, exp=None, ttl=None)).fresh_until is None


def test_a_stale_or_expired_token_is_refused(world: World) -> None:
    text = token(world)
    verify(world, text, now=NOW + 299)
    assert "ttl" in refused(lambda: verify(world, text, now=NOW + 300))
    # Who knows when it was fetched counts from there, up to exp.
    assert verify(world, text, now=NOW + 400, fetched_at=NOW + 200).fresh_until == NOW + 500
    refused(lambda: verify(world, text, now=NOW + 500, fetched_at=NOW + 200))
    refused(lambda: verify(world, text, now=NOW + 3600, fetched_at=NOW + 3600))


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "https://issuer.example/status/2"},
        {"sub": None},
        {"iat": None},
        {"iat": NOW + 61},
        {"iat": "now"},
        {"exp": NOW},
        {"exp": "later"},
        {"ttl": "short"},
        {"ttl": True},
        {"status_list": None},
        {"status_list": {}},
        {"status_list": {"bits": 3, "lst": "eNpjAAAAAQAB"}},
        {"status_list": {"bits": True, "lst": "eNpjAAAAAQAB"}},
        {"status_list": {"bits": 1}},
        {"status_list": {"bits": 1, "lst": "!"}},
        {"status_list": {"bits": 1, "lst": b64url(b"not zlib")}},
        {"status_list": {"bits": 1, "lst": b64url(zlib.compress(bytes(100))[:-5])}},
        {"status_list": {"bits": 1, "lst": b64url(zlib.compress(bytes(9)) + b"x")}},
        {"status_list": {"bits": 1, "lst": b64url(zlib.compress(b""))}},
    ],
)
def test_every_claim_of_the_token_is_checked(world: World, claims: dict[str, Any]) -> None:
    verify(world, forged(world))
    refused(lambda: verify(world, forged(world, **claims)))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "jwt"},
        {},
        {"typ": "statuslist+jwt"},
        {"typ": "statuslist+jwt", "x5c": []},
        {"typ": "statuslist+jwt", "x5c": 5},
        {"typ": "statuslist+jwt", "crit": ["x"]},
        {"typ": "statuslist+jwt", "jku": "https://attacker.example"},
    ],
)
def test_the_header_of_the_token_is_checked(world: World, header: dict[str, Any]) -> None:
    refused(lambda: verify(world, forged(world, header)))


def test_a_token_of_another_issuer_or_changed_is_refused(world: World) -> None:
    assert "Example Root" in refused(lambda: verify(world, token(World.make())))
    text = token(world)
    refused(lambda: verify(world, text[:-1] + ("A" if text[-1] != "A" else "Q")))
    foreign = token(world, signer=world.holder)
    assert "signature" in refused(lambda: verify(world, foreign))


def neighbour(world: World, *uri: str, dns: tuple[str, ...] = ()) -> dict[str, Any]:
    """Another signer whom the same root certified."""
    key = SoftwareKey.generate()
    made = issue_leaf(
        world.root, world.root_key, key.public_jwk(), name="Other", now=NOW, uri=uri, dns=dns
    )
    return {"signer": key, "x5c": x5c([made])}


SHARED = ("issuer.example",)


@pytest.mark.parametrize(
    ("uri", "dns", "allowed"),
    [
        (("https://issuer.example/t/2",), SHARED, False),
        (("https://other.example",), ("other.example",), False),
        (("https://issuer.example/t/1",), SHARED, True),
        (("https://issuer.example/status",), (), True),
        ((), SHARED, True),
    ],
    ids=["neighbour", "stranger", "issuer", "whoever has the address", "whoever has the host"],
)
def test_a_list_is_its_issuers_or_of_whoever_has_its_address(
    world: World, uri: tuple[str, ...], dns: tuple[str, ...], *, allowed: bool
) -> None:
    text = token(world, **neighbour(world, *uri, dns=dns))
    found = verify(world, text)
    credential = world.issue(status=StatusReference(STATUS_URI, 7))
    if allowed:
        assert verify(world, text, issuer=ISSUER).data == found.data
        world.accept(credential, status=lambda _: found)
    else:
        assert "names neither" in refused(lambda: verify(world, text, issuer=ISSUER))
        refused(lambda: world.accept(credential, status=lambda _: found))


def test_a_list_elsewhere_is_the_issuers_by_name_or_by_the_very_certificate(world: World) -> None:
    elsewhere = "https://lists.example/7"
    found = verify(world, token(world, uri=elsewhere), uri=elsewhere)
    for issuer in (ISSUER, None):
        credential = world.issue(issuer=issuer, status=StatusReference(elsewhere, 7))
        world.accept(credential, status=lambda _: found)
    other = token(world, uri=elsewhere, **neighbour(world, "https://issuer.example/t/2"))
    strange = verify(world, other, uri=elsewhere)
    for issuer in (ISSUER, None):
        credential = world.issue(issuer=issuer, status=StatusReference(elsewhere, 7))
        refused(lambda credential=credential: world.accept(credential, status=lambda _: strange))  # type: ignore[misc]


def test_a_compressed_bomb_is_refused_within_the_cap(world: World) -> None:
    bomb = b64url(zlib.compress(bytes(MAX_LIST_BYTES + 1), 9))
    assert len(bomb) < 10_000
    refused(lambda: verify(world, forged(world, status_list={"bits": 1, "lst": bomb})))
    whole = b64url(zlib.compress(bytes(MAX_LIST_BYTES), 9))
    assert read_status_list({"bits": 8, "lst": whole}).size == MAX_LIST_BYTES


@given(st.text(max_size=100))
def test_any_text_raises_only_the_family(text: str) -> None:
    with pytest.raises(CredentialError):
        verify_status_token(text, uri=STATUS_URI, anchors=[], now=NOW)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 1000, 4097])
def test_indexes_are_a_permutation(size: int) -> None:
    permutation = index_permutation(b"k" * 32, size)
    assert sorted(permutation.index(number) for number in range(size)) == list(range(size))
    for number in (-1, size):
        with pytest.raises(Malformed, match="full"):
            permutation.index(number)


def test_indexes_depend_on_the_key_and_do_not_follow_each_other() -> None:
    size = 1_000_000
    one, other = index_permutation(b"a" * 32, size), index_permutation(b"b" * 32, size)
    ours = [one.index(number) for number in range(2000)]
    assert ours == [index_permutation(b"a" * 32, size).index(number) for number in range(2000)]
    assert ours != [other.index(number) for number in range(2000)]
    # Neighbours in the order of issue are as far apart as random ones: a third of the list.
    distances = [abs(a - b) for a, b in pairwise(ours)]
    assert 0.3 < sum(distances) / len(distances) / size < 0.37
    halves = sum(index < size // 2 for index in ours)
    assert 880 < halves < 1120


@pytest.mark.parametrize("key", [b"", b"k" * 15, b"k" * 65])
def test_a_permutation_needs_a_key_of_its_own_strength(key: bytes) -> None:
    with pytest.raises(Malformed):
        index_permutation(key, 100)
