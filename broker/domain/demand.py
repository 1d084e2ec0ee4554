"""What a purpose demands to be proven of a contact before data may be used for it, and how lately.

A demand is kept and published as JSON:

    schema           the id of the kind of credential, `person/1`
    statements       as in `/schemas/proof-request/1.json`, without `credential` (it is one
                     credential); `older_than` without `on`: it is meant today; `not_revoked`
                     without `token` and `epoch`: it is meant now
    max_age_seconds  how old a proof may be, by the broker's clock
    of_contact       true (or left out): the credential was issued for this very contact

A statement that says more counts as well: "21 or older" shows "18 or older". That a credential was
not revoked in an epoch counts until the epoch is over, and as long after it as a proof request is
open: whoever was asked in its last seconds may answer. Epochs are counted from 1970-01-01, in the
length that the issuer keeps to; of an issuer whose length is not known none counts.
"""

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from broker.domain.errors import InvalidRequest
from broker.domain.proof import ANSWER_SECONDS, check_statements, is_of_contact
from zkp import (
    AtLeast,
    AtMost,
    Between,
    MemberOf,
    NotMemberOf,
    NotRevoked,
    OlderThan,
    Statement,
    ZkpError,
)
from zkp.predicates import STATUS_SCHEMA
from zkp.statements import read_statement

CREDENTIAL: Final = "holder"
TOKEN: Final = "status"
MOST_STATEMENTS: Final = 8
LONGEST_AGE: Final = 366 * 86_400
LONGEST_SCHEMA: Final = 2_048
LONGEST: Final = 16_384
DEMANDED: Final = (OlderThan, AtLeast, AtMost, Between, MemberOf, NotMemberOf, NotRevoked)
# What a demand leaves to the moment, by the kind of statement.
_OF_NOW: Final[Mapping[str, Mapping[str, Any]]] = {
    OlderThan.kind: {"on": "1970-01-01"},
    NotRevoked.kind: {"token": TOKEN, "epoch": 0},
}
_LEFT_OUT: Final = {"credential", "on", "token", "epoch"}
_MEMBERS: Final = {"schema", "statements", "max_age_seconds"}
_CACHED: Final = 256


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who attests a kind of credential: address and BBS key (96 bytes, base64url)."""

    schema: str
    issuer: str
    key: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """An issuer whom a tenant trusts, and how long its epochs are: None where nobody knows."""

    issuer: Issuer
    epoch_seconds: int | None = None

    def epoch_at(self, now: int) -> int | None:
        """The epoch of this issuer's status tokens at a moment."""
        return None if self.epoch_seconds is None else now // self.epoch_seconds

    def counts_until(self, epoch: int) -> int | None:
        """The first moment at which "not revoked in this epoch" does not count any more."""
        if self.epoch_seconds is None:
            return None
        return (epoch + 1) * self.epoch_seconds + ANSWER_SECONDS


@dataclass(frozen=True, slots=True)
class Demand:
    """Statements over one credential of a kind, all of one proof that is at most so old."""

    schema: str
    statements: tuple[Statement, ...]
    max_age_seconds: int
    of_contact: bool = False

    def to_json(self) -> dict[str, Any]:
        """As it is kept and published."""
        return {
            "schema": self.schema,
            "statements": [_kept(statement.to_json()) for statement in self.statements],
            "max_age_seconds": self.max_age_seconds,
            **({"of_contact": True} if self.of_contact else {}),
        }

    def asked(self, trusted: Sequence[Trusted], now: int) -> dict[str, Any]:
        """What a proof request that would answer it today holds beside template and contact.

        A request is of one epoch: of issuers whose epochs differ it names those of the length that
        most have.
        """
        standing = any(isinstance(one, NotRevoked) for one in self.statements)
        alike = _most_alike(trusted) if standing else trusted
        issuers = [{"issuer": one.issuer.issuer, "key": one.issuer.key} for one in alike]
        credentials = {CREDENTIAL: {"schema": self.schema, "issuers": issuers}}
        if standing:
            credentials[TOKEN] = {"schema": STATUS_SCHEMA, "issuers": issuers}
        statements = [statement.to_json() for statement in self.statements]
        today = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
        for one in statements:
            if one["type"] == OlderThan.kind:
                one["on"] = today
            elif one["type"] == NotRevoked.kind:
                one["epoch"] = alike[0].epoch_at(now) if alike else 0
        binding = {"of_contact": [CREDENTIAL]} if self.of_contact else {}
        return {"credentials": credentials, "statements": statements, **binding}


@dataclass(frozen=True, slots=True)
class Proven:
    """What one proof showed: its statements, and by which issuer's credential for each name.

    `status_until`: where a demand wants it not revoked, when that stops to count (Unix seconds).
    """

    request_id: str
    proven_at: int
    statements: tuple[Statement, ...]
    issuers: Mapping[str, Issuer]
    status_until: int | None = None


