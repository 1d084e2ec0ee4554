"""What is refused, in the log: the same once a minute, for it is not the refused's to fill."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection

from broker.domain.errors import BrokerError, NotFound
from broker.store import used_once
from broker.usecases import audit
from broker.usecases.context import Context
from credentials.jcs import b64url
from federation.errors import FederationError

EVERY: Final = 60
"""Seconds."""


def log_refusals(
    ctx: Context,
    tenant_id: str,
    type: str,  # noqa: A002 (the field's name in the entry)
    bodies: Iterable[Mapping[str, Any]],
) -> None:
    """Log refusals in a transaction of their own; of equal bodies one a minute.

    So a body says who was refused what by which code, and nothing that the refused may choose.
    """
    with ctx.db.transaction() as tx:
        log_refusals_in(ctx, tx, tenant_id, type, bodies)


def log_refusals_in(
    ctx: Context,
    tx: Connection,
    tenant_id: str,
    type: str,  # noqa: A002 (the field's name in the entry)
    bodies: Iterable[Mapping[str, Any]],
) -> None:
    """`log_refusals` within a transaction."""
    now = ctx.now()
    found = {_once(tenant_id, type, now // EVERY, body): body for body in bodies}
    # In one order for all: who is refused the same at once waits, and not for one another.
    for once in sorted(found):
        if used_once.spend(tx, type, once, expires_at=now + EVERY, now=now):
            audit.record(ctx, tx, tenant_id=tenant_id, type=type, body=found[once])


@contextmanager
def refusals_logged(
    ctx: Context,
    tenant_id: str,
    type: str,  # noqa: A002 (the field's name in the entry)
    body: Mapping[str, Any],
) -> Iterator[None]:
    """Log what is refused within, by its code and what is said of it; it is raised on.

    `NotFound` is not: that there is no such thing concerns nothing that there is.
    """
    try:
        yield
    except NotFound:
        raise
    except (BrokerError, FederationError) as refusal:
        log_refusals(ctx, tenant_id, type, [told_of(body, refusal)])
        raise


def told_of(body: Mapping[str, Any], refusal: BrokerError | FederationError) -> dict[str, Any]:
    """A body with what was refused; a message of ours names cause and cure, and no customer."""
    return {**body, "code": refusal.code, "detail": str(refusal)}


def _once(tenant_id: str, kind: str, minute: int, body: Mapping[str, Any]) -> str:
    """Under which a body is remembered for its minute."""
    source = json.dumps([tenant_id, kind, minute, body], sort_keys=True)
    return b64url(hashlib.sha256(source.encode("utf-8", "replace")).digest())
