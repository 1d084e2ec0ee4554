"""A tenant's own attributes: what its own policies can look at besides the broker's schema.

A declaration says of what something is an attribute (a partner, an attribute of the dictionary, or
the request), its name and its type. Policies find them in name spaces of their own, where they can
shadow nothing of the broker's, and each may be missing: without `has` a policy is not valid. A
value that does not fit its declaration any more, since that was made anew, is missing too.

    principal.brand.own has tier && principal.brand.own.tier < 2
    resource.own has owner && resource.own.owner == "marketing"
    if context.own has channel then context.own.channel != "app" else true

Values of partners and attributes are set by officers. Those of a request are the caller's word
(`context.own` of an evaluation); texts among them are of a declared list, since the log keeps them.

A set of policies begins with the declarations that it uses, in one line, so that its hash names
them too, and it is judged by them for ever:

    // own: [["partner","tier","long",[]]]
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from broker.domain.errors import InvalidPolicies, InvalidRequest

Kind = Literal["partner", "attribute", "request"]
Type = Literal["long", "string", "bool", "set"]
Value = int | str | bool | tuple[str, ...]
Own = tuple[tuple[str, Value], ...]

MOST: Final = 16
MOST_LISTED: Final = 32
LONGEST_TEXT: Final = 100
LARGEST: Final = 2**63 - 1
NAME: Final = re.compile(r"[a-z][A-Za-z0-9_]{0,39}")
RESERVED: Final = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has"})
HEADER: Final = "// own: "
_CEDAR: Final[Mapping[str, str]] = {
    "long": "Long",
    "string": "String",
    "bool": "Bool",
    "set": "Set<String>",
}
_SPACES: Final[Mapping[str, str]] = {
    "partner": "OwnOfPartner",
    "attribute": "OwnOfAttribute",
    "request": "OwnOfRequest",
}


class OwnValues(NamedTuple):
    """The values of a partner or an attribute, and the number under which the tenant kept them."""

    number: int
    values: Own


@dataclass(frozen=True, slots=True)
class Declared:
    """One declaration; `values` are the texts that a request may state."""

    on: Kind
    name: str
    type: Type
    values: tuple[str, ...] = ()

    def fits(self, value: object) -> bool:
        """Whether a value is of this type, not too large, and where listed one of the list."""
        if self.type == "bool":
            return isinstance(value, bool)
        if self.type == "long":
            is_number = isinstance(value, int) and not isinstance(value, bool)
            return is_number and -LARGEST <= value <= LARGEST  # type: ignore[operator]
        texts = value if self.type == "set" else (value,)
        if not isinstance(texts, tuple) or len(texts) > MOST_LISTED:
            return False
        return all(_is_text(text) and (not self.values or text in self.values) for text in texts)

    def to_json(self) -> dict[str, Any]:
        """The declaration as the API and commands tell it."""
        return {"on": self.on, "name": self.name, "type": self.type, "values": list(self.values)}


def check_declared(one: Declared) -> None:
    """Raise `InvalidRequest` for a declaration that policies could not use, or the log not keep."""
    if NAME.fullmatch(one.name) is None or one.name in RESERVED:
        raise InvalidRequest(
            "an own attribute is named like contractTier: a letter of a-z first, then letters, "
            "digits and _, 40 at most, and no word of Cedar"
        )
    if one.on not in _SPACES or one.type not in _CEDAR:
        raise InvalidRequest("it is of a partner, an attribute or the request, and of a known type")
    if len(one.values) > MOST_LISTED or len(set(one.values)) != len(one.values):
        raise InvalidRequest(f"a list has at most {MOST_LISTED} values, each once")
    if not all(_is_text(text) for text in one.values):
        raise InvalidRequest(f"a value is printable text of 1 to {LONGEST_TEXT} letters")
    if one.values and one.type in {"long", "bool"}:
        raise InvalidRequest("a list of values is for texts: leave it out")
    if one.on == "request" and one.type in {"string", "set"} and not one.values:
        raise InvalidRequest("texts of a request are of a list: say which values it may have")


def read_own(raw: object, where: str) -> Own:
    """Values as they came in JSON, in order; raises `InvalidRequest` for what none can be."""
    if not isinstance(raw, dict) or len(raw) > MOST:
        raise InvalidRequest(f"{where} is an object with at most {MOST} members")
    return own_of({name: _read(value, f"{where}.{name[:40]}") for name, value in raw.items()})


def own_of(values: Mapping[str, Value]) -> Own:
    """Values in the order of their names."""
    return tuple(sorted(values.items(), key=lambda one: one[0]))


def dump_own(own: Own) -> str:
    """As it is kept."""
    return orjson.dumps(dict(own)).decode()


def stored_own(text: str) -> Own:
    """What `dump_own` wrote."""
    return own_of({name: _tuple(value) for name, value in orjson.loads(text).items()})


def dump_values(number: int, values: Own) -> str:
    """As the row of a partner or an attribute keeps them."""
    return orjson.dumps([number, dict(values)]).decode()


@functools.lru_cache(maxsize=1_024)
def stored_values(text: str | None) -> OwnValues | None:
    """What `dump_values` wrote; None where nothing was ever set."""
    if text is None:
        return None
    number, values = orjson.loads(text)
    return OwnValues(number, own_of({name: _tuple(value) for name, value in values.items()}))


def dump_declared(declared: Iterable[Declared]) -> str:
    """Declarations as they are kept, by name."""
    ordered = sorted(declared, key=lambda one: one.name)
    return orjson.dumps([[one.on, one.name, one.type, one.values] for one in ordered]).decode()


def stored_declared(text: str) -> tuple[Declared, ...]:
    """What `dump_declared` wrote; raises `InvalidRequest` for another text."""
    try:
        found = tuple(
            Declared(on, name, kind, tuple(v)) for on, name, kind, v in orjson.loads(text)
        )
        for one in found:
            check_declared(one)
    except (orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise InvalidRequest("these are no declarations of own attributes") from error
    if len(found) > MOST or len({one.name for one in found}) != len(found):
        raise InvalidRequest(f"a tenant declares at most {MOST} own attributes, each name once")
    return found


def split(text: str) -> tuple[tuple[Declared, ...], str]:
    """A set's declarations and its policies; raises `InvalidPolicies` for a line that is none."""
    if not text.startswith(HEADER):
        return (), text
    line, _, policies = text.partition("\n")
    try:
        return stored_declared(line.removeprefix(HEADER)), policies
    except InvalidRequest as error:
        raise InvalidPolicies(f"the first line: {error}") from error


