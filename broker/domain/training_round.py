"""Rounds as the broker keeps them: which may be opened, what a receipt of one has to say."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

from broker.domain.errors import InvalidRequest, StateConflict
from broker.domain.training_errors import PrivacyBudgetSpent, TrainingReceiptRefused
from broker.domain.word import file_hash
from federation.campaign import Campaign
from federation.privacy import Budget, Spent, epsilon_after, step_of
from federation.receipt import Receipt
from federation.remarks import Remarks, notice_of, reason_of

CLOCKS_APART: Final = 60
MOST_METRICS: Final = 100
LARGEST_EPSILON: Final = 10**9
TEXTS_CACHED: Final = 64
_METRIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")


def check_time(campaign: Campaign, opens_at: int) -> None:
    """Raise `StateConflict` where a campaign has no rounds at that time."""
    if not campaign.valid_from <= opens_at < campaign.valid_until:
        raise StateConflict(
            "the campaign has not begun or is over: see its valid_from and valid_until"
        )


@dataclass(frozen=True)
class StageRounds:
    """Of a stage: how many rounds are to close, how many more may fail, and how many are which."""

    rounds: int
    spare_rounds: int
    open: int
    closed: int
    failed: int

    @property
    def opened(self) -> int:
        """How many were opened: the last one's number."""
        return self.open + self.closed + self.failed

    @property
    def most(self) -> int:
        """How many may be opened."""
        return self.rounds + self.spare_rounds

    @property
    def all_closed(self) -> bool:
        """Whether as many have given a model as the board asks for."""
        return self.closed >= self.rounds

    @property
    def over(self) -> bool:
        """Whether no round is open and none is to come: all are closed, or no number is left."""
        return not self.open and (self.all_closed or self.opened >= self.most)

    @property
    def spare_used(self) -> int:
        """How many of the spare rounds stand in for ones that failed."""
        return min(self.failed, self.spare_rounds)


def check_number(stage: StageRounds, number: int) -> None:
    """Check the number of a stage's next round. Raises `StateConflict`."""
    following = stage.opened + 1
    if stage.all_closed:
        raise StateConflict(f"the stage has had its {stage.rounds} rounds: none is left")
    if following > stage.most:
        raise StateConflict(
            f"the stage opens {stage.most} rounds, whatever comes of them: none is left"
        )
    if number != following:
        raise StateConflict(f"the next round of this stage is number {following}")


def affords(campaign: Campaign, rounds: int) -> bool:
    """Whether so many rounds spend no more privacy than the campaign allows."""
    privacy = campaign.privacy
    if privacy is None:
        return True
    steps = rounds * privacy.steps_per_round
    return Budget.of(privacy).allows(Spent(), step_of(privacy), steps)


def check_budget(campaign: Campaign, rounds: int) -> None:
    """Raise `PrivacyBudgetSpent` where so many rounds spend more than the campaign allows."""
    if not affords(campaign, rounds):
        raise PrivacyBudgetSpent(
            f"round {rounds} of this campaign would spend more privacy than its budget allows: "
            "the rounds are over"
        )


def check_remarks(
    left_out: Mapping[str, str], notices: Mapping[str, str], taking_part: Collection[str]
) -> Remarks:
    """What a coordinator remarks of a round's members; a code that is unknown is an `other`.

    A newer coordinator may have more of them, and no round is to be lost for a word. Raises
    `InvalidRequest` for a member that takes no part.
    """
    if not {*left_out, *notices} <= set(taking_part):
        raise InvalidRequest("remarks are of members that take part in the round")
    return Remarks(
        {member: reason_of(code) for member, code in sorted(left_out.items())},
        {member: notice_of(code) for member, code in sorted(notices.items())},
    )


def epsilon_of(campaign: Campaign, rounds: int, said: str | None) -> str | None:
    """The epsilon after so many rounds, decimal text: the broker's or, where larger, what was said.

    Rounded up at the sixth digit; None without privacy. Raises `InvalidRequest`.
    """
    privacy = campaign.privacy
    if said is not None and (not _NUMBER.fullmatch(said) or said.startswith("-")):
        raise InvalidRequest("epsilon is a decimal in text, from 0")
    if privacy is None:
        if said is not None:
            raise InvalidRequest("the campaign has no privacy to account for: leave epsilon null")
        return None
    return str(max(epsilon_after(privacy, rounds), Decimal(said or 0)))


def check_metrics(metrics: Mapping[str, str]) -> None:
    """Check what was measured: names, and decimals in text. Raises `InvalidRequest`."""
    if len(metrics) > MOST_METRICS:
        raise InvalidRequest(f"a round has at most {MOST_METRICS} metrics")
    for name, value in metrics.items():
        if not _METRIC.fullmatch(name):
            raise InvalidRequest("a metric's name is 1 to 128 letters, digits and . _ : / -")
        if not _NUMBER.fullmatch(value):
            raise InvalidRequest('a metric is a decimal in text, like "0.883"')


def check_receipt(
    receipt: Receipt, campaign: Campaign, *, opened_at: int, lists: Collection[str], now: int
) -> None:
    """Check what a genuine receipt says of its round.

    1. It was signed after the round opened, and not in the future.
    2. Its lists are the round's, each issued since the round opened and not in the future; there is
       one where there are rows.
    3. So many rows as the campaign asks for fit its bucket.

    Raises `TrainingReceiptRefused`.
    """
    # 1.
    if not opened_at - CLOCKS_APART <= receipt.signed_at <= now + CLOCKS_APART:
        raise TrainingReceiptRefused("the receipt was not signed while its round was open")
    # 2.
    for one in receipt.lists:
        if one.uri not in lists:
            raise TrainingReceiptRefused("the receipt names a status list that is not the round's")
        if one.issued_at > now + CLOCKS_APART:
            raise TrainingReceiptRefused("the receipt names a status list of the future")
        if one.issued_at < opened_at:
            raise TrainingReceiptRefused(
                "the receipt rests on a status list from before the round opened: download the "
                "lists anew in each round"
            )
    if receipt.bucket and not receipt.lists:
        raise TrainingReceiptRefused("the receipt is of rows, and rests on no status list")
    # 3.
    if receipt.bucket < campaign.minimum_rows:
        raise TrainingReceiptRefused(
            f"the receipt is of fewer rows than the {campaign.minimum_rows} that the campaign asks "
            "for"
        )


@lru_cache(maxsize=TEXTS_CACHED)
def names_of(text: str) -> tuple[str, ...]:
    """A JSON list of names as a row holds it; each call of a round asks for the same ones."""
    found: list[str] = json.loads(text)
    return tuple(found)


def receipt_hash(token: str) -> str:
    """SHA-256 over what a receipt signs, base64url: its signature has a second spelling."""
    return file_hash(signed_part(token))


def signed_part(token: str) -> bytes:
    """What a receipt's signature is over."""
    return token.rpartition(".")[0].encode("utf-8", "replace")
