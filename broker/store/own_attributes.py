"""Rows of tenants' own attributes: what is declared, the values, and the values that were."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from broker.domain.errors import NotFound, UnknownPartner
from broker.domain.own_attribute import (
    Declared,
    Own,
    OwnValues,
    dump_declared,
    dump_own,
    dump_values,
    stored_declared,
    stored_own,
    stored_values,
)
from broker.store import tables
from broker.store.partners import PARTNER
from broker.store.registry import ATTRIBUTE, TENANT

VALUE = tables.OwnValue.__table__  # type: ignore[attr-defined]

_OF = {"partner": PARTNER, "attribute": ATTRIBUTE}


@dataclass(frozen=True)
class Set:
    """The values of one partner or attribute, as they are now."""

    kind: str
    of: str
    values: Own


def declared(tx: Connection, tenant_id: str, *, lock: bool = False) -> Sequence[Declared]:
    """What a tenant has declared, by name; raises `NotFound` (tenant).

    With `lock` nobody changes it, or puts policies in force, before the end of `tx`.
    """
    chosen = select(TENANT.c.own_attributes).where(TENANT.c.id == tenant_id)
    row = tx.execute(chosen.with_for_update(key_share=True) if lock else chosen).one_or_none()
    if row is None:
        raise NotFound("no such tenant")
    return () if row.own_attributes is None else stored_declared(row.own_attributes)


def declare(tx: Connection, tenant_id: str, found: Sequence[Declared]) -> None:
    """Put declarations in place of the earlier ones."""
    values = {"own_attributes": dump_declared(found), "version": TENANT.c.version + 1}
    tx.execute(update(TENANT).where(TENANT.c.id == tenant_id).values(**values))


def values_of(tx: Connection, tenant_id: str, kind: str, of: str) -> OwnValues | None:
    """The values of a partner or an attribute; raises `UnknownPartner`, `NotFound`."""
    table = _OF[kind]
    row = tx.execute(
        select(table.c.own).where(table.c.tenant_id == tenant_id, table.c.id == of)
    ).one_or_none()
    if row is None:
        if kind == "partner":
            raise UnknownPartner("no such partner is registered")
        raise NotFound("no such attribute is in the dictionary")
    return stored_values(row.own)


def put(
    tx: Connection, tenant_id: str, kind: str, of: str, values: Own, *, by: str, now: int
) -> int:
    """Set the values of a partner or an attribute, and keep them under the tenant's next number.

    The caller holds the tenant (`declared`). Decisions notice by the row's version.
    """
    newest = tx.execute(select(func.max(VALUE.c.number)).where(VALUE.c.tenant_id == tenant_id))
    number = 1 + (newest.scalar_one() or 0)
    row: dict[str, Any] = {"kind": kind, "of_id": of, "own": dump_own(values), "set_by": by}
    tx.execute(insert(VALUE).values(tenant_id=tenant_id, number=number, created_at=now, **row))
    table = _OF[kind]
    tx.execute(
        update(table)
        .where(table.c.tenant_id == tenant_id, table.c.id == of)
        .values(own=dump_values(number, values), version=table.c.version + 1)
    )
    return number


def every(tx: Connection, tenant_id: str) -> list[Set]:
    """All values of a tenant as they are now: partners', then attributes'."""
    found = []
    for kind, table in _OF.items():
        chosen = select(table.c.id, table.c.own).where(
            table.c.tenant_id == tenant_id, table.c.own.is_not(None)
        )
        for row in tx.execute(chosen.order_by(table.c.id)):
            kept = stored_values(row.own)
            found += [] if kept is None or not kept.values else [Set(kind, row.id, kept.values)]
    return found


def numbered(tx: Connection, tenant_id: str, numbers: Collection[int]) -> dict[int, Own]:
    """The values that were set under these numbers."""
    if not numbers:
        return {}
    rows = tx.execute(
        select(VALUE.c.number, VALUE.c.own).where(
            VALUE.c.tenant_id == tenant_id, VALUE.c.number.in_(sorted(numbers))
        )
    )
    return {row.number: stored_own(row.own) for row in rows}
