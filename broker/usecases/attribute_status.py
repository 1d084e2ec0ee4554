"""Revoke credentials of attributes; status tokens of those that stand, in whole shards.

A token is signed by the credential's own issuer key (`zkp.STATUS_TOKEN`). Signing is deterministic,
so every worker gives the same bytes and none keeps them in the database. What a proof shows is
hidden from the issuer too: nobody can look up whether the credential behind one was revoked, and so
only tokens bound the time until a revocation is noticed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from broker.domain.addresses import tenant_url
from broker.domain.errors import NotFound, StateConflict
from broker.store import attribute_credentials as store
from broker.store.keys import KeyRow
from broker.usecases import audit
from broker.usecases.attribute_keys import opened, standing
from broker.usecases.context import Context, at_one_moment
from credentials.jcs import b64url
from wallet_adapters.status_token import bits_for, ends_at, epoch_at, places_of, tag_of
from zkp import STATUS_TOKEN, TYPED, sign


@dataclass(frozen=True)
class StatusKey:
    """A key whose tokens there are: its id in addresses, and how many bits name a shard."""

    id: str
    key: str
    bits: int


@dataclass(frozen=True)
class StatusIndex:
    """The epoch that it is, its end (Unix seconds), and the keys."""

    epoch: int
    ends_at: int
    keys: tuple[StatusKey, ...]


def status_index(ctx: Context, tenant_id: str) -> StatusIndex:
    """What a wallet needs to find the shard of a credential."""
    ctx = at_one_moment(ctx)
    found = standing(ctx, tenant_id)
    with ctx.db.reading() as tx:
        counts = [store.count_revocable(tx, tenant_id, row.id) for row in found]
    epoch = epoch_at(ctx.now())
    return StatusIndex(
        epoch,
        ends_at(epoch),
        tuple(
            StatusKey(row.id, _public(row), bits_for(count))
            for row, count in zip(found, counts, strict=True)
        ),
    )


def status_shard(
    ctx: Context, tenant_id: str, epoch: int, key_id: str, bits: int, shard: int
) -> bytes:
    """The tokens of a shard in the epoch that it is, as canonical JSON: the same for everybody.

    Raises `NotFound` for any but the current epoch, keys whose signatures do not stand, and
    another number of bits than the index says: a finer shard would tell more of who asks;
    `StatusUnavailable` while too many others wait for shards to be signed.
    """
    ctx = at_one_moment(ctx)
    row = next((row for row in standing(ctx, tenant_id) if row.id == key_id), None)
    if epoch != epoch_at(ctx.now()) or row is None:
        raise NotFound("no status tokens of this epoch and key: read the index")
    with ctx.db.reading() as tx:
        expected = bits_for(store.count_revocable(tx, tenant_id, key_id))
        if bits != expected or not 0 <= shard < 1 << bits:
            raise NotFound("no such shard any more: read the index")
        found = store.live(tx, tenant_id, key_id, *places_of(shard, bits))
    told = orjson.dumps([epoch, found])
    content = hashlib.sha256(told).hexdigest()
    return ctx.shards.of(
        (tenant_id, key_id, str(epoch), str(bits), str(shard)),
        content,
        lambda before: _written(
            ctx, tenant_id, row, epoch, _signed(ctx, tenant_id, row, epoch, found, _tokens(before))
        ),
    )


def revoke_attributes(
    ctx: Context, tenant_id: str, revoked_by: str, role: str, offer_id: str
) -> int:
    """Revoke the credential of an offer, by an officer or the partner who offered it; when it was.

    From now on no token is made for it; one that a wallet has holds until its epoch is over. Again
    is no error. Raises `NotFound`, `StateConflict` (not issued, or of a kind without revocation).
    """
    now = ctx.now()
    with ctx.db.transaction() as tx:
        row = store.offer(tx, tenant_id, offer_id)
        if row is None or (role == "partner" and row.offered_by != revoked_by):
            raise NotFound("no such offer of attributes")
        if row.state != "issued" or row.revocation_id is None:
            raise StateConflict(
                "there is no credential of this offer that could be revoked: it was not issued, or "
                "its kind has no attribute revocation_id"
            )
        if not store.revoke(tx, offer_id, now):
            return row.revoked_at or now
        body = {"offer": offer_id, "type": row.type_id, "by": revoked_by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="attributes.revoked", body=body)
    return now


def _tokens(shard: bytes | None) -> dict[str, str]:
    """The tokens of a shard as `_written` made it."""
    if shard is None:
        return {}
    tokens: dict[str, str] = orjson.loads(shard)["tokens"]
    return tokens


def _signed(
    ctx: Context,
    tenant_id: str,
    row: KeyRow,
    epoch: int,
    found: Sequence[str],
    known: Mapping[str, str],
) -> Mapping[str, str]:
    key, header = opened(ctx, row), _header(ctx, tenant_id)
    tokens = {}
    for revocation_id in found:
        tag = tag_of(revocation_id)
        if tag not in known:
            values = STATUS_TOKEN.scalars({"epoch": epoch, "revocation_id": revocation_id})
            tokens[tag] = b64url(sign(key, header, values, TYPED).to_bytes())
        else:
            tokens[tag] = known[tag]
    return tokens


def _written(
    ctx: Context, tenant_id: str, row: KeyRow, epoch: int, tokens: Mapping[str, str]
) -> bytes:
    told = {
        "epoch": epoch,
        "ends_at": ends_at(epoch),
        "issuer_key": _public(row),
        "header": b64url(_header(ctx, tenant_id)),
        "tokens": dict(tokens),
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def _header(ctx: Context, tenant_id: str) -> bytes:
    return STATUS_TOKEN.header(tenant_url(ctx.settings.public_url, tenant_id))


def _public(row: KeyRow) -> str:
    key: str = orjson.loads(row.public_jwk)["x"]
    return key
