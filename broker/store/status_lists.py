"""Rows of status lists: places given out, the token last published, which places are set.

The truth is in the rows of consents, copies and memberships; a list's token is a cache of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from broker.store import tables
from broker.store.prepared import Prepared
from broker.store.tables.consents import ENDED, HELD
from broker.store.tables.customers import SUPERSEDED

LIST = tables.StatusListRow.__table__  # type: ignore[attr-defined]
CONSENT = tables.Consent.__table__  # type: ignore[attr-defined]
COPY = tables.CredentialCopy.__table__  # type: ignore[attr-defined]
MEMBERSHIP = tables.Membership.__table__  # type: ignore[attr-defined]

_ROOMY = (
    select(func.min(LIST.c.id))
    .where(
        LIST.c.tenant_id == bindparam("b_tenant"),
        LIST.c.partner_id.is_not_distinct_from(bindparam("b_partner")),
        LIST.c.allocated + bindparam("b_count") <= LIST.c.size,
    )
    .scalar_subquery()
)
_TAKE = Prepared(
    update(LIST)
    # The second condition holds again after PostgreSQL has waited for another transaction.
    .where(LIST.c.id == _ROOMY, LIST.c.allocated + bindparam("b_count") <= LIST.c.size)
    .values(allocated=LIST.c.allocated + bindparam("b_count"))
    .returning(LIST.c.id, LIST.c.size, LIST.c.sealed_key, LIST.c.allocated)
)


_MARK = Prepared(
    update(LIST)
    .where(LIST.c.id == bindparam("b_list"))
    .values(revision=LIST.c.revision + literal_column("1"))
)

_FIND = Prepared(
    select(LIST).where(LIST.c.id == bindparam("b_list"), LIST.c.tenant_id == bindparam("b_tenant"))
)
_COLUMNS = [column.name for column in LIST.c]

_PUBLISH = Prepared(
    update(LIST)
    .where(
        LIST.c.id == bindparam("b_list"),
        or_(LIST.c.published_at.is_(None), LIST.c.published_at < bindparam("b_now")),
    )
    .values(
        token=bindparam("b_token"),
        published_revision=bindparam("b_revision"),
        published_at=bindparam("b_now"),
    )
)


class _Joined(FunctionElement[str]):
    """The numbers of a column as one text, with commas; NULL of no rows.

    A list may have ten thousand places that are set, and handing rows to Python one by one takes
    three quarters of the time of reading them.
    """

    type = String()
    inherit_cache = True


@compiles(_Joined)
def _postgresql(element: _Joined, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return f"string_agg(CAST({compiler.process(element.clauses, **kw)} AS TEXT), ',')"


@compiles(_Joined, "sqlite")
def _sqlite(element: _Joined, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return f"group_concat({compiler.process(element.clauses, **kw)})"


_ENDED_COPIES = Prepared(
    select(_Joined(COPY.c.status_index)).where(
        COPY.c.status_list_id == bindparam("b_list"), SUPERSEDED
    )
)
_REVOKED_MEMBERSHIPS = Prepared(
    select(_Joined(MEMBERSHIP.c.status_index)).where(
        MEMBERSHIP.c.status_list_id == bindparam("b_list"),
        MEMBERSHIP.c.state == literal_column("'revoked'"),
    )
)
_PLACES = select(_Joined(CONSENT.c.status_index)).where(
    CONSENT.c.status_list_id == bindparam("b_list")
)
_ENDED_CONSENTS = Prepared(_PLACES.where(ENDED))
_HELD = Prepared(_PLACES.where(HELD, CONSENT.c.shown_from > bindparam("b_now")))


@dataclass(frozen=True)
class StatusListRow:
    """A status list of one partner, or (`partner_id` None) of a tenant's customer credentials.

    `revision` counts changes of its entries, `published_revision` is the one inside `token`. From
    `renew_at` on (Unix seconds) a token that was signed before is served no more.
    """

    id: str
    tenant_id: str
    partner_id: str | None
    size: int
    allocated: int
    sealed_key: bytes
    revision: int
    published_revision: int
    token: str | None
    published_at: int | None
    renew_at: int | None = None


@dataclass(frozen=True)
class Taken:
    """Ordinals `first` to `first + count - 1` of a list; its key maps them to places."""

    list_id: str
    size: int
    sealed_key: bytes
    first: int


def take(tx: Connection, tenant_id: str, partner_id: str | None, count: int) -> Taken | None:
    """Take the next `count` ordinals of a list of this owner; None when no list has room.

    Atomic: two transactions never take the same ordinal.
    """
    values = {"b_tenant": tenant_id, "b_partner": partner_id, "b_count": count}
    for list_id, size, sealed_key, allocated in _TAKE.rows(tx, values):
        return Taken(list_id, size, sealed_key, allocated - count)
    return None


def add(tx: Connection, row: StatusListRow) -> None:
    """Store a new list."""
    tx.execute(insert(LIST).values(**vars(row)))


def find(tx: Connection, tenant_id: str, list_id: str) -> StatusListRow | None:
    """A list of the tenant by its id."""
    for row in _FIND.rows(tx, {"b_list": list_id, "b_tenant": tenant_id}):
        return StatusListRow(**dict(zip(_COLUMNS, row, strict=True)))
    return None


def mark_changed(tx: Connection, list_id: str) -> None:
    """Note that an entry of the list has changed, so that it is published anew."""
    _MARK.changed(tx, {"b_list": list_id})


def mark_all_changed(tx: Connection, tenant_id: str) -> None:
    """Have every list of a tenant published anew."""
    mine = LIST.c.tenant_id == tenant_id
    _hold(tx, mine)
    tx.execute(update(LIST).where(mine).values(revision=LIST.c.revision + 1))


def mark_shown(tx: Connection, consent_ids: Collection[str]) -> None:
    """Have the lists published anew in which these consents' ends may be shown from now on."""
    lists = select(CONSENT.c.status_list_id).where(CONSENT.c.id.in_(consent_ids))
    held = LIST.c.id.in_(_hold(tx, LIST.c.id.in_(lists)))
    tx.execute(update(LIST).where(held).values(revision=LIST.c.revision + 1))


