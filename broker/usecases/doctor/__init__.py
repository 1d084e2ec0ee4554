"""Examine a deployment: why it does not start, or will not serve, and what is about to end.

Nothing is created, migrated, signed or changed, and nobody is asked but the own public address and
the vaults that the settings name: a probe is put there and deleted.
"""

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from broker.domain.errors import InvalidPolicies
from broker.domain.finding import Finding, fine, problem
from broker.domain.policy import UnusablePolicies, consent_policies
from broker.outbound.own_address import ask_own_address
from broker.settings import Settings
from broker.store import policy_sets
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.usecases.doctor import database, events, keys, log, surroundings, vaults
from broker.usecases.loaded_policies import LoadedPolicies
from credentials.sealing import MasterKey

__all__ = ["examine"]


def examine(settings: Settings, now: int, *, ask: bool = True) -> Iterator[Finding]:
    """Everything that can be looked at as things stand, one finding after the other.

    What rests on something that is missing is left out: its cause is the finding. `now` is this
    machine's clock; with `ask` False neither the own address nor a service is asked.
    """
    yield from surroundings.settings(settings)
    yield from surroundings.home(settings)
    yield from _policies()
    master = surroundings.master_key(settings)
    db = Database(settings.sqlalchemy_url, pool_size=1)
    try:
        standing = list(database.standing(settings, db))
        yield from standing
        if any(finding.code == "database_fine" for finding in standing):
            yield from _behind(settings, db, master, now, ask=ask)
    finally:
        db.close()
    yield from surroundings.clock(ask_own_address(settings.public_url) if ask else None, now)


def _behind(
    settings: Settings, db: Database, master: MasterKey | Finding, now: int, *, ask: bool
) -> Iterator[Finding]:
    """What is looked at in a database that this broker could serve on."""
    try:
        yield from database.clock(db, now)
        if isinstance(master, Finding):
            yield master
            return
        opened = list(keys.sealed(db, master))
        yield from opened
        yield from keys.certificates(settings, db, now)
        if all(finding.level != "problem" for finding in opened):
            yield from log.standing(settings, db, master, now)
            if ask:
                yield from vaults.services(settings, db, master, now)
        yield from log.lists(settings, db)
        yield from _own_policies(db)
        yield from events.webhooks(db, now)
        yield from events.sources(db, now)
    except SQLAlchemyError as error:
        yield database.unreadable(error)


def _policies() -> Iterator[Finding]:
    try:
        policies = consent_policies()
    except InvalidPolicies as error:
        yield problem("policies", "policies_invalid", message=str(error))
    else:
        yield fine("policies", "policies_fine", version=policies.version)


def _own_policies(db: Database) -> Iterator[Finding]:
    """Sets in force that do not load: their tenants are denied everything."""
    loaded = LoadedPolicies()
    with acting_for_all(), db.reading() as tx:
        sets = policy_sets.all_in_force(tx)
    for tenant_id, digest, text in sets:
        policies = loaded.load(digest, text)
        if isinstance(policies, UnusablePolicies):
            yield problem(
                "policies", "policy_set_invalid", tenant=tenant_id, message=policies.problem
            )
