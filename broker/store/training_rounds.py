"""Rows of rounds, and of the one receipt of each member in each."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from broker.domain.errors import NotFound
from broker.store import tables
from broker.store.prepared import Prepared, PreparedAmong

ROUND = tables.TrainingRound.__table__  # type: ignore[attr-defined]
RECEIPT = tables.TrainingReceipt.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class RoundRow:
    """A round; times are Unix seconds.

    `taking_part` and `lists` are JSON lists, `left_out` and `notices` JSON codes by member.
    """

    id: str
    tenant_id: str
    campaign_id: str
    stage: str
    number: int
    state: str
    model_in: str
    model_out: str | None
    taking_part: str
    lists: str
    code: str | None
    opened_at: int
    over_at: int | None
    left_out: str | None = None
    notices: str | None = None


@dataclass(frozen=True)
class ReceiptRow:
    """A receipt as it came (`token`), and the JWK under which it was verified."""

    round_id: str
    partner_id: str
    tenant_id: str
    token: str
    key: str
    bucket: int
    root: str
    sealed_leaves: bytes
    entry_id: str
    received_at: int

    def kept(self) -> "KeptReceipt":
        """What is told of it."""
        return KeptReceipt(self.partner_id, self.token, self.entry_id, self.received_at)


@dataclass(frozen=True)
class KeptReceipt:
    """That a receipt is kept, without its leaves."""

    member: str
    token: str
    entry: str
    received_at: int


def add(tx: Connection, row: RoundRow) -> None:
    """Store a round; its campaign is held by the transaction."""
    tx.execute(insert(ROUND).values(**vars(row)))


def find(tx: Connection, campaign_id: str, stage: str, number: int) -> RoundRow:
    """A round of a campaign; raises `NotFound`."""
    named = {"b_campaign": campaign_id, "b_stage": stage, "b_number": number}
    for row in _FIND.rows(tx, named):
        return RoundRow(*row)
    raise NotFound("no such round was opened")


def of_campaign(tx: Connection, campaign_id: str) -> list[RoundRow]:
    """A campaign's rounds in the order in which they were opened."""
    return [RoundRow(*row) for row in _OF_CAMPAIGN.rows(tx, {"b_campaign": campaign_id})]


def last(tx: Connection, campaign_id: str, *, state: str | None = None) -> RoundRow | None:
    """A campaign's last round, or its last in a state."""
    found = select(ROUND).where(ROUND.c.campaign_id == campaign_id)
    if state is not None:
        found = found.where(ROUND.c.state == state)
    # The other way round than `of_campaign`.
    row = tx.execute(found.order_by(ROUND.c.stage, ROUND.c.number.desc()).limit(1)).one_or_none()
    # SQLAlchemy's public accessor.
    return None if row is None else RoundRow(**row._mapping)  # noqa: SLF001


def states(tx: Connection, campaign_id: str, stage: str) -> dict[str, int]:
    """How many rounds of a stage are in each state; none are in one that is not named."""
    named = {"b_campaign": campaign_id, "b_stage": stage}
    return {row[0]: row[1] for row in _STATES.rows(tx, named)}


def change(tx: Connection, round_id: str, **columns: Any) -> None:  # noqa: ANN401 (columns)
    """Write columns of a round whose campaign the transaction holds."""
    tx.execute(update(ROUND).where(ROUND.c.id == round_id).values(**columns))


def add_receipts(tx: Connection, rows: Iterable[ReceiptRow]) -> None:
    """Keep receipts; the table has one of a member and round, whoever forgets to look."""
    values = [vars(row) for row in rows]
    if values:
        tx.execute(insert(RECEIPT), values)


def kept(tx: Connection, round_id: str, among: Collection[str]) -> dict[str, KeptReceipt]:
    """The receipts of a round that some members have given, by member."""
    rows = _KEPT.rows(tx, among, {"b_round": round_id})
    return {row[0]: KeptReceipt(*row) for row in rows}


def receipt(tx: Connection, round_id: str, partner_id: str) -> ReceiptRow | None:
    """A member's receipt of a round."""
    for row in _RECEIPT.rows(tx, {"b_round": round_id, "b_partner": partner_id}):
        return ReceiptRow(*row)
    return None


def who_told_of(tx: Connection, round_id: str) -> list[str]:
    """The members whose receipts of a round are there, ascending."""
    found = select(RECEIPT.c.partner_id).where(RECEIPT.c.round_id == round_id)
    return list(tx.execute(found.order_by(RECEIPT.c.partner_id)).scalars())


def tokens(tx: Connection, round_id: str) -> dict[str, str]:
    """The receipts of a round as they came, by member ascending, without their leaves."""
    found = select(RECEIPT.c.partner_id, RECEIPT.c.token).where(RECEIPT.c.round_id == round_id)
    rows = tx.execute(found.order_by(RECEIPT.c.partner_id))
    return {row.partner_id: row.token for row in rows}


def buckets(tx: Connection, round_id: str) -> dict[str, int]:
    """By member, how many rows its receipt of a round covers, as a bucket."""
    found = select(RECEIPT.c.partner_id, RECEIPT.c.bucket).where(RECEIPT.c.round_id == round_id)
    rows = tx.execute(found.order_by(RECEIPT.c.partner_id))
    return {row.partner_id: row.bucket for row in rows}


def who_told(tx: Connection, campaign_id: str) -> dict[str, list[str]]:
    """By round of a campaign, the members whose receipts are there, ascending."""
    found = (
        select(RECEIPT.c.round_id, RECEIPT.c.partner_id)
        .join(ROUND, ROUND.c.id == RECEIPT.c.round_id)
        .where(ROUND.c.campaign_id == campaign_id)
        .order_by(RECEIPT.c.partner_id)
    )
    told: dict[str, list[str]] = {}
    for round_id, partner_id in tx.execute(found):
        told.setdefault(round_id, []).append(partner_id)
    return told


# Asked with each key and each receipt of a round.
_ROWS = select(*(ROUND.c[one.name] for one in fields(RoundRow)))
# The pilot comes first, and a stage's numbers go up.
_OF_CAMPAIGN = Prepared(
    _ROWS.where(ROUND.c.campaign_id == bindparam("b_campaign")).order_by(
        ROUND.c.stage.desc(), ROUND.c.number
    )
)
_STATES = Prepared(
    select(ROUND.c.state, func.count())
    .where(ROUND.c.campaign_id == bindparam("b_campaign"), ROUND.c.stage == bindparam("b_stage"))
    .group_by(ROUND.c.state)
)
_FIND = Prepared(
    _ROWS.where(
        ROUND.c.campaign_id == bindparam("b_campaign"),
        ROUND.c.stage == bindparam("b_stage"),
        ROUND.c.number == bindparam("b_number"),
    )
)
_RECEIPT = Prepared(
    select(*(RECEIPT.c[one.name] for one in fields(ReceiptRow))).where(
        RECEIPT.c.round_id == bindparam("b_round"), RECEIPT.c.partner_id == bindparam("b_partner")
    )
)
_KEPT = PreparedAmong(
    RECEIPT.c.partner_id,
    lambda among: select(
        RECEIPT.c.partner_id, RECEIPT.c.token, RECEIPT.c.entry_id, RECEIPT.c.received_at
    ).where(RECEIPT.c.round_id == bindparam("b_round"), among),
)