def renew_at(tx: Connection, tenant_id: str, partner_ids: Collection[str], when: int) -> list[str]:
    """Have every list of some partners signed anew from `when` on, changed or not; their ids."""
    held = _hold(tx, LIST.c.tenant_id == tenant_id, LIST.c.partner_id.in_(partner_ids))
    tx.execute(update(LIST).where(LIST.c.id.in_(held)).values(renew_at=when))
    return held


def _hold(tx: Connection, *which: ColumnElement[bool]) -> list[str]:
    """Keep some lists to `tx` alone; their ids, ascending.

    One by one as whoever ends consents of several partners marks them: an update of all of them
    locks in whatever order the database finds them, and the two would wait for each other.
    """
    chosen = select(LIST.c.id).where(*which).order_by(LIST.c.id)
    return list(tx.execute(chosen.with_for_update(key_share=True)).scalars())


def set_places(tx: Connection, row: StatusListRow, now: int) -> list[int]:
    """The places of a list that are set: withdrawn or superseded consents, superseded copies.

    And, beside copies, revoked memberships. A consent whose end may not be shown yet is not among
    them.
    """
    of_list = {"b_list": row.id}
    if row.partner_id is None:
        return _places(_ENDED_COPIES, tx, of_list) + _places(_REVOKED_MEMBERSHIPS, tx, of_list)
    places = _places(_ENDED_CONSENTS, tx, of_list)
    # Two reads, each of an index alone: a condition on all of them would read all their rows. In
    # this order: whatever of the first is held is among the second.
    hidden = set(_places(_HELD, tx, {**of_list, "b_now": now}))
    return [place for place in places if place not in hidden] if hidden else places


def publish(tx: Connection, list_id: str, *, revision: int, token: str, now: int) -> bool:
    """Store a new token of a list; False when one was published in this second already."""
    values = {"b_list": list_id, "b_revision": revision, "b_token": token, "b_now": now}
    return _PUBLISH.changed(tx, values) == 1


def _places(found: Prepared, tx: Connection, values: Mapping[str, object]) -> list[int]:
    ((places,),) = found.rows(tx, values)
    numbers: list[int] = orjson.loads(f"[{places or ''}]")
    return numbers
