"""The BBS keys by which a tenant signs credentials of attributes: like its other keys, in BBS."""

import orjson
from sqlalchemy import Connection

from broker.domain.ids import new_id
from broker.store import keys as store
from broker.store.keys import KeyRow
from broker.usecases.context import Context
from credentials.jcs import b64url, b64url_decode
from zkp import SecretKey

PURPOSE = "attributes"
ALGORITHM = "BBS-BLS12-381-SHA-256"


def signing_key(ctx: Context, tenant_id: str) -> tuple[str, SecretKey]:
    """The key that signs now, with its id; made on first use. Outside of any transaction.

    It is opened anew each time: a key that was rotated, or stolen, signs nothing more anywhere.
    """
    row = _active(ctx, tenant_id)
    return row.id, opened(ctx, row)


def standing(ctx: Context, tenant_id: str) -> list[KeyRow]:
    """The keys whose signatures stand, the one that signs first."""
    with ctx.db.reading() as tx:
        return store.of(tx, PURPOSE, tenant_id, "active", "retired")


def opened(ctx: Context, row: KeyRow) -> SecretKey:
    """The secret of a key."""
    return SecretKey.from_bytes(ctx.master.open(row.sealed, f"signing-key:{row.id}"))


def published_keys(ctx: Context, tenant_id: str) -> tuple[bytes, ...]:
    """The keys whose signatures stand (96 bytes each): the one that signs first, then older ones.

    None that somebody else may hold.
    """
    _active(ctx, tenant_id)
    with ctx.db.reading() as tx:
        rows = store.of(tx, PURPOSE, tenant_id, "active", "retired")
    return tuple(b64url_decode(orjson.loads(row.public_jwk)["x"]) for row in rows)


def stolen_keys(tx: Connection, tenant_id: str) -> frozenset[bytes]:
    """The keys that somebody else may sign with (96 bytes each)."""
    rows = store.of(tx, PURPOSE, tenant_id, "compromised")
    return frozenset(b64url_decode(orjson.loads(row.public_jwk)["x"]) for row in rows)


def replace(ctx: Context, tx: Connection, tenant_id: str) -> KeyRow:
    """A new key that takes over from the active one."""
    store.hold_creation(tx)
    made = _make(ctx, tx, tenant_id)
    store.retire_others(tx, made, ctx.now())
    store.count_change(tx)
    return made


def _active(ctx: Context, tenant_id: str) -> KeyRow:
    with ctx.db.reading() as tx:
        row = store.active(tx, PURPOSE, tenant_id)
    if row is not None:
        return row
    with ctx.db.transaction() as tx:
        store.hold_creation(tx)
        return store.active(tx, PURPOSE, tenant_id) or _make(ctx, tx, tenant_id)


def _make(ctx: Context, tx: Connection, tenant_id: str) -> KeyRow:
    key, key_id = SecretKey.generate(), new_id("k")
    public = {"kty": "OKP", "crv": "BLS12381G2", "x": b64url(key.public.data)}
    row = KeyRow(
        id=key_id,
        tenant_id=tenant_id,
        purpose=PURPOSE,
        alg=ALGORITHM,
        public_jwk=orjson.dumps(public).decode(),
        sealed=ctx.master.seal(key.to_bytes(), f"signing-key:{key_id}"),
        chain="[]",
        state="active",
        created_at=ctx.now(),
    )
    store.add(tx, row)
    return row
