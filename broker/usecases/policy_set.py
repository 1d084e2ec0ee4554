"""Policy sets of tenants: kept, and put in force at one moment for every worker."""

from typing import Any, Final

from sqlalchemy import Connection

from broker.domain.errors import InvalidRequest, StateConflict
from broker.domain.own_attribute import check_registered, split, with_declared
from broker.domain.policy import UnusablePolicies, policies_with, version_with
from broker.domain.policy_set import BUILT_IN, PolicySet, check_size, digest_of
from broker.store import own_attributes, registry
from broker.store import policy_sets as store
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.loaded_policies import Policies

MOST_SETS: Final = 1_000
OPERATOR: Final = "operator"


def add(ctx: Context, tenant_id: str, text: str, *, added_by: str = OPERATOR) -> PolicySet:
    """Keep a set; it is in force only once it is switched to. The same text is the same set.

    Raises `InvalidPolicies` (with the place and the cure), `InvalidRequest` (too many sets),
    `StateConflict`, `NotFound` (tenant).
    """
    if not text.strip():
        raise InvalidRequest("the text is empty: `policy switch built-in` needs no set")
    text = declared_in(ctx, tenant_id, text)
    version = policies_with(text).version
    digest = digest_of(text)
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        known = store.find(tx, tenant_id, digest)
        if known is not None:
            return known
        if len(store.every(tx, tenant_id)) >= MOST_SETS:
            raise InvalidRequest(f"a tenant keeps at most {MOST_SETS} policy sets")
        made = store.add(tx, tenant_id, digest, text, added_by=added_by, now=ctx.now())
        body = {"set": made.number, "digest": digest, "policies": version, "by": added_by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="policies.added", body=body)
    return made


def declared_in(ctx: Context, tenant_id: str, text: str) -> str:
    """The text with the tenant's declarations of own attributes that it uses, in its first line.

    Raises `InvalidPolicies`, `NotFound` (tenant).
    """
    check_size(text)
    with ctx.db.reading() as tx:
        return with_declared(text, own_attributes.declared(tx, tenant_id))


def in_force(ctx: Context, tx: Connection, tenant_id: str, digest: str) -> Policies:
    """The policies of this digest, from memory or else from the tenant's row."""
    found = ctx.policies.get(digest)
    if found is not None:
        return found
    kept = store.find(tx, tenant_id, digest)
    return ctx.policies.load(digest, None if kept is None else kept.text)


def listed(ctx: Context, tenant_id: str) -> list[dict[str, Any]]:
    """The tenant's sets as commands and the API list them, the broker's own policies first.

    `version` is what a decision under the set names, None with a `problem` where it does not load.
    Whether it loads is known of the set in force and of those that were loaded lately; compiling
    every set takes too long for a list.
    Raises `NotFound` (tenant).
    """
    with ctx.db.reading() as tx:
        in_force = store.in_force(tx, tenant_id)
        sets = store.every(tx, tenant_id)
    own = PolicySet(0, BUILT_IN, "", "", 0)
    return [_told(ctx, one, in_force) for one in (own, *sets)]


def find(ctx: Context, tenant_id: str, number: int) -> PolicySet:
    """One set by its number; raises `NotFound`."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return store.numbered(tx, tenant_id, number)


def switch(
    ctx: Context,
    tenant_id: str,
    number: int,
    *,
    expected: int | None = None,
    by: str = OPERATOR,
) -> bool:
    """Put a set in force (0: the broker's policies alone); whether that changed anything.

    Once this returns, every decision that is asked for is judged by it, at every worker; one that
    is under way is judged again where it would permit. `expected` is the number that has to be in
    force now. Raises `InvalidPolicies` for a set that does not load any more, `StateConflict` where
    another is in force than expected, `NotFound`.
    """
    with ctx.db.transaction() as tx:
        registered = own_attributes.declared(tx, tenant_id, lock=True)
        now_in_force = store.in_force(tx, tenant_id)
        was = 0
        if now_in_force != BUILT_IN:
            kept = store.find(tx, tenant_id, now_in_force)
            was = -1 if kept is None else kept.number
        if expected is not None and expected != was:
            raise StateConflict(f"policy set {was} is in force, not {expected}: look again")
        wanted = BUILT_IN
        text = ""
        if number != 0:
            found = store.numbered(tx, tenant_id, number)
            wanted, text = found.digest, found.text
        if wanted == now_in_force:
            return False
        check_registered(split(text)[0], registered)
        version = policies_with(text).version
        if not store.switch(tx, tenant_id, expected=now_in_force, digest=wanted):
            raise StateConflict("another set was put in force at the same moment: look again")
        body = {"from": was, "set": number, "policies": version, "by": by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="policies.switched", body=body)
    return True


def _told(ctx: Context, one: PolicySet, in_force: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "number": one.number,
        "digest": None if one.number == 0 else one.digest,
        "version": None,
        "in_force": one.digest == in_force,
        "added_by": one.added_by or None,
        "created_at": one.created_at or None,
    }
    known = ctx.policies.get(one.digest)
    if one.digest == in_force and known is None:
        known = ctx.policies.load(one.digest, one.text)
    if isinstance(known, UnusablePolicies):
        return told | {"problem": known.problem}
    return told | {"version": version_with(one.text)}
