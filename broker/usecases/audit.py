"""Write an act into the log, in the act's own transaction: neither exists without the other."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from broker.domain.entry import Entry
from broker.domain.errors import NotFound
from broker.domain.held import Held
from broker.domain.ids import new_id
from broker.domain.issued_claims import coarse
from broker.store import audit as store
from broker.usecases.context import Context


def record(
    ctx: Context,
    tx: Connection,
    *,
    tenant_id: str,
    type: str,  # noqa: A002 (the field's name in the entry)
    body: Mapping[str, Any],
    consent_id: str | None = None,
    subject_id: str | None = None,
    held: Held | None = None,
) -> str:
    """Append an entry (pending: the sequencer gives it its index) and return its id.

    The entry is salted and encrypted under the customer's log key, or the tenant's where it
    concerns no customer, or one whose key has been destroyed. `body` holds identifiers, hashes and
    codes: never an attribute's value, and in an entry with a consent never what another partner
    could meet too (the customer's id, a credential copy's, a key), because the consent's partner
    gets it in its evidence. One that is `held` tells the time by its minute, and
    gets its place in the log only when that is over.
    """
    try:
        key = ctx.keys.log_key(tx, tenant_id, subject_id)
    except NotFound:
        if subject_id is None:
            raise
        subject_id, key = None, ctx.keys.log_key(tx, tenant_id, None)
    entry = Entry(
        id=new_id("e"),
        tenant_id=tenant_id,
        type=type,
        time=ctx.now() if held is None else coarse(ctx.now()),
        body=body,
        subject_id=subject_id,
        consent_id=consent_id,
    )
    sealed = key.seal(entry)
    if held is None:
        store.append(tx, sealed)
    else:
        store.append_held(tx, sealed, held.until)
    return entry.id


def record_each(
    ctx: Context,
    tx: Connection,
    *,
    tenant_id: str,
    type: str,  # noqa: A002 (the field's name in the entry)
    bodies: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Append an entry for each body, none of which concerns a customer, and return their ids.

    As `record` does, with one statement for all of them.
    """
    key, now = ctx.keys.log_key(tx, tenant_id, None), ctx.now()
    entries = [Entry(new_id("e"), tenant_id, type, now, body) for body in bodies]
    store.append(tx, *(key.seal(one) for one in entries))
    return [one.id for one in entries]
