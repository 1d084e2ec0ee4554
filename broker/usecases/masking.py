"""How attributes are masked, by role: kept by the operator, told to wallets."""

from collections.abc import Mapping

import orjson
from sqlalchemy import Connection

from broker.domain.masking import read_maskings
from broker.store import registry
from broker.usecases import audit
from broker.usecases.context import Context


def set_maskings(
    ctx: Context, tenant_id: str, attribute_id: str, by_role: Mapping[str, str]
) -> dict[str, str]:
    """Say how an attribute is masked, in place of what was said; nothing masks it when empty.

    It counts from the next decision on, and for what lies in vaults too: what is there in no such
    masking is not given out. Raises `InvalidRequest`, `NotFound`.
    """
    found = read_maskings(by_role)
    text = orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode() if found else None
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        registry.set_maskings(tx, tenant_id, attribute_id, text)
        body = {"attribute": attribute_id, "maskings": found}
        audit.record(ctx, tx, tenant_id=tenant_id, type="attribute.masking", body=body)
    return found


def maskings_of(tx: Connection, tenant_id: str) -> dict[str, dict[str, str]]:
    """How a tenant's attributes are masked by role, by attribute."""
    found: dict[str, dict[str, str]] = {
        name: orjson.loads(text) for name, text in registry.maskings(tx, tenant_id).items()
    }
    return found
