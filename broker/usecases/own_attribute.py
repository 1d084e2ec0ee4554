"""Tenants' own attributes: declared, and their values set, for their own policies to look at.

A set of policies keeps the declarations that it uses, so a decision is judged by those of its set.
What the set in force uses cannot be declared otherwise meanwhile. Values have a number each, which
the entry of a decision names: past decisions are tried by the values of their time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from broker.domain.errors import InvalidRequest, NotFound, StateConflict
from broker.domain.own_attribute import (
    MOST,
    Declared,
    Kind,
    Own,
    check_declared,
    own_of,
    read_own,
    schema_with,
    split,
    unseen,
)
from broker.domain.policies import CONSENT_SCHEMA
from broker.domain.policy_set import BUILT_IN
from broker.store import own_attributes as store
from broker.store import policy_sets
from broker.store.own_attributes import Set
from broker.usecases import audit
from broker.usecases.context import Context

OPERATOR: Final = "operator"
MOST_CHANGES: Final = 1_000_000


@dataclass(frozen=True)
class Listed:
    """What is declared, the values, and the schema that policies are written for."""

    declared: Sequence[Declared]
    values: Sequence[Set]
    schema: str

    def unseen(self, one: Set) -> list[str]:
        """The names of values that no policy sees: as if they were not set."""
        return unseen(one.values, self.declared, one.kind)


def declare(ctx: Context, tenant_id: str, one: Declared, *, by: str = OPERATOR) -> bool:
    """Declare an own attribute, or declare it otherwise; whether that changed anything.

    Raises `InvalidRequest`, `StateConflict` (the policies in force use it), `NotFound` (tenant).
    """
    check_declared(one)
    with ctx.db.transaction() as tx:
        found = {known.name: known for known in store.declared(tx, tenant_id, lock=True)}
        if found.get(one.name) == one:
            return False
        _unused(tx, tenant_id, one.name)
        found[one.name] = one
        if len(found) > MOST:
            raise InvalidRequest(f"a tenant declares at most {MOST} own attributes: drop one first")
        store.declare(tx, tenant_id, list(found.values()))
        body = {**one.to_json(), "by": by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="own_attribute.declared", body=body)
    return True


def drop(ctx: Context, tenant_id: str, name: str, *, by: str = OPERATOR) -> None:
    """Declare it no more; its values stay where they are and nobody sees them.

    Raises `StateConflict` (the policies in force use it), `NotFound`.
    """
    with ctx.db.transaction() as tx:
        found = store.declared(tx, tenant_id, lock=True)
        left = [one for one in found if one.name != name]
        if len(left) == len(found):
            raise NotFound("no own attribute of this name is declared")
        _unused(tx, tenant_id, name)
        store.declare(tx, tenant_id, left)
        body = {"name": name, "by": by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="own_attribute.dropped", body=body)


def put(
    ctx: Context,
    tenant_id: str,
    kind: Kind,
    of: str,
    values: Mapping[str, object],
    *,
    by: str = OPERATOR,
) -> Own:
    """Set own attributes of a partner or an attribute; None unsets one, others stay as they are.

    The next decision follows. Returns all values. Raises `InvalidRequest` (not declared, or another
    type), `NotFound`, `UnknownPartner`.
    """
    given = read_own({name: one for name, one in values.items() if one is not None}, "values")
    with ctx.db.transaction() as tx:
        declared = {
            one.name: one for one in store.declared(tx, tenant_id, lock=True) if one.on == kind
        }
        kept = store.values_of(tx, tenant_id, kind, of)
        for name, value in given:
            if name not in declared:
                raise InvalidRequest(f"{name[:40]}: no such own attribute of a {kind} is declared")
            if not declared[name].fits(value):
                listed = " of the declared list" if declared[name].values else ""
                raise InvalidRequest(f"{name}: its value is a {declared[name].type}{listed}")
        before = {} if kept is None else dict(kept.values)
        after = {
            name: value
            for name, value in {**before, **dict(given)}.items()
            if name in declared and not (name in values and values[name] is None)
        }
        if after == before and _same_types(after, before):
            return own_of(after)
        number = store.put(tx, tenant_id, kind, of, own_of(after), by=by, now=ctx.now())
        if number > MOST_CHANGES:
            raise InvalidRequest(f"own attributes were set {MOST_CHANGES} times: no more are kept")
        body = {"number": number, kind: of, "values": dict(own_of(after)), "by": by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="own_attribute.set", body=body)
    return own_of(after)


def listed(ctx: Context, tenant_id: str) -> Listed:
    """Declarations, values, and the schema; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        found = store.declared(tx, tenant_id)
        values = store.every(tx, tenant_id)
    return Listed(found, values, schema_with(CONSENT_SCHEMA, found))


def _same_types(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(type(one[name]) is type(other[name]) for name in one)  # True equals 1


def _unused(tx: Connection, tenant_id: str, name: str) -> None:
    digest = policy_sets.in_force(tx, tenant_id)
    if digest == BUILT_IN:
        return
    found = policy_sets.find(tx, tenant_id, digest)
    used = () if found is None else split(found.text)[0]
    if any(one.name == name for one in used):
        raise StateConflict(
            f"the policies in force use {name}: put policies without it in force first"
        )
