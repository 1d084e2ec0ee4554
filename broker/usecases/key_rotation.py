"""Rotate keys, and mark those that somebody else may hold: acts of the operator, in the log."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import ROOT_TENANT
from broker.domain.errors import InvalidRequest, NotFound, StateConflict
from broker.store import (
    credentials,
    data_requests,
    join_requests,
    log_tree,
    presentations,
    proofs,
    registry,
    status_lists,
)
from broker.store import keys as store
from broker.store.keys import KeyRow
from broker.usecases import attribute_keys, audit
from broker.usecases.context import Context
from broker.usecases.device_keys import check_own
from broker.usecases.key_making import CERTIFIED, leaf_of
from credentials.jws import Signer
from wallet_adapters.openid4vp.request import x509_hash_client_id

DAY = 86_400
OVERLAP_DAYS = 30


@dataclass(frozen=True)
class Compromised:
    """What marking a key came to.

    `replaced_by` is None where a device holds no other key yet. `log_size`: what is in the log
    below was there before. `wallets` are copies of customer credentials that this broker refuses
    from now on; `requests` were open and are closed.
    """

    key: KeyRow
    replaced_by: str | None
    since: int
    log_size: int
    wallets: int
    requests: int


def every_key(ctx: Context) -> list[Mapping[str, Any]]:
    """All signing keys, without what is secret: for people and programs."""
    with ctx.db.reading() as tx:
        rows = store.every(tx)
    return [
        {
            "id": row.id,
            "purpose": row.purpose,
            "tenant": row.tenant_id,
            "alg": row.alg,
            "state": row.state,
            "created_at": row.created_at,
            "retired_at": row.retired_at,
            "compromised_since": row.compromised_since,
            "cosigns_until": row.signs_until,
            "log_size": row.log_size,
            "device": row.device,
            "certificate_sha256": None
            if row.purpose not in {*CERTIFIED, "root"}
            else hashlib.sha256(leaf_of(row)).hexdigest(),
        }
        for row in rows
    ]


def rotate(
    ctx: Context, purpose: str, tenant_id: str, *, overlap_days: int = OVERLAP_DAYS
) -> KeyRow:
    """Put a new key in place of the active one; it signs at once, here and in every worker soon.

    `purpose` is issuer, request, attributes or log.
    What older keys signed stays valid. The log (of all tenants) is cosigned by the older key for
    `overlap_days`. Raises `NotFound` (tenant), `KeyDeviceUnavailable` (the device has no new key).
    """
    if purpose not in {*CERTIFIED, attribute_keys.PURPOSE, "log"}:
        raise InvalidRequest("what is rotated is the issuer, request, attributes or log key")
    now = ctx.now()
    held = ctx.keys.device_key(purpose, tenant_id) if purpose in CERTIFIED else None
    with ctx.db.transaction() as tx:
        if purpose == "log":
            tenant_id = ROOT_TENANT
            made = _new_log_key(ctx, tx, now, overlap=overlap_days * DAY)
        elif purpose == attribute_keys.PURPOSE:
            registry.tenant(tx, tenant_id)
            made = attribute_keys.replace(ctx, tx, tenant_id)
        else:
            registry.tenant(tx, tenant_id)
            if held is not None:
                check_own(tx, tenant_id, held)
            made = ctx.keys.replace(tx, purpose, tenant_id, held)
        body = {"purpose": purpose, "key": made.id}
        audit.record(ctx, tx, tenant_id=tenant_id, type="key.rotated", body=body)
    ctx.keys.refresh()
    ctx.log.wake()
    return made


def record_master(ctx: Context, older: bytes) -> None:
    """Have the log tell that another master key seals from now on; both by their ids."""
    body = {"key": ctx.master.key_id.hex(), "instead_of": older.hex()}
    with ctx.db.transaction() as tx:
        audit.record(ctx, tx, tenant_id=ROOT_TENANT, type="master_key.rotated", body=body)
    ctx.log.wake()


def compromise(ctx: Context, key_id: str, since: int) -> Compromised:
    """Mark a key as held by somebody else since `since` (Unix seconds), and go on with a new one.

    1. Its certificate is refused for what is dated since then; metadata and trust file say so.
    2. A new key takes its place, unless a device holds it and has no other yet.
    3. Issuer: every status list of the tenant is signed anew. Request: open requests are closed.

    All of it commits together; other workers follow within a second or two. Raises `NotFound`,
    `InvalidRequest` (a time that is to come), `StateConflict` (a root: see the playbook).
    """
    now = ctx.now()
    if not 0 <= since <= now:
        raise InvalidRequest("since when a key is compromised lies in the past")
    with ctx.db.reading() as tx:
        row = store.find(tx, key_id)
    if row is None:
        raise NotFound(f"there is no key {key_id}: consent-broker keys list shows them")
    if row.purpose == "root":
        raise StateConflict(
            "nothing below a stolen root can be told from what the thief makes: see "
            "docs/playbooks/compromised-issuer-key.md for what is possible"
        )
    tenant_id = row.tenant_id or ROOT_TENANT
    held = None if row.tenant_id is None else ctx.keys.device_key(row.purpose, tenant_id)
    with ctx.db.transaction() as tx:
        # Taken first, as by the sequencer: nothing is published while this is decided.
        log_tree.hold_sequencer(tx)
        spoilt = [
            one
            for one in store.of(tx, row.purpose, row.tenant_id)
            if one.public_jwk == row.public_jwk
        ]
        log_size = _log_size(tx, since)
        replaced_by = None
        if any(one.state == "active" for one in spoilt):
            replaced_by = _replacement(ctx, tx, row, held)
        for one in spoilt:
            store.compromise(tx, one.id, since=since, log_size=log_size, now=now)
        store.count_change(tx)
        wallets = requests = 0
        if row.purpose == "issuer":
            status_lists.mark_all_changed(tx, tenant_id)
            wallets = credentials.issued_since(tx, tenant_id, since)
        if row.purpose == "request":
            names = [x509_hash_client_id(leaf_of(one)) for one in spoilt]
            requests = presentations.replace_of_clients(tx, tenant_id, names, now)
            requests += proofs.close_of_clients(tx, tenant_id, names)
            requests += data_requests.close_of_clients(tx, tenant_id, names)
            requests += join_requests.close_of_clients(tx, tenant_id, names)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="key.compromised",
            body={
                "purpose": row.purpose,
                "key": row.id,
                "since": since,
                "log_size": log_size,
                "replaced_by": replaced_by,
            },
        )
        kept = store.find(tx, key_id) or row
    ctx.keys.refresh()
    ctx.log.wake()
    # An earlier word may have moved the time back further.
    known_since = kept.compromised_since if kept.compromised_since is not None else since
    known_size = kept.log_size if kept.log_size is not None else log_size
    return Compromised(kept, replaced_by, known_since, known_size, wallets, requests)


def _replacement(ctx: Context, tx: Connection, row: KeyRow, held: Signer | None) -> str | None:
    if row.purpose == "log":
        return _new_log_key(ctx, tx, ctx.now(), overlap=0).id
    if row.purpose == attribute_keys.PURPOSE:
        return attribute_keys.replace(ctx, tx, row.tenant_id or ROOT_TENANT).id
    if held is not None and orjson.dumps(held.public_jwk()).decode() == row.public_jwk:
        return None
    return ctx.keys.replace(tx, row.purpose, row.tenant_id or ROOT_TENANT, held).id


def _new_log_key(ctx: Context, tx: Connection, now: int, *, overlap: int) -> KeyRow:
    log_tree.hold_sequencer(tx)
    latest = log_tree.latest_checkpoint(tx)
    published = latest.size if latest is not None else 0
    return ctx.keys.log.replace(tx, now, overlap=overlap, published=published)


def _log_size(tx: Connection, since: int) -> int:
    before = log_tree.checkpoint_at(tx, since)
    return before.size if before is not None else 0
