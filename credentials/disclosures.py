"""Disclosures of an SD-JWT (RFC 9901, section 4.2): making them, opening them, putting back.

Reading follows section 7.1 step 3 to 5: every digest occurs once, every disclosure is referenced
once, and none overwrites or invents a claim.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from credentials.errors import DisclosureInvalid, Malformed, TooLarge
from credentials.jcs import b64url, b64url_decode_ascii
from credentials.json_reader import MAX_DEPTH, JsonObject, read_json
from credentials.suites import digest_function

SALT_BYTES = 16
"""RFC 9901, section 9.3: 128 bits."""

RESERVED_NAMES = frozenset({"_sd", "..."})
"""Names that no claim may have (sections 4.2.1 and 4.2.4)."""

CONCEALED = "..."
"""Marks, in a `Tree`, that the node itself becomes a disclosure."""

_OF_CLAIM = 3  # [salt, name, value] (section 4.2.1)
_OF_ELEMENT = 2  # [salt, value] (section 4.2.2)

Path: TypeAlias = tuple[str | int, ...]
Tree: TypeAlias = "dict[str | int, Tree]"
_NOTHING: Tree = {}
# Built once: a union in isinstance costs as much as the rest of the test.
_CONTAINERS = (dict, list)
_ARRAYS = (list, tuple)
_ONLY_STRINGS = frozenset({str})


def open_disclosures(
    disclosures: Sequence[str], payload: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Decode disclosures and give them by digest, hashed as `payload` says in `_sd_alg`.

    Raises `DisclosureInvalid` for a malformed or repeated one, `AlgorithmNotAllowed` for an
    unknown hash function, `TooLarge` for one nested too deep.
    """
    hash_of = digest_function(payload.get("_sd_alg", "sha-256"))
    opened: dict[str, list[Any]] = {}
    for disclosure in disclosures:
        encoded = disclosure.encode()
        try:
            parts: Any = read_json(b64url_decode_ascii(encoded))
        except Malformed as error:
            raise DisclosureInvalid(f"disclosure is malformed: {error}") from None
        match parts:
            case [str(), str() as name, _] if name not in RESERVED_NAMES:  # section 4.2.1
                pass
            case [str(), _]:  # section 4.2.2
                pass
            case _:
                raise DisclosureInvalid(
                    "disclosure is neither [salt, name, value] with an ordinary name nor "
                    "[salt, value]"
                )
        key = b64url(hash_of(encoded).digest())
        if key in opened:
            raise DisclosureInvalid("the same disclosure is presented twice")
        opened[key] = parts
    return opened


def resolve(
    payload: JsonObject,
    opened: dict[str, list[Any]],
    found: dict[Path, str] | None = None,
) -> JsonObject:
    """Put disclosed values where their digests stand and drop what is not disclosed.

    `opened` comes from `open_disclosures` and is used up; `found`, if given, receives the path
    of each disclosed claim and its digest. Raises `DisclosureInvalid` or `TooLarge`.
    """
    resolver = _Resolver(opened, found)
    claims = resolver.resolve_object(payload, (), MAX_DEPTH)
    claims.pop("_sd_alg", None)
    if opened:
        # Section 7.1, step 5.
        raise DisclosureInvalid("a disclosure is not referenced by the credential")
    return claims


