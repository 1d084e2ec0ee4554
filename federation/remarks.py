"""What a coordinator remarks of a round's members: who was left out of it and why, who stood out.

It tells the broker, which keeps it with the round and logs it. Codes are stable and few: what a
member says of itself is text from elsewhere, and whatever is no code of `REASONS` is an `other`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Self

REFUSED: Final = "refused_"
"""The member took no part and said why."""
BROKER: Final = "broker_"
"""The broker did not take the member's receipt."""
OTHER: Final = "other"

AT_COORDINATOR: Final = frozenset(
    {
        *("no_node", "no_answer", "node_gone", "application_failed", "bundle_untrusted"),
        *("flower_error", "not_whole", "malformed", "too_large"),
        *("other_tensors", "other_shapes", "not_finite", "sum_not_finite", "metrics_malformed"),
        *("receipt_forged", "receipt_mismatch", "leaves_differ", "weight_without_rows"),
        *("not_masked", "shares_not_whole", "other_metrics", "mask_not_opened", "masking_failed"),
        OTHER,
    }
)
"""What the coordinator itself finds of a member's reply, or of there being none."""
AT_MEMBER: Final = frozenset(
    {
        *("answer_under_way", "before_of_another", "board_disagrees", "broker_refused"),
        *("business_lines_differ", "business_lines_missing"),
        *("bundle_differs", "campaign_followed", "campaign_invalid", "lists_of_another_round"),
        *("lists_stale", "lists_unavailable", "malformed", "masking_failed", "parameters_differ"),
        *("privacy_budget_spent", "round_repeated", "rows_differ", "salt_differs"),
        *("settings_wrong", "stage_shut", "too_few_rows", "too_large", "update_too_large"),
        *("wrong_shares", OTHER),
    }
)
"""Why a member takes no part."""
AT_BROKER: Final = frozenset(
    {
        *("body_too_large", "invalid_request", "leaves_differ", "malformed"),
        *("member_not_admitted", "receipt_conflict", "receipt_forged", "receipt_mismatch"),
        *("state_conflict", "too_large", "training_receipt_refused", OTHER),
    }
)
"""Why the broker does not take a receipt."""
REASONS: Final = frozenset(
    {
        *AT_COORDINATOR,
        *(f"{REFUSED}{code}" for code in AT_MEMBER),
        *(f"{BROKER}{code}" for code in AT_BROKER),
    }
)
"""All that may be said of who was left out."""

FAR_OUT: Final = "far_out"
WRONG_SHARES: Final = "wrong_shares"
NOTICES: Final = frozenset({FAR_OUT, WRONG_SHARES, OTHER})
"""What is said of a member without leaving it out: an update far from the others', and that
another one refused the shares which it sealed."""

TIMES_MEDIAN: Final = 5.0
FEWEST_COMPARED: Final = 3

_FLOWER: Final = {
    **dict.fromkeys((1, 2, 6, 8), "application_failed"),
    **dict.fromkeys((3, 4, 5), "node_gone"),
    7: "bundle_untrusted",
}
"""Flower's `ErrorCode`; of the others it says nothing that helps."""
_NUMBERED = re.compile(r"flower_error_([0-9]{1,4})")
_BY = " of "


@dataclass(frozen=True)
class Remarks:
    """By member, why it was left out (`REASONS`), and what else was noticed of it (`NOTICES`)."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, str], among: Collection[str], far: Iterable[str] = ()) -> Self:
        """Remarks out of what `told` says by member, of those `among` who take part.

        A reason may name another member (`refused_wrong_shares of p-north`): that one is noticed,
        where nothing else was noticed of it.
        """
        left_out, notices = {}, dict.fromkeys(far, FAR_OUT)
        for member, why in told.items():
            reason, _, of = why.partition(_BY)
            left_out[member] = reason_of(reason)
            if of and left_out[member] == f"{REFUSED}{WRONG_SHARES}":
                notices.setdefault(of, WRONG_SHARES)
        return cls(
            {one: why for one, why in left_out.items() if one in among},
            {one: what for one, what in notices.items() if one in among},
        )


def reason_of(told: str) -> str:
    """A code of `REASONS`: the same one, or what stands for one that is unknown."""
    if told in REASONS:
        return told
    if numbered := _NUMBERED.fullmatch(told):
        return _FLOWER.get(int(numbered[1]), "flower_error")
    kinds = (kind for kind in (REFUSED, BROKER) if told.startswith(kind))
    return f"{next(kinds, '')}{OTHER}"


def notice_of(told: str) -> str:
    """A code of `NOTICES`: the same one, or `other`."""
    return told if told in NOTICES else OTHER


def far_out(distances: Mapping[str, float]) -> frozenset[str]:
    """The members whose updates lie more than five times as far out as the median one does.

    `distances` are from the median of the updates, number by number: a few that are hostile move
    neither that nor the median distance, while more than half are honest. Of fewer than three
    members nobody can say which of them is far, nor where the median one lies at no distance at
    all: anything would be far from that. It is a notice: rows may differ that much. One that stays
    as near as the others is not seen.
    """
    if len(distances) < FEWEST_COMPARED:
        return frozenset()
    usual = median(distances.values())
    if usual == 0:
        return frozenset()
    return frozenset(one for one, far in distances.items() if far > TIMES_MEDIAN * usual)
