"""Rows of the different statements that partners have asked to be proven."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from broker.domain.proof_question import Question
from broker.store import tables
from broker.store.unheld import unheld
from credentials.jcs import b64url

QUESTION = tables.ProofQuestion.__table__  # type: ignore[attr-defined]

_LOCK: Final = 0x7A6B71  # any number that no other advisory lock of the broker uses
MOST_LISTED: Final = 1_000


@dataclass(frozen=True)
class QuestionRow:
    """A question of a partner, and when it was asked first and last (Unix seconds, to a day)."""

    partner_id: str
    question: Question
    first_at: int
    last_at: int


def hold(tx: Connection, partner_id: str) -> None:
    """Let no other transaction ask something new for this partner until the end of `tx`.

    SQLite has one writer anyway.
    """
    if tx.dialect.name != "sqlite":
        whom = func.hashtext(partner_id)
        tx.execute(select(func.pg_advisory_xact_lock(_LOCK, whom)))


def asked(
    tx: Connection, partner_id: str, questions: Iterable[Question], since: int
) -> list[QuestionRow]:
    """What was asked since then about the attributes of these questions."""
    attributes = {_attribute(one) for one in questions}
    found = (
        select(QUESTION)
        .where(
            QUESTION.c.partner_id == partner_id,
            QUESTION.c.attribute_hash.in_(sorted(attributes)),
            QUESTION.c.last_at > since,
        )
        .order_by(QUESTION.c.attribute_hash, QUESTION.c.statement_hash)
    )
    return [_row(row) for row in tx.execute(found)]


def add(
    tx: Connection, tenant_id: str, partner_id: str, questions: Sequence[Question], now: int
) -> None:
    """Note what is asked for the first time in the period; after `hold`."""
    for one in questions:
        tx.execute(delete(QUESTION).where(*_is(partner_id, one)))  # of an earlier period
        tx.execute(
            insert(QUESTION).values(
                tenant_id=tenant_id,
                partner_id=partner_id,
                attribute_hash=_attribute(one),
                statement_hash=_hash(one.statement),
                schema_id=one.schema,
                attribute=one.attribute,
                statement=one.statement,
                first_at=now,
                last_at=now,
            )
        )


def again(tx: Connection, partner_id: str, questions: Sequence[Question], now: int) -> None:
    """Note that these were asked once more."""
    for one in questions:
        tx.execute(update(QUESTION).where(*_is(partner_id, one)).values(last_at=now))


def listed(tx: Connection, tenant_id: str, partner_id: str | None, since: int) -> list[QuestionRow]:
    """What a partner of the tenant (or each) has asked since then, the 1,000 newest."""
    query = select(QUESTION).where(QUESTION.c.tenant_id == tenant_id, QUESTION.c.last_at > since)
    if partner_id is not None:
        query = query.where(QUESTION.c.partner_id == partner_id)
    order = (QUESTION.c.first_at.desc(), QUESTION.c.attribute_hash, QUESTION.c.statement_hash)
    return [_row(row) for row in tx.execute(query.order_by(*order).limit(MOST_LISTED))]


def prune(tx: Connection, before: int) -> int:
    """Delete what was not asked since then; how many there were."""
    over = unheld(QUESTION, QUESTION.c.last_at <= before)
    return tx.execute(delete(QUESTION).where(over)).rowcount


def _is(partner_id: str, question: Question) -> tuple[Any, ...]:
    return (
        QUESTION.c.partner_id == partner_id,
        QUESTION.c.attribute_hash == _attribute(question),
        QUESTION.c.statement_hash == _hash(question.statement),
    )


def _attribute(question: Question) -> str:
    # Names may be longer than a key of an index.
    return _hash(orjson.dumps([question.schema, question.attribute]).decode())


def _hash(text: str) -> str:
    return b64url(hashlib.sha256(text.encode()).digest())


def _row(row: Row[Any]) -> QuestionRow:
    question = Question(row.schema_id, row.attribute, row.statement)
    return QuestionRow(row.partner_id, question, row.first_at, row.last_at)