def with_declared(text: str, registered: Sequence[Declared]) -> str:
    """A set's text with the registered declarations that it uses, whichever line it had before.

    Raises `InvalidPolicies` where it had one that is registered otherwise, or no more.
    """
    before, policies = split(text)
    check_registered(before, registered)
    used = [one for one in registered if re.search(rf"\b{one.name}\b", policies, re.ASCII)]
    return f"{HEADER}{dump_declared(used)}\n{policies}" if used else policies


def check_registered(declared: Iterable[Declared], registered: Sequence[Declared]) -> None:
    """Raise `InvalidPolicies` where a declaration is not registered so."""
    for one in declared:
        if one not in registered:
            raise InvalidPolicies(
                f"the own attribute {one.name} is not registered so any more: declare it so, or "
                "add the policies again without their first line"
            )


def schema_with(schema: str, declared: Sequence[Declared]) -> str:
    """The schema with declarations in their name spaces."""
    for kind, space in _SPACES.items():
        members = ", ".join(
            f"{one.name}?: {_CEDAR[one.type]}" for one in declared if one.on == kind
        )
        schema = schema.replace(f"type {space} = {{}};", f"type {space} = {{ {members} }};")
    return schema


def chosen(own: Own, declared: Sequence[Declared], kind: Kind) -> Own:
    """The values that are declared so and fit; whatever else is missing."""
    if not own:
        return ()
    known = {one.name: one for one in declared if one.on == kind}
    return tuple([pair for pair in own if pair[0] in known and known[pair[0]].fits(pair[1])])


def unseen(own: Own, declared: Sequence[Declared], kind: str) -> list[str]:
    """The names of the values that no policy sees: not declared (so) any more."""
    known = {one.name: one for one in declared if one.on == kind}
    return [name for name, value in own if name not in known or not known[name].fits(value)]


def unfit(own: Own, declared: Sequence[Declared]) -> bool:
    """Whether a request states something declared in another type, or outside of its list."""
    known = {one.name: one for one in declared if one.on == "request"}
    return any(name in known and not known[name].fits(value) for name, value in own)


def _read(value: object, where: str) -> Value:
    if isinstance(value, (bool, int)):
        return value
    listed = value if isinstance(value, list) else [value]
    texts = [text for text in listed if isinstance(text, str) and _is_text(text)]
    if len(texts) != len(listed) or len(texts) > MOST_LISTED:
        raise InvalidRequest(
            f"{where} is a whole number, true or false, a text of 1 to {LONGEST_TEXT} printable "
            f"letters, or a list of at most {MOST_LISTED} such texts"
        )
    return tuple(dict.fromkeys(texts)) if isinstance(value, list) else texts[0]


def _tuple(value: Any) -> Value:  # noqa: ANN401 (JSON)
    return tuple(value) if isinstance(value, list) else value


def _is_text(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= LONGEST_TEXT and text.isprintable()
