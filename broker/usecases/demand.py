"""What a purpose demands to be proven, and by which issuers' word: kept by the operator."""

import datetime as dt
from dataclasses import replace

import orjson
from sqlalchemy import Connection

from broker.domain.demand import CREDENTIAL, Demand, Issuer, Trusted, read_demand
from broker.domain.errors import InvalidRequest
from broker.domain.proof_values import check_together
from broker.store import demands, registry
from broker.usecases import audit
from broker.usecases.attribute_type import attribute_types
from broker.usecases.context import Context
from credentials.errors import CredentialError
from credentials.jcs import b64url_decode
from zkp import OlderThan, PublicKey, ZkpError

LONGEST_TEXT = 2_048
MOST_ISSUERS = 64
SHORTEST_EPOCH, LONGEST_EPOCH = 60, 31_622_400


def set_demand(ctx: Context, tenant_id: str, purpose_id: str, value: object) -> Demand | None:
    """Demand a statement of everybody whose data are used for a purpose; None demands nothing.

    It counts from the next decision on. Raises `InvalidRequest`, `StatementShows`, `NotFound`.
    """
    demand = None if value is None else read_demand(value)
    if demand is not None:
        _check_together(ctx, tenant_id, demand)
    text = None if demand is None else orjson.dumps(demand.to_json()).decode()
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        demands.set_demand(tx, tenant_id, purpose_id, text)
        told = None if demand is None else demand.to_json()
        body = {"purpose": purpose_id, "demand": told}
        audit.record(ctx, tx, tenant_id=tenant_id, type="purpose.demand", body=body)
    return demand


def _check_together(ctx: Context, tenant_id: str, demand: Demand) -> None:
    kinds = {kind.schema.id: kind.schema for kind in attribute_types(ctx, tenant_id)}
    today = dt.datetime.fromtimestamp(ctx.now(), dt.UTC).date().isoformat()
    meant = [
        replace(one, on=today) if isinstance(one, OlderThan) else one for one in demand.statements
    ]
    check_together(meant, {CREDENTIAL: demand.schema}, kinds)


def trust_issuer(
    ctx: Context, tenant_id: str, issuer: Issuer, epoch_seconds: int | None = None
) -> None:
    """Trust credentials of a kind that this key of this issuer signed, in decisions.

    `epoch_seconds` is how long each epoch of its status tokens is; without it nothing that it
    signed counts where a purpose demands that it is not revoked. Raises `InvalidRequest`,
    `StateConflict`, `NotFound` (tenant).
    """
    _check(issuer)
    if epoch_seconds is not None and not SHORTEST_EPOCH <= epoch_seconds <= LONGEST_EPOCH:
        raise InvalidRequest(f"an epoch has {SHORTEST_EPOCH} to {LONGEST_EPOCH} seconds")
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        if len(demands.trusted_issuers(tx, tenant_id)) >= MOST_ISSUERS:
            raise InvalidRequest(f"a tenant trusts at most {MOST_ISSUERS} keys of issuers")
        demands.trust(tx, tenant_id, Trusted(issuer, epoch_seconds), ctx.now())
        _record(ctx, tx, tenant_id, "issuer.trusted", issuer, epoch_seconds)


def distrust_issuer(ctx: Context, tenant_id: str, issuer: Issuer) -> None:
    """Trust it no more, from the next decision on; proofs by its word count no more either.

    Raises `NotFound`.
    """
    with ctx.db.transaction() as tx:
        demands.distrust(tx, tenant_id, issuer)
        _record(ctx, tx, tenant_id, "issuer.distrusted", issuer)


def _record(
    ctx: Context,
    tx: Connection,
    tenant_id: str,
    what: str,
    issuer: Issuer,
    epoch_seconds: int | None = None,
) -> None:
    body: dict[str, object] = {
        "schema": issuer.schema,
        "issuer": issuer.issuer,
        "key": issuer.key,
    }
    if epoch_seconds is not None:
        body["epoch_seconds"] = epoch_seconds
    audit.record(ctx, tx, tenant_id=tenant_id, type=what, body=body)


def _check(issuer: Issuer) -> None:
    for text in (issuer.schema, issuer.issuer):
        if not text.isprintable() or not 0 < len(text) <= LONGEST_TEXT:
            raise InvalidRequest(f"kind and address have 1 to {LONGEST_TEXT} letters")
    try:
        PublicKey.from_bytes(b64url_decode(issuer.key))
    except (ZkpError, CredentialError, ValueError) as problem:
        raise InvalidRequest(
            f"the key is a BBS key of 96 bytes, base64url without padding: {problem}"
        ) from problem
