"""A partner's own field names for the tenant's canonical attributes."""

from collections.abc import Mapping

from sqlalchemy import Connection

from broker.domain.errors import InvalidRequest, NotFound, UnknownAttribute, UnknownPartner
from broker.store import partners, registry
from broker.usecases import audit
from broker.usecases.context import Context


def mapping(ctx: Context, tenant_id: str, partner_id: str) -> dict[str, str]:
    """A partner's field names and what each stands for; raises `NotFound`."""
    with ctx.db.reading() as tx:
        _require(tx, tenant_id, partner_id)
        return registry.mapping(tx, partner_id)


def set_mapping(ctx: Context, tenant_id: str, partner_id: str, fields: Mapping[str, str]) -> None:
    """Put a partner's field names in place of the earlier ones; the next decision uses them.

    Raises `NotFound`, `UnknownAttribute` (naming those that the dictionary lacks),
    `InvalidRequest` when the name of one attribute would stand for another.
    """
    with ctx.db.transaction() as tx:
        _require(tx, tenant_id, partner_id)
        known = registry.registry(tx, tenant_id).attributes
        unknown = sorted(set(fields.values()) - set(known))
        if unknown:
            raise UnknownAttribute(
                f"not in the tenant's dictionary: {', '.join(unknown)}; GET /v1/attributes lists it"
            )
        # Otherwise a permit for the one would read like a permit for the other.
        twisted = sorted(
            name for name, attribute in fields.items() if name in known and name != attribute
        )
        if twisted:
            raise InvalidRequest(
                f"{', '.join(twisted)}: the name of a canonical attribute stands for itself only"
            )
        registry.replace_mapping(tx, tenant_id, partner_id, fields)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="partner.mapping_changed",
            body={"partner": partner_id, "fields": len(fields)},
        )


def _require(tx: Connection, tenant_id: str, partner_id: str) -> None:
    try:
        partners.find(tx, tenant_id, partner_id)
    except UnknownPartner:
        raise NotFound("no such partner") from None
