"""Verified consents as bytes, for a member that answers each round in a process of its own.

What is written says no more than that these credentials verified, and what they say; validity and
status are looked at in each round all the same (`federation.gate`). It is believed under a MAC by a
secret of the member's: whoever can write the consents or this file alone gains nothing by it, and
whoever can write the secret's folder gains all of it. The key is made of that secret and of all
that the verification rested on, so that of other anchors, another issuer, or with a key refused
since, nothing is believed. An old file is only colder.

    offset  bytes
    0       8        "CONSENTS"
    8       32       HMAC-SHA-256 over all that follows
    40      16       big-endian: how many consents; bytes of the head, of the ids, of the subjects
    ...              the head, canonical JSON: {"since", "scopes", "lists"}
    ...     32 each  SHA-256 of the credentials
    ...     8 each   little-endian: scopes, then each one's valid_from, valid_until, status
    ...              ids, then subjects: ASCII, each separated by a line feed

A new VERSION drops what was written before: raise it with the form, and when `credentials.verify`
refuses what it took before.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from credentials.errors import CredentialError
from credentials.jcs import canonical
from federation import reading
from federation.consents import (
    MOST_INDEX,
    Consent,
    ConsentCache,
    ConsentIssuer,
    Scope,
    index_of,
    place_of,
)
from federation.errors import Malformed, TooLarge

VERSION: Final = 1
LONGEST_SECONDS: Final = 7 * 86_400
"""After which everything is verified anew, whatever is kept."""
MOST_CONSENTS: Final = 1_048_576
"""As many rows as a broker of the largest body takes leaves of."""
LARGEST: Final = 512 * 2**20
LARGEST_HEAD: Final = 2**20
SECRET_BYTES: Final = 32
_MAGIC: Final = b"CONSENTS"
_SIZES: Final = struct.Struct(">4I")
_MAC_AT: Final = len(_MAGIC)
AFTER_MAC: Final = _MAC_AT + 32
_KEY_BYTES: Final = 32
_NUMBERS: Final = 4
_LARGEST_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True)
class Remembered:
    """What was written: `since` is when the first of these was verified, Unix seconds."""

    consents: Mapping[bytes, Consent]
    scopes: Sequence[Scope]
    lists: Sequence[str]
    since: int

    def into(self, cache: ConsentCache) -> None:
        """Put it into a cache that knows nothing yet."""
        cache.consents = dict(self.consents)
        cache.scopes = {scope: number for number, scope in enumerate(self.scopes)}
        cache.lists = {uri: number for number, uri in enumerate(self.lists)}
        statuses = (consent.status & MOST_INDEX for consent in self.consents.values())
        cache.highest_index = max(statuses, default=-1)


def remember(cache: ConsentCache, secret: bytes, since: int) -> bytes:
    """Write what a cache has verified. Raises `TooLarge`, `Malformed`.

    What has no place in the form, as an id that is not ASCII, is left out: it is verified anew.
    """
    known, scopes, lists = _named(cache)
    told = {
        "since": since,
        "scopes": [_scope_to_json(scope) for scope in scopes],
        "lists": lists,
    }
    try:
        head = canonical(told)
    except CredentialError as error:
        raise Malformed(f"what these consents allow cannot be written: {error}") from None
    if len(known) > MOST_CONSENTS or len(head) > LARGEST_HEAD:
        raise TooLarge(f"at most {MOST_CONSENTS} consents of few kinds are kept")
    ids, subjects = (
        "\n".join(column).encode("ascii")
        for column in ([one.id for _, one in known], [one.subject for _, one in known])
    )
    numbers = [
        *(one.scope for _, one in known),
        *(one.valid_from for _, one in known),
        *(one.valid_until for _, one in known),
        *(one.status for _, one in known),
    ]
    rest = b"".join(
        (
            _SIZES.pack(len(known), len(head), len(ids), len(subjects)),
            head,
            *(key for key, _ in known),
            struct.pack(f"<{len(numbers)}q", *numbers),
            ids,
            subjects,
        )
    )
    return under_mac(rest, secret, cache.issuer)


def _named(
    cache: ConsentCache,
) -> tuple[list[tuple[bytes, Consent]], list[Scope], list[str]]:
    """What has a place in the form, and the scopes and lists that it names, numbered anew."""
    known = [(key, one) for key, one in cache.consents.items() if fits(one)]
    scopes, lists = list(cache.scopes), list(cache.lists)
    of_scopes = _used(len(scopes), (one.scope for _, one in known))
    of_lists = _used(len(lists), (index_of(one.status)[0] for _, one in known))
    if len(of_scopes) < len(scopes) or len(of_lists) < len(lists):
        for place, (key, one) in enumerate(known):
            number, index = index_of(one.status)
            status = place_of(of_lists.get(number, number), index)
            scope = of_scopes.get(one.scope, one.scope)
            known[place] = key, one._replace(scope=scope, status=status)
    return known, [scopes[one] for one in of_scopes], [lists[one] for one in of_lists]


def _used(count: int, numbers: Iterable[int]) -> dict[int, int]:
    """The new number of each of `count` that is used, in their order."""
    named = set(numbers)
    used = (number for number in range(count) if number in named)
    return {old: new for new, old in enumerate(used)}


def under_mac(rest: bytes, secret: bytes, issuer: ConsentIssuer) -> bytes:
    """What follows the MAC, with it."""
    return _MAGIC + hmac.digest(_key(secret, issuer), rest, "sha256") + rest


def recall(data: bytes, secret: bytes, issuer: ConsentIssuer, now: int) -> Remembered:
    """Read what `remember` wrote with this secret for this issuer. Raises `Malformed`, `TooLarge`.

    `now` is Unix seconds: what was written after it, or too long before, is not believed.
    """
    if len(data) > LARGEST:
        raise TooLarge(f"more than {LARGEST} bytes of consents are not read")
    rest = memoryview(data)[AFTER_MAC:]
    if data[:_MAC_AT] != _MAGIC or len(rest) < _SIZES.size or len(secret) < SECRET_BYTES:
        raise Malformed("these are no verified consents")
    mac = hmac.digest(_key(secret, issuer), rest, "sha256")
    if not hmac.compare_digest(data[_MAC_AT:AFTER_MAC], mac):
        raise Malformed("these consents were not verified by this member for this issuer")
    count, *sizes = _SIZES.unpack_from(rest)
    wide = [sizes[0], _KEY_BYTES * count, 8 * _NUMBERS * count, *sizes[1:]]
    if count > MOST_CONSENTS or sum(wide) != len(rest) - _SIZES.size:
        raise Malformed("not as long as it says")
    at, parts = _SIZES.size, []
    for size in wide:
        parts.append(bytes(rest[at : at + size]))
        at += size
    told, keys, numbers, ids, subjects = parts
    since, scopes, lists = _head(told, now)
    columns = struct.unpack(f"<{_NUMBERS * count}q", numbers)
    of = [columns[count * part : count * (part + 1)] for part in range(_NUMBERS)]
    _check_numbers(of, scopes, lists)
    named = [_texts(ids, count), _texts(subjects, count)]
    found = map(Consent._make, zip(*named, *of, strict=True))
    each = (keys[place : place + _KEY_BYTES] for place in range(0, len(keys), _KEY_BYTES))
    return Remembered(dict(zip(each, found, strict=True)), scopes, lists, since)


def _key(secret: bytes, issuer: ConsentIssuer) -> bytes:
    """The key for all that the verification rested on."""
    rested = {
        "version": VERSION,
        "anchors": sorted(hashlib.sha256(anchor).hexdigest() for anchor in issuer.anchors),
        "issuer": issuer.issuer,
        "vct": issuer.vct,
        "refused": sorted(issuer.refused),
    }
    return hmac.digest(secret, b"verified consents\0" + canonical(rested), "sha256")


def fits(consent: Consent) -> bool:
    """Whether it has a place in the form."""
    texts, numbers = (consent.id, consent.subject), consent[2:]
    return all(one.isascii() and "\n" not in one for one in texts) and all(
        -_LARGEST_NUMBER <= one <= _LARGEST_NUMBER for one in numbers
    )


def _head(told: bytes, now: int) -> tuple[int, list[Scope], list[str]]:
    source = reading.members(
        reading.json_object(told, largest=LARGEST_HEAD),
        "the head",
        frozenset({"since", "scopes", "lists"}),
    )
    since = reading.whole(source, "since", 0, _LARGEST_NUMBER)
    if not since <= now < since + LONGEST_SECONDS:
        raise Malformed("verified too long ago, or later than now")
    scopes = [_scope_of(one) for one in reading.items(source, "scopes", MOST_CONSENTS)]
    lists = reading.items(source, "lists", MOST_CONSENTS)
    if not all(isinstance(one, str) for one in lists):
        raise Malformed("lists are addresses")
    if len(set(scopes)) < len(scopes) or len(set(lists)) < len(lists):
        raise Malformed("scopes and lists are each named once")
    return since, scopes, lists


def _check_numbers(
    of: Sequence[Sequence[int]], scopes: Sequence[Scope], lists: Sequence[str]
) -> None:
    """Raises `Malformed` where a number names a scope or a list that is not there."""
    named, _, _, statuses = of
    if not named:
        return
    inside = min(named) >= 0 and max(named) < len(scopes) and min(statuses) >= 0
    if not inside or index_of(max(statuses))[0] >= len(lists):
        raise Malformed("a consent of no scope or no list")


def _texts(column: bytes, count: int) -> list[str]:
    """Raises `Malformed`."""
    try:
        found = column.decode("ascii").split("\n") if count else []
    except UnicodeDecodeError:
        found = [""]
    if len(found) != count or "" in found or (column and not count):
        raise Malformed("a consent without its id or its customer")
    return found


def _scope_to_json(scope: Scope) -> dict[str, Any]:
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in scope._asdict().items()
    }


def _scope_of(value: object) -> Scope:
    """Read what `_scope_to_json` gave, every part of a scope. Raises `Malformed`."""
    source = reading.members(value, "a scope", frozenset(Scope._fields))
    read: dict[str, Any] = {}
    for name in Scope._fields:
        if name == "limited":
            read[name] = reading.flag(source, name)
            continue
        told = source[name]
        listed = [told] if name == "purpose" else told
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise Malformed(f"{name} of a scope is text")
        read[name] = told if name == "purpose" else frozenset(listed)
    return Scope(**read)
