"""Kill switches: columns of tenants, partners, purposes and algorithms."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    literal_column,
    select,
    union_all,
    update,
)

from broker.domain.errors import NotFound
from broker.domain.kill_switch import KillSwitch
from broker.store.partners import PARTNER
from broker.store.prepared import Prepared
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


def stopping(
    tx: Connection, tenant_id: str, purpose: str, algorithm: tuple[str, str]
) -> KillSwitch | None:
    """A switch that is on for a tenant, a purpose of it, or an algorithm by id and version."""
    named = {"b_tenant": tenant_id, "b_purpose": purpose}
    named |= {"b_algorithm": algorithm[0], "b_version": algorithm[1]}
    for kind, name in _STOPPING.rows(tx, named):
        return KillSwitch(kind, name)
    return None


# Asked with each receipt of a round.
_STOPPING = Prepared(
    union_all(
        select(literal_column("'tenant'"), TENANT.c.id).where(
            TENANT.c.id == bindparam("b_tenant"), TENANT.c.kill_switch
        ),
        select(literal_column("'purpose'"), PURPOSE.c.id).where(
            PURPOSE.c.tenant_id == bindparam("b_tenant"),
            PURPOSE.c.id == bindparam("b_purpose"),
            PURPOSE.c.kill_switch,
        ),
        select(literal_column("'algorithm'"), ALGORITHM.c.id).where(
            ALGORITHM.c.tenant_id == bindparam("b_tenant"),
            ALGORITHM.c.id == bindparam("b_algorithm"),
            ALGORITHM.c.algorithm_version == bindparam("b_version"),
            ALGORITHM.c.kill_switch,
        ),
    )
)


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
