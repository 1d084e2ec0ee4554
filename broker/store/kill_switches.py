"""Kill switches: columns of tenants, partners, purposes and algorithms."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select, update

from broker.domain.errors import NotFound
from broker.domain.kill_switch import KillSwitch
from broker.store.partners import PARTNER
from broker.store.registry import ALGORITHM, PURPOSE, TENANT


def turn(tx: Connection, tenant_id: str, switch: KillSwitch, *, on: bool) -> bool:
    """Turn a switch; whether it was the other way before. Raises `NotFound`, `InvalidRequest`."""
    table, found = _row(tenant_id, switch)
    changed = tx.execute(
        update(table)
        .where(*found, table.c.kill_switch.is_not(on))
        .values(kill_switch=on, version=table.c.version + 1)
    )
    if changed.rowcount == 1:
        return True
    if tx.execute(select(table.c.version).where(*found)).one_or_none() is None:
        raise NotFound(f"there is no {switch.kind} {switch.id} in this tenant")
    return False


def turned_on(tx: Connection, tenant_id: str) -> list[KillSwitch]:
    """The tenant's switches that are on."""
    partners = select(PARTNER.c.id).where(PARTNER.c.tenant_id == tenant_id, PARTNER.c.kill_switch)
    purposes = select(PURPOSE.c.id).where(PURPOSE.c.tenant_id == tenant_id, PURPOSE.c.kill_switch)
    tenant = select(TENANT.c.id).where(TENANT.c.id == tenant_id, TENANT.c.kill_switch)
    algorithms = select(ALGORITHM.c.id, ALGORITHM.c.algorithm_version).where(
        ALGORITHM.c.tenant_id == tenant_id, ALGORITHM.c.kill_switch
    )
    return [
        *(KillSwitch("tenant", name) for name in tx.execute(tenant).scalars()),
        *(KillSwitch("partner", name) for name in tx.execute(partners.order_by("id")).scalars()),
        *(KillSwitch("purpose", name) for name in tx.execute(purposes.order_by("id")).scalars()),
        *(
            KillSwitch("algorithm", f"{row.id}@{row.algorithm_version}")
            for row in tx.execute(algorithms.order_by("id", "algorithm_version"))
        ),
    ]


def _row(tenant_id: str, switch: KillSwitch) -> tuple[Table, tuple[ColumnElement[bool], ...]]:
    tables: dict[str, Any] = {"tenant": TENANT, "partner": PARTNER, "purpose": PURPOSE}
    if switch.kind == "algorithm":
        name, version = switch.algorithm
        return ALGORITHM, (
            ALGORITHM.c.tenant_id == tenant_id,
            ALGORITHM.c.id == name,
            ALGORITHM.c.algorithm_version == version,
        )
    table = tables[switch.kind]
    owner = TENANT.c.id if switch.kind == "tenant" else table.c.tenant_id
    return table, (owner == tenant_id, table.c.id == switch.id)
