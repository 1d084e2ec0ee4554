"""Rows of transfers abroad: mechanisms, whose data were exported in a year, and how many that is.

The count of a handler and year is a row of its own. Who adds to it holds it until the end of the
transaction, so that of several at once for the last place below a band exactly one gets it.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from broker.domain.cross_border import Count, Mechanism, Room, TransferFacts
from broker.domain.errors import NotFound
from broker.store import tables
from broker.store.prepared import Prepared
from broker.store.registry import TENANT

MECHANISM = tables.TransferMechanism.__table__  # type: ignore[attr-defined]
SUBJECT = tables.TransferSubject.__table__  # type: ignore[attr-defined]
COUNT = tables.TransferCount.__table__  # type: ignore[attr-defined]
MONTHS = 12

_OF_PARTNER = Prepared(
    select(MECHANISM).where(
        MECHANISM.c.tenant_id == bindparam("tenant_id"),
        MECHANISM.c.partner_id == bindparam("partner_id"),
        MECHANISM.c.exporter == bindparam("exporter"),
        MECHANISM.c.ended_at.is_(None),
    )
)
_THIS_YEAR = Prepared(
    select(COUNT.c.general, COUNT.c.sensitive).where(
        COUNT.c.tenant_id == bindparam("tenant_id"),
        COUNT.c.exporter == bindparam("exporter"),
        COUNT.c.year == bindparam("year"),
    )
)
_COUNT_KEY = ("tenant_id", "exporter", "year")
_KEY = (*_COUNT_KEY, "category", "subject_key")
_COUNTED = Prepared(
    select(SUBJECT.c.month).where(*(SUBJECT.c[name] == bindparam(name) for name in _KEY))
)
_FORGET = Prepared(SUBJECT.delete().where(*(SUBJECT.c[name] == bindparam(name) for name in _KEY)))


def _insert_subject(made: Any) -> Prepared:  # noqa: ANN401 (either dialect's insert)
    values: dict[str, Any] = {name: bindparam(name) for name in (*_KEY, "month")}
    return Prepared(made(SUBJECT).values(**values).on_conflict_do_nothing())


def _add_one(made: Any) -> Prepared:  # noqa: ANN401 (either dialect's insert)
    """One more, where the counts as they stand leave room; the first of a year always."""
    names = (*_COUNT_KEY, "general", "sensitive")
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    counted = {"general": COUNT.c.general, "sensitive": COUNT.c.sensitive}
    own = case((bindparam("general") == 1, COUNT.c.general), else_=COUNT.c.sensitive)
    return Prepared(
        made(COUNT)
        .values(**values)
        .on_conflict_do_update(
            index_elements=list(_COUNT_KEY),
            set_={name: column + bindparam(f"more_{name}") for name, column in counted.items()},
            where=or_(
                own < bindparam("sure"),
                and_(
                    COUNT.c.general < bindparam("most_general"),
                    COUNT.c.sensitive < bindparam("most_sensitive"),
                ),
            ),
        )
    )


_INSERT_SUBJECT = {
    "sqlite": _insert_subject(sqlite_insert),
    "postgresql": _insert_subject(postgresql_insert),
}
_ADD_ONE = {"sqlite": _add_one(sqlite_insert), "postgresql": _add_one(postgresql_insert)}


def of_partner(tx: Connection, tenant_id: str, exporter: str, partner_id: str) -> list[Mechanism]:
    """What a handler has filed for transfers to a partner and has not ended, over or not."""
    named = {"tenant_id": tenant_id, "exporter": exporter, "partner_id": partner_id}
    return [_mechanism(row) for row in _OF_PARTNER.rows(tx, named)]


def in_force(tx: Connection, tenant_id: str, mechanism_ids: Collection[str], now: int) -> bool:
    """Whether each of some mechanisms counts still at `now`."""
    if not mechanism_ids:
        return True
    live = select(func.count()).where(
        MECHANISM.c.tenant_id == tenant_id,
        MECHANISM.c.id.in_(mechanism_ids),
        MECHANISM.c.ended_at.is_(None),
        or_(MECHANISM.c.valid_until.is_(None), MECHANISM.c.valid_until > now),
    )
    return bool(tx.execute(live).scalar_one() == len(mechanism_ids))


def this_year(tx: Connection, tenant_id: str, exporter: str, year: int) -> tuple[int, int]:
    """The counts of a handler and year: what is not sensitive, and what is."""
    rows = _THIS_YEAR.rows(tx, {"tenant_id": tenant_id, "exporter": exporter, "year": year})
    if not rows:
        return 0, 0
    general, sensitive = rows[0]
    return general, sensitive


def counted(tx: Connection, tenant_id: str, facts: TransferFacts) -> bool:
    """Whether the subject was counted in the year, in the category."""
    return bool(_COUNTED.rows(tx, _key(tenant_id, facts)))


def count(tx: Connection, tenant_id: str, facts: TransferFacts, within: Room) -> bool:
    """Count the subject unless it is counted; False where there is no room for one more."""
    dialect = tx.dialect.name
    key = _key(tenant_id, facts)
    if _INSERT_SUBJECT[dialect].changed(tx, {**key, "month": facts.month}) == 0:
        return True
    if facts.exemption is not None:
        return True
    general, sensitive = (0, 1) if facts.is_sensitive else (1, 0)
    added = _ADD_ONE[dialect].changed(
        tx,
        {
            **{name: key[name] for name in _COUNT_KEY},
            "general": general,
            "sensitive": sensitive,
            "more_general": general,
            "more_sensitive": sensitive,
            "sure": within.sure,
            "most_general": within.general,
            "most_sensitive": within.sensitive,
        },
    )
    if added == 0:
        _FORGET.changed(tx, key)
    return added == 1


def add(tx: Connection, tenant_id: str, made: Mechanism) -> None:
    """Store a mechanism; decisions notice by the tenant's version."""
    values = dict(vars(made))
    tx.execute(
        insert(MECHANISM).values(tenant_id=tenant_id, partner_id=values.pop("partner"), **values)
    )
    _touch(tx, tenant_id)