@dataclass(frozen=True, slots=True)
class DemandFacts:
    """A demand as a decision meets it: whom the tenant trusts, and what was proven that counts."""

    demand: Demand
    trusted: tuple[Trusted, ...]
    proven: Proven | None


def read_demand(value: object) -> Demand:
    """Read a demand that somebody wrote. Raises `InvalidRequest`, `StatementShows`."""
    if not isinstance(value, dict) or value.keys() - {"of_contact"} != _MEMBERS:
        raise InvalidRequest(
            "a demand has schema, statements and max_age_seconds, of_contact at most, and no more"
        )
    schema, told, age = value["schema"], value["statements"], value["max_age_seconds"]
    if type(value.get("of_contact", True)) is not bool:
        raise InvalidRequest("of_contact is true or false")
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
    demand = Demand(schema, statements, age, value.get("of_contact", False))
    if len(orjson.dumps(demand.to_json())) > LONGEST:
        raise InvalidRequest(f"a demand takes at most {LONGEST} letters")
    return demand


@functools.lru_cache(maxsize=_CACHED)
def stored_demand(text: str) -> Demand:
    """A demand that was read before it was stored, as JSON text."""
    return read_demand(orjson.loads(text))


def newest(demand: Demand, trusted: Sequence[Trusted], found: Sequence[Proven]) -> Proven | None:
    """The newest proof that shows all of a demand, by credentials of trusted issuers alone.

    Where it has to be unrevoked, that which counts the longest by its age and by its status: an
    answer to an older request may come after one to a newer.
    """
    by_issuer = {one.issuer: one for one in trusted}
    counting = [known for one in found if (known := _shown(one, demand, by_issuer)) is not None]
    return max(counting, key=lambda one: (_counts_until(one, demand), one.proven_at), default=None)


def _counts_until(proven: Proven, demand: Demand) -> int:
    by_age = proven.proven_at + demand.max_age_seconds
    return by_age if proven.status_until is None else min(by_age, proven.status_until)


def _shown(proven: Proven, demand: Demand, trusted: Mapping[Issuer, Trusted]) -> Proven | None:
    """A proof that shows all of a demand, and until when; None for every other."""
    # A status token is of its credential's own key (`zkp`): whose word it is, is said by that.
    shown_by = [
        replace(one, schema=demand.schema) if one.schema == STATUS_SCHEMA else one
        for one in proven.issuers.values()
    ]
    if not shown_by or not trusted.keys() >= set(shown_by):
        return None
    # All of one credential: "18 or older" of one person and a city of another say nothing.
    for name, issuer in proven.issuers.items():
        of_this = [one for one in proven.statements if one.place.credential == name]
        if issuer.schema != demand.schema or not all(
            any(implies(shown, wanted) for shown in of_this) for wanted in demand.statements
        ):
            continue
        if demand.of_contact and not any(map(is_of_contact, of_this)):
            continue
        until = _standing(proven, demand, of_this, trusted[issuer])
        if until is not None:
            return replace(proven, status_until=until or None)
    return None


def _standing(
    proven: Proven, demand: Demand, of_this: Sequence[Statement], by: Trusted
) -> int | None:
    """Until when it counts as unrevoked; 0 where nobody wants that, None where it never does."""
    ends = []
    for wanted in demand.statements:
        if not isinstance(wanted, NotRevoked):
            continue
        known = by.epoch_at(proven.proven_at)
        epochs = [
            one.epoch for one in of_this if isinstance(one, NotRevoked) and implies(one, wanted)
        ]
        # A token of an epoch to come says nothing of now, whoever signed it.
        until = [by.counts_until(epoch) for epoch in epochs if known is not None and epoch <= known]
        ends.append(max((one for one in until if one is not None), default=None))
    if None in ends:
        return None
    return min((one for one in ends if one is not None), default=0)


def _most_alike(trusted: Sequence[Trusted]) -> list[Trusted]:
    lengths = [one.epoch_seconds for one in trusted if one.epoch_seconds is not None]
    most = max(lengths, key=lengths.count, default=None)
    return [one for one in trusted if most is not None and one.epoch_seconds == most]


def implies(shown: Statement, wanted: Statement) -> bool:
    """Whether what was shown of an attribute is what is wanted of it, or more.

    Days that have come count for `older_than`: who was 18 then is 18 now. Of `not_revoked` the
    epoch is judged apart.
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
    return isinstance(shown, NotRevoked)


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
    if not isinstance(told, dict) or told.keys() & _LEFT_OUT:
        raise InvalidRequest(
            "a demanded statement is an object without credential, on, token and epoch: it is of "
            "one credential, now"
        )
    full = {**told, "credential": CREDENTIAL, **_OF_NOW.get(str(told.get("type")), {})}
    try:
        return read_statement(full)
    except ZkpError as problem:
        raise InvalidRequest(f"a demanded statement cannot be read: {problem}") from problem


def _kept(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in told.items() if name not in _LEFT_OUT}
