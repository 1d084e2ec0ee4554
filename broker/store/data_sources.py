"""Rows of outside sources of data, and what a decision reads of one."""

from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.data_source import Checklist, DataSource, SourceFacts, State
from broker.domain.errors import NotFound, StateConflict
from broker.store import tables
from broker.store.prepared import Prepared
from broker.store.registry import ATTRIBUTE, TENANT

SOURCE = tables.DataSource.__table__  # type: ignore[attr-defined]

_FACTS = Prepared(
    select(SOURCE.c.state, SOURCE.c.checklist).where(
        SOURCE.c.tenant_id == bindparam("tenant_id"), SOURCE.c.name == bindparam("name")
    )
)


def facts(
    tx: Connection, tenant_id: str, named: str | None, sole: str | None
) -> SourceFacts | None:
    """The source that is `named`, or the one that the attribute comes from alone; None: neither.

    Whoever names another than the sole one finds no entry. Changes of an entry change the tenant's
    version, by which decisions notice.
    """
    name = named if named is not None else sole
    if name is None:
        return None
    known = sole is None or sole == name
    rows = _FACTS.rows(tx, {"tenant_id": tenant_id, "name": name}) if known else []
    if not rows:
        return SourceFacts(name, registered=False)
    [(state, checklist)] = rows
    return SourceFacts.of(name, state, Checklist.load(checklist))


def add(tx: Connection, tenant_id: str, made: DataSource) -> None:
    """Store an entry; raises `StateConflict` where the name, or an attribute's sole source, is."""
    values: dict[str, Any] = {name: getattr(made, name) for name in made.__slots__}
    values |= {"checklist": made.checklist.dump(), "partner_id": values.pop("partner")}
    try:
        with tx.begin_nested():
            tx.execute(insert(SOURCE).values(tenant_id=tenant_id, **values))
    except IntegrityError:
        raise StateConflict(f"there is a data source {made.name} already: revise it") from None
    _set_sole(tx, tenant_id, made)


def find(tx: Connection, tenant_id: str, name: str) -> DataSource:
    """An entry by its name; raises `NotFound`."""
    mine = (SOURCE.c.tenant_id == tenant_id, SOURCE.c.name == name)
    row = tx.execute(select(SOURCE).where(*mine)).one_or_none()
    if row is None:
        raise NotFound("there is no such data source in the register")
    return _source(row)


def every(tx: Connection, tenant_id: str) -> list[DataSource]:
    """The tenant's entries, by name."""
    chosen = select(SOURCE).where(SOURCE.c.tenant_id == tenant_id)
    return [_source(row) for row in tx.execute(chosen.order_by(SOURCE.c.name))]


def revise(tx: Connection, tenant_id: str, was: DataSource, made: DataSource) -> None:
    """Put another checklist in place; raises `StateConflict` where it was changed meanwhile."""
    _change(
        tx,
        was,
        checklist=made.checklist.dump(),
        state=made.state,
        title=made.title,
        partner_id=made.partner,
        signed_by=made.signed_by,
    )
    _set_sole(tx, tenant_id, made)


def set_state(tx: Connection, was: DataSource, state: State) -> None:
    """Move an entry to another state; raises `StateConflict` where it was changed meanwhile."""
    _change(tx, was, state=state)


def touch(tx: Connection, tenant_id: str) -> None:
    """Have decisions that are under way judged again; raises `NotFound` (tenant).

    Before anything else of the transaction: a decision holds the tenant first, too.
    """
    mine = update(TENANT).where(TENANT.c.id == tenant_id)
    if tx.execute(mine.values(version=TENANT.c.version + 1)).rowcount != 1:
        raise NotFound("no such tenant")


def _change(tx: Connection, was: DataSource, **columns: Any) -> None:  # noqa: ANN401 (columns)
    done = tx.execute(
        update(SOURCE)
        .where(SOURCE.c.id == was.id, SOURCE.c.version == was.version)
        .values(version=SOURCE.c.version + 1, **columns)
    )
    if done.rowcount != 1:
        raise StateConflict("the data source was changed at the same moment: look again")


def _set_sole(tx: Connection, tenant_id: str, made: DataSource) -> None:
    mine = ATTRIBUTE.c.tenant_id == tenant_id
    counted = {"version": ATTRIBUTE.c.version + 1}
    tx.execute(
        update(ATTRIBUTE)
        .where(mine, ATTRIBUTE.c.sole_source == made.name)
        .values(sole_source=None, **counted)
    )
    if not made.checklist.sole:
        return
    listed = ATTRIBUTE.c.id.in_(made.checklist.attributes)
    done = tx.execute(
        update(ATTRIBUTE)
        .where(mine, listed, ATTRIBUTE.c.sole_source.is_(None))
        .values(sole_source=made.name, **counted)
    )
    if done.rowcount != len(made.checklist.attributes):
        raise StateConflict("one of the attributes has another sole source: revise that first")


def _source(row: Any) -> DataSource:  # noqa: ANN401 (a row)
    values = dict(row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)
    del values["tenant_id"]
    values["partner"] = values.pop("partner_id")
    return DataSource(**values | {"checklist": Checklist.load(values["checklist"])})