def end(tx: Connection, tenant_id: str, mechanism_id: str, now: int) -> bool:
    """End a mechanism; False where it was ended before. Raises `NotFound`."""
    mine = (MECHANISM.c.tenant_id == tenant_id, MECHANISM.c.id == mechanism_id)
    done = tx.execute(
        update(MECHANISM).where(*mine, MECHANISM.c.ended_at.is_(None)).values(ended_at=now)
    )
    if done.rowcount == 1:
        _touch(tx, tenant_id)
        return True
    if tx.execute(select(MECHANISM.c.id).where(*mine)).one_or_none() is None:
        raise NotFound("no such mechanism is registered")
    return False


def every(tx: Connection, tenant_id: str) -> list[Mechanism]:
    """All mechanisms of a tenant, oldest first, those that are over too."""
    found = select(MECHANISM).where(MECHANISM.c.tenant_id == tenant_id)
    rows = tx.execute(found.order_by(MECHANISM.c.created_at, MECHANISM.c.id))
    return [_mechanism(tuple(row)) for row in rows]


def counts(tx: Connection, tenant_id: str, year: int) -> list[Count]:
    """The counts of a year by handler, counted again from the rows of its subjects."""
    by = (SUBJECT.c.exporter, SUBJECT.c.category, SUBJECT.c.month)
    rows = tx.execute(
        select(*by, func.count())
        .where(SUBJECT.c.tenant_id == tenant_id, SUBJECT.c.year == year)
        .group_by(*by)
        .order_by(*by)
    )
    found: dict[str, dict[str, list[int]]] = {}
    for exporter, category, month, number in rows:
        months = found.setdefault(exporter, {}).setdefault(category, [0] * MONTHS)
        months[month - 1] = number
    return [
        Count(exporter, year, {name: tuple(months) for name, months in categories.items()})
        for exporter, categories in found.items()
    ]


def _touch(tx: Connection, tenant_id: str) -> None:
    tx.execute(update(TENANT).where(TENANT.c.id == tenant_id).values(version=TENANT.c.version + 1))


def _key(tenant_id: str, facts: TransferFacts) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "exporter": facts.exporter,
        "year": facts.year,
        "category": facts.category,
        "subject_key": facts.subject_key,
    }


def _mechanism(row: Sequence[Any] | Row[Any]) -> Mechanism:
    values = dict(zip(MECHANISM.c.keys(), row, strict=True))
    del values["tenant_id"]
    values["partner"] = values.pop("partner_id")
    return Mechanism(**values)
