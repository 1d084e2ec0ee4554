"""Status lists: a place for each credential, and the signed list that shows which have ended.

The truth is in the rows: a list is signed again when one of its entries has changed, at most once
a second, at half of its `ttl`, and from a moment on from which a round of training needs it anew.
The broker's own decisions read the rows.
"""

import hashlib
import secrets
from dataclasses import dataclass, replace
from functools import lru_cache

from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.errors import NotFound
from broker.domain.ids import new_id
from broker.store import status_lists
from broker.store.status_lists import StatusListRow
from broker.usecases.context import Context
from broker.usecases.published import Published
from credentials.jcs import b64url
from credentials.sealing import MasterKey
from credentials.status import (
    issue_status_token,
)
from credentials.status_indexes import IndexPermutation, index_permutation

# The herd that one index hides in: a list of this size compresses to a few hundred bytes.
LIST_SIZE = 131_072
TTL_SECONDS = 60
LIFETIME_SECONDS = 600
KEY_BYTES = 32


@dataclass(frozen=True)
class Allocated:
    """A credential's place: the list's id, the address it is published at, the index in it."""

    list_id: str
    uri: str
    index: int


def allocate(ctx: Context, tx: Connection, tenant_id: str, partner_id: str | None) -> Allocated:
    """The next place in a list of the partner, or (None) of the tenant's customer credentials."""
    return allocate_many(ctx, tx, tenant_id, partner_id, 1)[0]


def allocate_many(
    ctx: Context, tx: Connection, tenant_id: str, partner_id: str | None, count: int
) -> list[Allocated]:
    """`count` places of one list; without its key one index tells nothing of the others.

    A new list is opened when none has room, so a place is never given twice.
    """
    taken = status_lists.take(tx, tenant_id, partner_id, count)
    if taken is None:
        _open_list(ctx, tx, tenant_id, partner_id)
        taken = status_lists.take(tx, tenant_id, partner_id, count)
        if taken is None:
            raise NotFound(f"no status list has room for {count} credentials at once")
    permutation = _permutation(ctx.master, taken.sealed_key, taken.list_id, taken.size)
    uri = list_uri(ctx, tenant_id, taken.list_id)
    return [
        Allocated(taken.list_id, uri, permutation.index(number))
        for number in range(taken.first, taken.first + count)
    ]


def mark_changed(tx: Connection, list_id: str) -> None:
    """Have a list signed anew, because the row behind one of its entries has changed."""
    status_lists.mark_changed(tx, list_id)


def list_uri(ctx: Context, tenant_id: str, list_id: str) -> str:
    """The address of a status list, as its credentials name it."""
    return f"{tenant_url(ctx.settings.public_url, tenant_id)}/status/{list_id}"


def published(ctx: Context, tenant_id: str, list_id: str) -> Published:
    """The list's token as the public gets it: at most one second behind the rows.

    1. What was looked up within this second is served from memory.
    2. Otherwise one thread asks the database; an unchanged, young token is served again.
    3. Otherwise the places are read from the rows, signed, and stored unless another process has
       published in this second (then that one's token is served).

    Raises `NotFound`.
    """
    now = ctx.now()
    # 1.
    kept = ctx.published.fresh(tenant_id, list_id, now)
    if kept is not None:
        return kept
    row = _find(ctx, tenant_id, list_id)
    with ctx.published.looking_after(tenant_id, list_id):
        kept = ctx.published.fresh(tenant_id, list_id, now)
        if kept is not None:
            return kept
        # 2.
        row = _find(ctx, tenant_id, list_id)
        if row.token is None or row.published_at is None or _is_due(row, row.published_at, now):
            # 3.
            row = _renew(ctx, row, now)
        found = _published(row)
        ctx.published.keep(tenant_id, list_id, found, now)
        return found


def _is_due(row: StatusListRow, published_at: int, now: int) -> bool:
    changed = row.revision > row.published_revision
    if row.renew_at is not None and published_at < row.renew_at <= now:
        return True
    return (changed and published_at < now) or now - published_at >= TTL_SECONDS // 2


def _renew(ctx: Context, row: StatusListRow, now: int) -> StatusListRow:
    # The row was read before the places: a change in between is shown now, and shown again.
    with ctx.db.reading() as tx:
        places = status_lists.set_places(tx, row, now)
    entries = ctx.published.entries(row.id, row.size, places)
    # After the revision: a key that was marked as stolen has every list signed anew, and one that
    # was read with that mark is signed by the key that took over.
    ctx.keys.refresh()
    key = ctx.keys.issuer(row.tenant_id)
    token = issue_status_token(
        entries,
        signer=key.signer,
        x5c=key.x5c,
        uri=list_uri(ctx, row.tenant_id, row.id),
        now=now,
        ttl=TTL_SECONDS,
        expires_at=now + LIFETIME_SECONDS,
    )
    with ctx.db.transaction() as tx:
        if status_lists.publish(tx, row.id, revision=row.revision, token=token, now=now):
            return replace(row, token=token, published_at=now)
        return _found(status_lists.find(tx, row.tenant_id, row.id))


def _published(row: StatusListRow) -> Published:
    if row.token is None or row.published_at is None:
        raise NotFound("the status list has not been published")
    token = row.token.encode("ascii")
    tag = b64url(hashlib.sha256(token).digest()[:16])
    return Published(token=token, etag=f'"{tag}"', signed_at=row.published_at)


def _open_list(ctx: Context, tx: Connection, tenant_id: str, partner_id: str | None) -> None:
    list_id = new_id("sl")
    key = secrets.token_bytes(KEY_BYTES)
    status_lists.add(
        tx,
        StatusListRow(
            id=list_id,
            tenant_id=tenant_id,
            partner_id=partner_id,
            size=LIST_SIZE,
            allocated=0,
            sealed_key=ctx.master.seal(key, f"status-list:{list_id}"),
            revision=0,
            published_revision=-1,
            token=None,
            published_at=None,
        ),
    )


def _find(ctx: Context, tenant_id: str, list_id: str) -> StatusListRow:
    with ctx.db.reading() as tx:
        return _found(status_lists.find(tx, tenant_id, list_id))


def _found(row: StatusListRow | None) -> StatusListRow:
    if row is None:
        raise NotFound("no such status list")
    return row


@lru_cache(maxsize=256)
def _permutation(master: MasterKey, sealed_key: bytes, list_id: str, size: int) -> IndexPermutation:
    return index_permutation(master.open(sealed_key, f"status-list:{list_id}"), size)
