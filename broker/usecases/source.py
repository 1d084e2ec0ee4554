"""Sources of events: other systems that may send some, each with a secret of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker.domain.errors import InvalidRequest, StateConflict
from broker.domain.ids import new_id
from broker.domain.webhook import new_secret, read_secret, written_secret
from broker.store import registry, sources
from broker.store.sources import SourceRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.rotation import rotated, secrets_that_count

SOURCE = "es"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class ShownSource:
    """A source, and its secret, which is shown this once."""

    row: SourceRow
    secret: str


def add_source(ctx: Context, tenant_id: str, name: str, secret: str | None = None) -> ShownSource:
    """Take events of a system, under a secret that it has chosen or a fresh one.

    Raises `InvalidRequest`, `StateConflict` (the name is taken), `NotFound` (tenant).
    """
    if not NAME.fullmatch(name):
        raise InvalidRequest("a source's name is of a-z, 0-9 and -, 40 at most: it is in addresses")
    plain = new_secret() if secret is None else read_secret(secret)
    source_id = new_id(SOURCE)
    row = SourceRow(
        id=source_id,
        tenant_id=tenant_id,
        name=name,
        sealed_secret=ctx.master.seal(plain, _context(source_id)),
        sealed_previous=None,
        previous_until=None,
        opened=0,
        open_until=0,
        reason=None,
        created_at=ctx.now(),
    )
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        sources.add(tx, row)
        audit.record(ctx, tx, tenant_id=tenant_id, type="event_source.added", body=_told(row))
    return ShownSource(row, written_secret(plain))


def all_sources(ctx: Context, tenant_id: str) -> list[SourceRow]:
    """The sources of a tenant, by name."""
    with ctx.db.reading() as tx:
        return sources.of_tenant(tx, tenant_id)


def rotate_source(
    ctx: Context, tenant_id: str, name: str, secret: str | None = None
) -> ShownSource:
    """Take events by a new secret; each older one counts beside it until its day is over.

    Raises `InvalidRequest`, `NotFound`, `StateConflict` (too many within a day).
    """
    plain = new_secret() if secret is None else read_secret(secret)
    with ctx.db.transaction() as tx:
        row = sources.find(tx, tenant_id, name, lock=True)
        sources.change(tx, row.id, **rotated(ctx, row, _context(row.id), plain))
        kind = "event_source.secret_rotated"
        audit.record(ctx, tx, tenant_id=tenant_id, type=kind, body=_told(row))
    return ShownSource(row, written_secret(plain))


def remove_source(ctx: Context, tenant_id: str, name: str) -> None:
    """Take no events of a system any more. Raises `NotFound`, `StateConflict` (some wait)."""
    with ctx.db.transaction() as tx:
        row = sources.find(tx, tenant_id, name)
        if not sources.remove(tx, row.id):
            raise StateConflict("events of this source wait: have its consumer acknowledge them")
        audit.record(ctx, tx, tenant_id=tenant_id, type="event_source.removed", body=_told(row))


def secrets_of(ctx: Context, row: SourceRow) -> Sequence[bytes]:
    """The secrets that count now, the newest first."""
    return secrets_that_count(ctx, row, _context(row.id))


def _told(row: SourceRow) -> dict[str, Any]:
    return {"source": row.id, "name": row.name}


def _context(source_id: str) -> str:
    return f"event-source:{source_id}"
