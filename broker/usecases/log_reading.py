"""Read the public log: what is below the published checkpoint, and nothing beyond it."""

from sqlalchemy import Connection

from broker.domain.errors import LogUnavailable, NotFound
from broker.domain.merkle import HASH_BYTES, inclusion_proof
from broker.domain.tiles import TILE_HEIGHT, TILE_WIDTH, TileId, entry_bundle
from broker.domain.tlog_proof import LogProof
from broker.domain.witnessing import with_cosignatures
from broker.store import audit, checkpoint_times, consents, log_tree
from broker.store.audit import LoggedEntry
from broker.usecases.context import Context


def checkpoint(tx: Connection) -> str:
    """The published checkpoint, a signed note, with the cosignatures that witnesses have given.

    Raises `NotFound` before the first one.
    """
    latest = log_tree.latest_checkpoint(tx)
    if latest is None:
        raise NotFound("the log has published no checkpoint yet")
    cosigned = checkpoint_times.of_checkpoint(tx, latest.size, "witness")
    return with_cosignatures(latest.note, [time.token.decode() for time in cosigned])


def tile(tx: Connection, level: int | None, position: int, width: int) -> bytes:
    """The bytes of a tile (level None: of an entry bundle) as far as its address asks.

    Raises `NotFound` when the published tree does not reach that far. A tile that has grown
    since still answers for its narrower addresses.
    """
    latest = log_tree.latest_checkpoint(tx)
    size = latest.size if latest else 0
    # The leaves, or whole tiles of the level below, that the published tree has at this level.
    reached = size >> TILE_HEIGHT * (level or 0)
    start, end = position * TILE_WIDTH, position * TILE_WIDTH + width
    if end > reached:
        raise NotFound("the published log does not reach this tile")
    if level is None:
        return entry_bundle(audit.leaf_data(tx, start, end))
    return log_tree.TileReader(tx, size).tile(TileId(level, position))[: width * HASH_BYTES]


def proof_of_entry(
    ctx: Context, tx: Connection, tenant_id: str, partner_id: str | None, entry_id: str
) -> str:
    """The `.tlog-proof` of an entry below the published checkpoint; `extra` is the entry's salt.

    `partner_id` limits a partner to its own consents' entries. The salt is left out when the log
    key has been destroyed: the place in the log is shown still, its content no longer. Raises
    `NotFound`, or `LogUnavailable` while the entry waits (a second or two).
    """
    logged = audit.entry(tx, entry_id)
    latest = log_tree.latest_checkpoint(tx)
    if logged is None and not audit.is_pending(tx, tenant_id, entry_id):
        raise NotFound("no such entry")
    if logged is not None and not _is_entitled(tx, logged, tenant_id, partner_id):
        raise NotFound("no such entry")
    if logged is None or latest is None or latest.size <= logged.index:
        raise LogUnavailable("the entry waits for its place in the log; try again in a second")
    path = inclusion_proof(logged.index, latest.size, log_tree.TileReader(tx, latest.size))
    return LogProof(logged.index, tuple(path), latest.note, _salt(ctx, tx, logged)).encode()


def _is_entitled(
    tx: Connection, logged: LoggedEntry, tenant_id: str, partner_id: str | None
) -> bool:
    if logged.sealed.tenant_id != tenant_id:
        return False
    if partner_id is None:
        return True
    consent_id = logged.sealed.consent_id
    if consent_id is None:
        return False
    return consents.consent(tx, tenant_id, consent_id).partner_id == partner_id


def _salt(ctx: Context, tx: Connection, logged: LoggedEntry) -> bytes:
    sealed = logged.sealed
    try:
        return ctx.keys.log_key(tx, sealed.tenant_id, sealed.subject_id).salt(sealed.id)
    except NotFound:
        return b""
