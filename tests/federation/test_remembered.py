"""Verified consents as bytes: what was written comes back, and nothing else is believed."""

import struct
from dataclasses import replace
from typing import Final

import pytest

from credentials.model import StatusReference
from federation import remembered
from federation.consents import ConsentCache, ConsentIssuer, place_of
from federation.errors import FederationError, Malformed, TooLarge
from federation.remembered import AFTER_MAC, LONGEST_SECONDS, recall, remember, under_mac
from tests.federation.world import ISSUER, NOW, VCT, Broker

SECRET: Final = b"s" * 32
BROKER: Final = Broker()
TRUSTED: Final = ConsentIssuer((BROKER.root,), ISSUER, VCT)


def learnt() -> ConsentCache:
    """Consents of two kinds."""
    cache = ConsentCache(TRUSTED)
    consents = [BROKER.consent(number) for number in range(1, 6)]
    consents.append(BROKER.consent(6, recipients=["p-south"], max_uses=3))
    assert not cache.learn(consents, NOW)
    return cache


CACHE: Final = learnt()
WRITTEN: Final = remember(CACHE, SECRET, NOW)


def recalled(data: bytes, **changes: object) -> ConsentCache:
    """A cache of what was written, by a reader that differs in this."""
    told: dict[str, object] = {"secret": SECRET, "issuer": TRUSTED, "now": NOW, **changes}
    issuer = told["issuer"]
    assert isinstance(issuer, ConsentIssuer)
    cache = ConsentCache(issuer)
    recall(data, **told).into(cache)  # type: ignore[arg-type]
    return cache


def test_what_was_verified_comes_back() -> None:
    again = recalled(WRITTEN)
    assert again.consents == CACHE.consents
    assert list(again.consents) == list(CACHE.consents)
    assert again.scopes == CACHE.scopes
    assert again.lists == CACHE.lists
    assert again.highest_index == CACHE.highest_index
    assert remember(again, SECRET, NOW) == WRITTEN
    # One that is learnt then is one more of the same kinds.
    again.learn([BROKER.consent(7)], NOW)
    assert (len(again.consents), again.scopes) == (7, CACHE.scopes)


def test_what_nobody_names_any_more_is_not_written() -> None:
    cache, second = ConsentCache(TRUSTED), "https://broker.example/status/st-2"
    first = BROKER.consent(1)
    other = BROKER.consent(7, status=StatusReference(second, 3), recipients=["p-south"])
    assert not cache.learn([first, other], NOW)
    del cache.consents[ConsentCache.key_of(first)]
    again = recalled(remember(cache, SECRET, NOW))
    assert list(again.lists) == [second]
    assert [scope.recipients for scope in again.scopes] == [frozenset({"p-south"})]
    (found,) = again.consents.values()
    assert (found.scope, found.status) == (0, place_of(0, 3))
    assert again.needed([ConsentCache.key_of(other)], NOW) == (second,)


def test_an_empty_cache_comes_back_empty() -> None:
    empty = ConsentCache(TRUSTED)
    again = recalled(remember(empty, SECRET, NOW))
    assert (again.consents, again.highest_index) == ({}, -1)


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": b"t" * 32},
        {"secret": b""},
        {"issuer": replace(TRUSTED, anchors=(Broker().root,))},
        {"issuer": replace(TRUSTED, anchors=(BROKER.root, Broker().root))},
        {"issuer": replace(TRUSTED, issuer="https://other.example")},
        {"issuer": replace(TRUSTED, vct=f"{VCT}2")},
        {"issuer": replace(TRUSTED, refused=frozenset({"a-stolen-key"}))},
        {"now": NOW - 1},
        {"now": NOW + LONGEST_SECONDS},
    ],
)
def test_of_another_secret_issuer_or_time_nothing_is_believed(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        recalled(WRITTEN, **changes)


def test_until_then_it_is_believed() -> None:
    assert recalled(WRITTEN, now=NOW + LONGEST_SECONDS - 1).consents == CACHE.consents


def test_another_version_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "VERSION", remembered.VERSION + 1)
    with pytest.raises(Malformed):
        recalled(WRITTEN)


def test_each_byte_counts() -> None:
    for place in range(len(WRITTEN)):
        changed = bytearray(WRITTEN)
        changed[place] ^= 1
        with pytest.raises(Malformed):
            recalled(bytes(changed))


def test_each_torn_write_is_noticed() -> None:
    for length in range(len(WRITTEN)):
        with pytest.raises(Malformed):
            recalled(WRITTEN[:length])
    with pytest.raises(Malformed):
        recalled(WRITTEN + b"\0")


def test_more_than_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "LARGEST", len(WRITTEN) - 1)
    with pytest.raises(TooLarge):
        recalled(WRITTEN)
    monkeypatch.setattr(remembered, "MOST_CONSENTS", len(CACHE.consents) - 1)
    with pytest.raises(TooLarge):
        remember(CACHE, SECRET, NOW)


def test_what_has_no_place_in_the_form_is_left_out() -> None:
    cache = learnt()
    keys = list(cache.consents)
    for key, changes in zip(
        keys, ({"id": "c-\u00e9"}, {"subject": "s\n1"}, {"valid_from": -(2**70)}), strict=False
    ):
        cache.consents[key] = cache.consents[key]._replace(**changes)  # type: ignore[arg-type]
    assert list(recalled(remember(cache, SECRET, NOW)).consents) == keys[3:]


@pytest.mark.parametrize(
    ("part", "lie"),
    [
        ("scope", 2),
        ("scope", -1),
        ("status", place_of(1, 0)),
        ("status", -1),
        ("id", ""),
        ("subject", ""),
    ],
)
def test_under_the_mac_too_a_consent_is_of_a_scope_and_a_list(part: str, lie: object) -> None:
    cache = learnt()
    key = next(iter(cache.consents))
    cache.consents[key] = cache.consents[key]._replace(**{part: lie})  # type: ignore[arg-type]
    with pytest.raises(Malformed):
        recalled(remember(cache, SECRET, NOW))


def test_under_the_mac_too_sizes_are_looked_at() -> None:
    rest = WRITTEN[AFTER_MAC:]
    sizes = struct.unpack_from(">4I", rest)
    for place in range(4):
        for step in (-1, 1, 2**31):
            told = list(sizes)
            told[place] = (told[place] + step) % 2**32
            lied = struct.pack(">4I", *told) + rest[16:]
            with pytest.raises(FederationError):
                recalled(under_mac(lied, SECRET, TRUSTED))
