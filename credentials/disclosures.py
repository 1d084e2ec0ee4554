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
from credentials.jcs import b64url, b64url_decode
from credentials.json_reader import MAX_DEPTH, JsonObject, read_json
from credentials.suites import digest

SALT_BYTES = 16
"""RFC 9901, section 9.3: 128 bits."""

RESERVED_NAMES = frozenset({"_sd", "..."})
"""Names that no claim may have (sections 4.2.1 and 4.2.4)."""

CONCEALED = "..."
"""Marks, in a `Tree`, that the node itself becomes a disclosure."""

Path: TypeAlias = tuple[str | int, ...]
Tree: TypeAlias = "dict[str | int, Tree]"
_NOTHING: Tree = {}


def open_disclosures(
    disclosures: Sequence[str], payload: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Decode disclosures and give them by digest, hashed as `payload` says in `_sd_alg`.

    Raises `DisclosureInvalid` for a malformed or repeated one, `AlgorithmNotAllowed` for an
    unknown hash function, `TooLarge` for one nested too deep.
    """
    algorithm = payload.get("_sd_alg", "sha-256")
    opened: dict[str, list[Any]] = {}
    for disclosure in disclosures:
        try:
            parts = read_json(b64url_decode(disclosure))
        except Malformed as error:
            raise DisclosureInvalid(f"disclosure is malformed: {error}") from None
        if not isinstance(parts, list) or not 2 <= len(parts) <= 3 or not isinstance(parts[0], str):  # noqa: PLR2004
            raise DisclosureInvalid("disclosure is not [salt, value] or [salt, name, value]")
        if len(parts) == 3 and (not isinstance(parts[1], str) or parts[1] in RESERVED_NAMES):  # noqa: PLR2004
            raise DisclosureInvalid("disclosure names no claim, or a reserved one")
        key = b64url(digest(algorithm, disclosure.encode("ascii")))
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
    resolver = _Resolver(opened, {} if found is None else found)
    claims = resolver.resolve_object(payload, (), MAX_DEPTH)
    claims.pop("_sd_alg", None)
    if opened:
        # Section 7.1, step 5.
        raise DisclosureInvalid("a disclosure is not referenced by the credential")
    return claims


class _Resolver:
    def __init__(self, opened: dict[str, list[Any]], found: dict[Path, str]) -> None:
        self.opened = opened
        self.found = found
        self.seen: set[str] = set()

    def resolve_value(self, value: Any, path: Path, depth: int) -> Any:  # noqa: ANN401  any JSON
        if isinstance(value, dict):
            return self.resolve_object(value, path, depth)
        if isinstance(value, list):
            return self.resolve_array(value, path, depth)
        return value

    def resolve_object(self, value: JsonObject, path: Path, depth: int) -> JsonObject:
        if depth == 0:
            raise TooLarge(f"claims are nested deeper than {MAX_DEPTH} levels")
        if "..." in value:
            raise DisclosureInvalid("an object holds the reserved name '...'")
        resolved = {
            name: self.resolve_value(member, (*path, name), depth - 1)
            if isinstance(member, dict | list)
            else member
            for name, member in value.items()
            if name != "_sd"
        }
        digests = value.get("_sd", ())
        if not isinstance(digests, list | tuple):
            raise DisclosureInvalid("_sd is not an array")
        for key in digests:
            parts = self.take(key, 3)
            if parts is None:
                continue
            _, name, member = parts
            if name in resolved:
                raise DisclosureInvalid("a disclosure repeats a claim that is already there")
            self.found[*path, name] = key
            resolved[name] = self.resolve_value(member, (*path, name), depth - 1)
        return resolved

    def resolve_array(self, value: list[Any], path: Path, depth: int) -> list[Any]:
        if depth == 0:
            raise TooLarge(f"claims are nested deeper than {MAX_DEPTH} levels")
        resolved = []
        for index, element in enumerate(value):
            if isinstance(element, dict) and "..." in element:
                if len(element) != 1:
                    raise DisclosureInvalid("an array digest has other members beside it")
                parts = self.take(element["..."], 2)
                if parts is None:
                    continue
                self.found[*path, index] = element["..."]
                resolved.append(self.resolve_value(parts[1], (*path, index), depth - 1))
            else:
                resolved.append(self.resolve_value(element, (*path, index), depth - 1))
        return resolved

    def take(self, key: object, length: int) -> list[Any] | None:
        """Use the disclosure of a digest up; `None` for an undisclosed claim or a decoy."""
        if not isinstance(key, str):
            raise DisclosureInvalid("a digest is not a string")
        if key in self.seen:
            # Section 7.1, step 4.
            raise DisclosureInvalid("the same digest occurs twice")
        self.seen.add(key)
        parts = self.opened.pop(key, None)
        if parts is not None and len(parts) != length:
            raise DisclosureInvalid("a disclosure for an array stands in an object, or vice versa")
        return parts


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
    if isinstance(value, list | tuple):
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