class _Resolver:
    def __init__(self, opened: dict[str, list[Any]], found: dict[Path, str] | None) -> None:
        self.opened = opened
        self.found = found
        self.seen: set[str] = set()

    def resolve_value(self, value: Any, path: Path, depth: int) -> Any:  # noqa: ANN401  any JSON
        if not isinstance(value, _CONTAINERS):
            return value
        if depth == 0:
            raise TooLarge(f"claims are nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return self.resolve_object(value, path, depth)
        return self.resolve_array(value, path, depth)

    def resolve_object(self, value: JsonObject, path: Path, depth: int) -> JsonObject:
        resolved = value.copy()
        digests = resolved.pop("_sd", None)
        if "..." in resolved:
            raise DisclosureInvalid("an object holds the reserved name '...'")
        for name, member in resolved.items():
            if isinstance(member, _CONTAINERS):
                resolved[name] = self.resolve_value(member, (*path, name), depth - 1)
        if digests is not None:
            self.meet(digests)
            for key in digests:
                parts = self.opened.pop(key, None)
                if parts is not None:
                    self.add_claim(resolved, parts, key, path, depth)
        return resolved

    def add_claim(
        self, resolved: JsonObject, parts: list[Any], key: str, path: Path, depth: int
    ) -> None:
        if len(parts) != _OF_CLAIM:
            raise DisclosureInvalid("a disclosure for an array stands in an object")
        _, name, value = parts
        if name in resolved:
            raise DisclosureInvalid("a disclosure repeats a claim that is already there")
        if self.found is not None:
            self.found[*path, name] = key
        if isinstance(value, _CONTAINERS):
            value = self.resolve_value(value, (*path, name), depth - 1)
        resolved[name] = value

    def resolve_array(self, value: list[Any], path: Path, depth: int) -> list[Any]:
        resolved = []
        for index, element in enumerate(value):
            if isinstance(element, dict) and "..." in element:
                if len(element) != 1:
                    raise DisclosureInvalid("an array digest has other members beside it")
                key = element["..."]
                self.meet([key])
                parts = self.opened.pop(key, None)
                if parts is None:
                    continue
                if len(parts) != _OF_ELEMENT:
                    raise DisclosureInvalid("a disclosure for an object stands in an array")
                if self.found is not None:
                    self.found[*path, index] = key
                resolved.append(self.resolve_value(parts[1], (*path, index), depth - 1))
            else:
                resolved.append(self.resolve_value(element, (*path, index), depth - 1))
        return resolved

    def meet(self, digests: object) -> None:
        """Check that digests are strings, none of which occurred before (section 7.1, step 4)."""
        if not isinstance(digests, list) or not _ONLY_STRINGS.issuperset(map(type, digests)):
            raise DisclosureInvalid("_sd is not an array of strings, or a digest is not a string")
        before = len(self.seen)
        self.seen.update(digests)
        if len(self.seen) != before + len(digests):
            raise DisclosureInvalid("the same digest occurs twice")


def conceal(
    value: Mapping[str, Any], tree: Tree, disclosures: list[str], depth: int = MAX_DEPTH
) -> JsonObject:
    """Replace what `tree` marks by digests, appending the disclosures that open them.

    Raises `DisclosureInvalid` if the tree leads nowhere or a claim has a reserved name,
    `TooLarge` for claims that a verifier would refuse as nested too deep.
    """
    if depth == 0:
        raise TooLarge(f"claims are nested deeper than {MAX_DEPTH} levels")
    if not RESERVED_NAMES.isdisjoint(value):
        raise DisclosureInvalid("a claim must not be called _sd or ...")
    if missing := [step for step in tree if step != CONCEALED and step not in value]:
        raise DisclosureInvalid(f"there is no claim {missing[0]!r} to make disclosable")
    body: JsonObject = {}
    digests = []
    for name, member in value.items():
        node = tree.get(name, _NOTHING)
        inner = _conceal_value(member, node, disclosures, depth - 1)
        if CONCEALED in node:
            digests.append(_disclose([_salt(), name, inner], disclosures))
        else:
            body[name] = inner
    if digests:
        # Section 4.2.4.1: an order that does not tell the order of the claims.
        body["_sd"] = sorted(digests)
    return body


def _conceal_value(value: Any, tree: Tree, disclosures: list[str], depth: int) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return conceal(value, tree, disclosures, depth)
    if isinstance(value, _ARRAYS):
        if depth == 0:
            raise TooLarge(f"claims are nested deeper than {MAX_DEPTH} levels")
        steps = [step for step in tree if step != CONCEALED]
        if any(not isinstance(step, int) or not 0 <= step < len(value) for step in steps):
            raise DisclosureInvalid("there is no such array element to make disclosable")
        elements = []
        for index, element in enumerate(value):
            node = tree.get(index, _NOTHING)
            inner = _conceal_value(element, node, disclosures, depth - 1)
            if CONCEALED in node:
                inner = {"...": _disclose([_salt(), inner], disclosures)}
            elements.append(inner)
        return elements
    if tree.keys() - {CONCEALED}:
        raise DisclosureInvalid("a path leads into a claim that is neither object nor array")
    return value


def _salt() -> str:
    return b64url(secrets.token_bytes(SALT_BYTES))


def _disclose(parts: list[Any], disclosures: list[str]) -> str:
    disclosure = b64url(orjson.dumps(parts))
    disclosures.append(disclosure)
    return b64url(hashlib.sha256(disclosure.encode("ascii")).digest())
