"""Rows of what purposes demand to be proven, whom a tenant trusts for it, and what was proven."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from sqlalchemy import Connection, bindparam, delete, insert, literal_column, select, update

from broker.domain.demand import Demand, DemandFacts, Issuer, Proven, Trusted, newest
from broker.domain.errors import NotFound, StateConflict
from broker.store import tables
from broker.store.prepared import Prepared
from wallet_adapters.status_token import EPOCH_SECONDS
from zkp.statements import read_statement

PURPOSE = tables.Purpose.__table__  # type: ignore[attr-defined]
ISSUER = tables.TrustedIssuer.__table__  # type: ignore[attr-defined]
PROOF = tables.ProofRequest.__table__  # type: ignore[attr-defined]
KEY = tables.SigningKey.__table__  # type: ignore[attr-defined]

MOST_PROOFS: Final = 16

# Of those alone whose evidence is still here: a permit rests on what can be checked again.
PROOFS = Prepared(
    select(PROOF.c.id, PROOF.c.proven_at, PROOF.c.shown)
    .where(
        PROOF.c.contact_id == bindparam("contact_id"),
        PROOF.c.partner_id == bindparam("partner_id"),
        PROOF.c.tenant_id == bindparam("tenant_id"),
        PROOF.c.state == literal_column("'proven'"),
        PROOF.c.sealed_proof.is_not(None),
        PROOF.c.shown.is_not(None),
        # Of the demanded kind: those of other kinds would fill the number that is looked at.
        PROOF.c.shown.contains(bindparam("of_schema")),
    )
    .order_by(PROOF.c.proven_at.desc(), PROOF.c.id)
    .limit(literal_column(str(MOST_PROOFS)))
)
TRUSTED = Prepared(
    select(ISSUER.c.issuer, ISSUER.c.key, ISSUER.c.epoch_seconds)
    .where(
        ISSUER.c.tenant_id == bindparam("tenant_id"), ISSUER.c.schema_id == bindparam("schema_id")
    )
    .order_by(ISSUER.c.issuer, ISSUER.c.key)
)
OWN_KEYS = Prepared(
    select(KEY.c.public_jwk)
    .where(
        KEY.c.tenant_id == bindparam("tenant_id"),
        KEY.c.purpose == literal_column("'attributes'"),
        KEY.c.state.in_((literal_column("'active'"), literal_column("'retired'"))),
    )
    .order_by(KEY.c.created_at.desc(), KEY.c.id)
)


def facts(
    tx: Connection,
    demand: Demand,
    *,
    tenant_id: str,
    own_address: str,
    partner_id: str,
    contact_id: str | None,
) -> DemandFacts:
    """What was proven of a partner's contact that counts for a demand, at this moment.

    The tenant's own keys count at its own address, but for those that somebody else may hold.
    """
    own = OWN_KEYS.rows(tx, {"tenant_id": tenant_id})
    named = TRUSTED.rows(tx, {"tenant_id": tenant_id, "schema_id": demand.schema})
    trusted = (
        *(
            Trusted(Issuer(demand.schema, own_address, orjson.loads(jwk)["x"]), EPOCH_SECONDS)
            for (jwk,) in own
        ),
        *(Trusted(Issuer(demand.schema, issuer, key), length) for issuer, key, length in named),
    )
    proven = None
    if contact_id is not None:
        values = {
            "contact_id": contact_id,
            "partner_id": partner_id,
            "tenant_id": tenant_id,
            "of_schema": f'"schema":{orjson.dumps(demand.schema).decode()}',
        }
        proven = newest(demand, trusted, [_proven(*row) for row in PROOFS.rows(tx, values)])
    return DemandFacts(demand, trusted, proven)


def shown_text(issuers: Mapping[str, Issuer], statements: list[dict[str, Any]]) -> str:
    """What a decision needs to know of a proof, as it is kept beside it."""
    told = {
        "credentials": {
            name: {"schema": one.schema, "issuer": one.issuer, "key": one.key}
            for name, one in issuers.items()
        },
        "statements": statements,
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()


def set_demand(tx: Connection, tenant_id: str, purpose_id: str, text: str | None) -> None:
    """Put a demand (JSON text) in place of a purpose's earlier one; raises `NotFound`.

    Decisions notice by the purpose's version.
    """
    done = tx.execute(
        update(PURPOSE)
        .where(PURPOSE.c.tenant_id == tenant_id, PURPOSE.c.id == purpose_id)
        .values(demand=text, version=PURPOSE.c.version + 1)
    )
    if done.rowcount != 1:
        raise NotFound(f"the purpose {purpose_id} is not registered")


def demands(tx: Connection, tenant_id: str) -> dict[str, str]:
    """The demands of a tenant's purposes (JSON text), by purpose; those that have one."""
    rows = tx.execute(
        select(PURPOSE.c.id, PURPOSE.c.demand).where(
            PURPOSE.c.tenant_id == tenant_id, PURPOSE.c.demand.is_not(None)
        )
    )
    return {row.id: row.demand for row in rows}


def trust(tx: Connection, tenant_id: str, trusted: Trusted, now: int) -> None:
    """Trust an issuer's key for a kind of credential; raises `StateConflict` where it is."""
    issuer = trusted.issuer
    if tx.execute(select(ISSUER.c.key).where(*_is(tenant_id, issuer))).first() is not None:
        raise StateConflict("this key of this issuer is trusted for this kind already")
    tx.execute(
        insert(ISSUER).values(
            tenant_id=tenant_id,
            schema_id=issuer.schema,
            issuer=issuer.issuer,
            key=issuer.key,
            epoch_seconds=trusted.epoch_seconds,
            created_at=now,
        )
    )


def distrust(tx: Connection, tenant_id: str, issuer: Issuer) -> None:
    """Trust it no more; raises `NotFound`."""
    if tx.execute(delete(ISSUER).where(*_is(tenant_id, issuer))).rowcount != 1:
        raise NotFound("this key of this issuer is not trusted for this kind")


def trusted_issuers(tx: Connection, tenant_id: str) -> list[Trusted]:
    """Whom a tenant trusts beside its own keys, by kind and address."""
    rows = tx.execute(
        select(ISSUER.c.schema_id, ISSUER.c.issuer, ISSUER.c.key, ISSUER.c.epoch_seconds)
        .where(ISSUER.c.tenant_id == tenant_id)
        .order_by(ISSUER.c.schema_id, ISSUER.c.issuer, ISSUER.c.key)
    )
    return [Trusted(Issuer(*row[:3]), row.epoch_seconds) for row in rows]


def _is(tenant_id: str, issuer: Issuer) -> tuple[Any, ...]:
    return (
        ISSUER.c.tenant_id == tenant_id,
        ISSUER.c.schema_id == issuer.schema,
        ISSUER.c.issuer == issuer.issuer,
        ISSUER.c.key == issuer.key,
    )


def _proven(request_id: str, proven_at: int, shown: str) -> Proven:
    told = orjson.loads(shown)
    return Proven(
        request_id,
        proven_at,
        tuple(read_statement(one) for one in told["statements"]),
        {
            name: Issuer(one["schema"], one["issuer"], one["key"])
            for name, one in told["credentials"].items()
        },
    )
