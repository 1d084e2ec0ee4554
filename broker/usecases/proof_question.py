"""Count the different statements that a partner asks to be proven of an attribute."""

from collections.abc import Sequence

from sqlalchemy import Connection

from broker.domain.errors import TooManyQuestions
from broker.domain.proof_question import PERIOD_SECONDS, Question
from broker.store import proof_questions as store
from broker.store.proof_questions import QuestionRow
from broker.usecases import audit
from broker.usecases.context import Context

DAY = 86_400


def count_questions(
    ctx: Context, tx: Connection, tenant_id: str, partner_id: str, questions: Sequence[Question]
) -> None:
    """Count what is asked here for the first time in the period, before anything else is written.

    Of requests at once, also at several workers, each counts the others. Raises
    `TooManyQuestions`.
    """
    if not questions:
        return
    now = ctx.now()
    since = now - PERIOD_SECONDS
    known = store.asked(tx, partner_id, questions, since)
    new = _new(questions, known)
    if new:
        store.hold(tx, partner_id)
        known = store.asked(tx, partner_id, questions, since)
        new = _new(questions, known)
        _check(new, known, ctx.settings.proof_questions)
        store.add(tx, tenant_id, partner_id, new, now)
    # To a day: a question that is asked a hundred times a second is one write a day.
    renewed = {row.question for row in known if row.last_at <= now - DAY}
    store.again(tx, partner_id, sorted(renewed & set(questions)), now)


def record_refusal(
    ctx: Context, tenant_id: str, partner_id: str, refused: TooManyQuestions
) -> None:
    """Write into the log that a partner wanted to ask more."""
    with ctx.db.transaction() as tx:
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="proof.not_asked",
            body={
                "partner": partner_id,
                "schema": refused.schema,
                "attribute": refused.attribute,
                "allowed": refused.allowed,
            },
        )


def asked_by(ctx: Context, tenant_id: str, partner_id: str | None) -> list[QuestionRow]:
    """What a partner (or, with None, every partner) of a tenant has asked in the period."""
    with ctx.db.reading() as tx:
        return store.listed(tx, tenant_id, partner_id, ctx.now() - PERIOD_SECONDS)


def _new(questions: Sequence[Question], known: Sequence[QuestionRow]) -> list[Question]:
    found = {row.question for row in known}
    return [one for one in questions if one not in found]


def _check(new: Sequence[Question], known: Sequence[QuestionRow], allowed: int) -> None:
    of = {(one.schema, one.attribute) for one in new}
    everything = [*new, *(row.question for row in known)]
    for schema, attribute in sorted(of):
        count = sum((one.schema, one.attribute) == (schema, attribute) for one in everything)
        if count > allowed:
            raise TooManyQuestions(schema, attribute, allowed)
