"""What a purpose demands to be proven of a contact before data may be used for it, and how lately.

A demand is kept and published as JSON:

    schema           the id of the kind of credential, `person/1`
    statements       as in `/schemas/proof-request/1.json`, without `credential` (it is one
                     credential) and, for `older_than`, without `on`: it is meant today
    max_age_seconds  how old a proof may be, by the broker's clock

A statement that says more counts as well: "21 or older" shows "18 or older".
"""

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from broker.domain.errors import InvalidRequest
from broker.domain.proof import check_statements
from zkp import (
    AtLeast,
    AtMost,
    Between,
    MemberOf,
    NotMemberOf,
    OlderThan,
    Statement,
    ZkpError,
)
from zkp.predicates import STATUS_SCHEMA
from zkp.statements import read_statement

CREDENTIAL: Final = "holder"
MOST_STATEMENTS: Final = 8
LONGEST_AGE: Final = 366 * 86_400
LONGEST_SCHEMA: Final = 2_048
LONGEST: Final = 16_384
DEMANDED: Final = (OlderThan, AtLeast, AtMost, Between, MemberOf, NotMemberOf)
_MEMBERS: Final = {"schema", "statements", "max_age_seconds"}
_DAY: Final = "1970-01-01"
_CACHED: Final = 256


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who attests a kind of credential: address and BBS key (96 bytes, base64url)."""

    schema: str
    issuer: str
    key: str


@dataclass(frozen=True, slots=True)
class Demand:
    """Statements over one credential of a kind, all of one proof that is at most so old."""

    schema: str
    statements: tuple[Statement, ...]
    max_age_seconds: int

    def to_json(self) -> dict[str, Any]:
        """As it is kept and published."""
        return {
            "schema": self.schema,
            "statements": [_kept(statement.to_json()) for statement in self.statements],
            "max_age_seconds": self.max_age_seconds,
        }

    def asked(self, issuers: Sequence[Issuer], now: int) -> dict[str, Any]:
        """`credentials` and `statements` of a proof request that would answer it today."""
        today = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
        statements = [statement.to_json() for statement in self.statements]
        for one in statements:
            if one["type"] == OlderThan.kind:
                one["on"] = today
        trusted = [{"issuer": one.issuer, "key": one.key} for one in issuers]
        return {
            "credentials": {CREDENTIAL: {"schema": self.schema, "issuers": trusted}},
            "statements": statements,
        }


@dataclass(frozen=True, slots=True)
class Proven:
    """What one proof showed: its statements, and by which issuer's credential for each name."""

    request_id: str
    proven_at: int
    statements: tuple[Statement, ...]
    issuers: Mapping[str, Issuer]


@dataclass(frozen=True, slots=True)
class DemandFacts:
    """A demand as a decision meets it: whom the tenant trusts, and what was proven that counts."""

    demand: Demand
    trusted: tuple[Issuer, ...]
    proven: Proven | None


def read_demand(value: object) -> Demand:
    """Read a demand that somebody wrote. Raises `InvalidRequest`, `StatementShows`."""
    if not isinstance(value, dict) or set(value) != _MEMBERS:
        raise InvalidRequest("a demand has schema, statements and max_age_seconds, and no more")
    schema, told, age = value["schema"], value["statements"], value["max_age_seconds"]
    if not isinstance(schema, str) or not schema.isprintable():
        raise InvalidRequest("schema is the id of a kind of credential, like person/1")
    if not 0 < len(schema) <= LONGEST_SCHEMA:
        raise InvalidRequest(f"schema has 1 to {LONGEST_SCHEMA} letters")
    if type(age) is not int or not 0 < age <= LONGEST_AGE:
        raise InvalidRequest(f"max_age_seconds is a whole number from 1 to {LONGEST_AGE}")
    if not isinstance(told, list) or not 0 < len(told) <= MOST_STATEMENTS:
        raise InvalidRequest(f"a demand has 1 to {MOST_STATEMENTS} statements")
    statements = tuple(_statement(one) for one in told)
    if not all(isinstance(one, DEMANDED) for one in statements):
        kinds = ", ".join(kind.kind for kind in DEMANDED)
        raise InvalidRequest(f"what a purpose may demand is {kinds}")
    check_statements(statements, 0)  # `on` is the first of all days here
    demand = Demand(schema, statements, age)
    if len(orjson.dumps(demand.to_json())) > LONGEST:
        raise InvalidRequest(f"a demand takes at most {LONGEST} letters")
    return demand


@functools.lru_cache(maxsize=_CACHED)
def stored_demand(text: str) -> Demand:
    """A demand that was read before it was stored, as JSON text."""
    return read_demand(orjson.loads(text))


def newest(demand: Demand, trusted: Sequence[Issuer], found: Sequence[Proven]) -> Proven | None:
    """The newest proof that shows all of a demand, by credentials of trusted issuers alone."""
    counting = [one for one in found if _shows(one, demand, frozenset(trusted))]
    return max(counting, key=lambda one: one.proven_at, default=None)


def _shows(proven: Proven, demand: Demand, trusted: frozenset[Issuer]) -> bool:
    # A status token is of its credential's own key (`zkp`): whose word it is, is said by that.
    shown_by = [
        replace(one, schema=demand.schema) if one.schema == STATUS_SCHEMA else one
        for one in proven.issuers.values()
    ]
    if not shown_by or not trusted.issuperset(shown_by):
        return False
    # All of one credential: "18 or older" of one person and a city of another say nothing.
    return any(
        all(
            any(
                shown.place.credential == name and implies(shown, wanted)
                for shown in proven.statements
            )
            for wanted in demand.statements
        )
        for name, issuer in proven.issuers.items()
        if issuer.schema == demand.schema
    )


def implies(shown: Statement, wanted: Statement) -> bool:
    """Whether what was shown of an attribute is what is wanted of it, or more.

    Days that have come count for `older_than`: who was 18 then is 18 now.
    """
    if type(shown) is not type(wanted) or shown.place.attribute != wanted.place.attribute:
        return False
    match shown, wanted:
        case OlderThan(years=known), OlderThan(years=least):
            return known >= least
        case AtLeast(value=known), AtLeast(value=least):
            return _not_above(least, known)
        case AtMost(value=known), AtMost(value=most):
            return _not_above(known, most)
        case Between(), Between():
            return _not_above(wanted.low, shown.low) and _not_above(shown.high, wanted.high)
        case MemberOf(), MemberOf():
            return frozenset(shown.values) <= frozenset(wanted.values)
        case NotMemberOf(), NotMemberOf():
            return frozenset(shown.values) >= frozenset(wanted.values)
    return False


def _not_above(low: object, high: object) -> bool:
    """Whether one bound is at most the other; of texts only days (ISO 8601) have an order."""
    if type(low) is int and type(high) is int:
        return low <= high
    if not isinstance(low, str) or not isinstance(high, str):
        return False
    try:
        return low == high or dt.date.fromisoformat(low) <= dt.date.fromisoformat(high)
    except ValueError:
        return False


def _statement(told: object) -> Statement:
    if not isinstance(told, dict) or "credential" in told or "on" in told:
        raise InvalidRequest(
            "a demanded statement is an object without credential and on: it is of one "
            "credential, today"
        )
    full = {**told, "credential": CREDENTIAL}
    if told.get("type") == OlderThan.kind:
        full["on"] = _DAY
    try:
        return read_statement(full)
    except ZkpError as problem:
        raise InvalidRequest(f"a demanded statement cannot be read: {problem}") from problem


def _kept(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in told.items() if name not in {"credential", "on"}}
