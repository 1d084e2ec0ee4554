"""Unlearning as the broker keeps it: which versions a withdrawal marks, when a task is done.

A version has two facts. Its state `tainted` says that it is not to be used any more. Its `taint`,
which nothing takes back, says why one should ask: `used` where a member's receipt of its own round
shows the row, `descends` where it came of a version that has it. Under the policy `exclude` a
campaign goes on from a tainted version, with the row left out: what it makes from then on is a
candidate that descends. It is without the row by no means, and nothing here says so.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from broker.domain.errors import InvalidRequest, StateConflict
from federation.errors import LineageInvalid
from federation.unlearning import Lineage, ModelVersion, unlearning_task

EXCLUDE: Final = "exclude"
USED: Final = "used"
DESCENDS: Final = "descends"
_DISTANCE = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")


@dataclass(frozen=True)
class Marks:
    """What a walk of the lineage marks: versions by their taint, and those of them to be tainted.

    `tainted` leaves out what was trained without the row, under `exclude`, since it was withdrawn.
    """

    taints: Mapping[str, str]
    tainted: frozenset[str]


def marks(
    lineage: Lineage,
    used: Collection[str],
    *,
    since: int,
    opened_at: Mapping[str, int],
    policies: Mapping[str, str],
) -> Marks:
    """Walk from the versions that `used` a row to all that came of them.

    `opened_at` tells when a version's round opened, `policies` by campaign hash its policy, `since`
    from when on lists show the withdrawal. Raises `LineageInvalid`.
    """
    reached = lineage.tainted(used)
    taints = {one: USED if one in used else DESCENDS for one in reached}

    def left_out(version: ModelVersion) -> bool:
        later = opened_at.get(version.id, 0) > since
        return later and version.id not in used and policies[version.campaign] == EXCLUDE

    tainted = {one for one in reached if not left_out(lineage.versions[one])}
    return Marks(taints, frozenset(tainted))


def base_of(lineage: Lineage, model: str, used: Collection[str], policy: str) -> str | None:
    """The version from which rounds are done anew; None where they go on from the newest.

    None too where the model that the campaign began with is tainted itself: then what comes of its
    campaign's task is begun with.
    """
    if policy == EXCLUDE:
        return None
    try:
        return unlearning_task(lineage, model, used, policy).base  # type: ignore[arg-type]
    except LineageInvalid:
        return None


def check_residual(before: str, after: str) -> None:
    """Check distances: decimals in text, from 0. Raises `InvalidRequest`."""
    if not _DISTANCE.fullmatch(before) or not _DISTANCE.fullmatch(after):
        raise InvalidRequest('a residual is two distances, decimals in text from 0, like "0.582"')


def check_done(
    version: ModelVersion,
    line: Collection[str],
    *,
    taint: str | None,
    policy: str,
    campaign: str,
    base: str | None,
    since: int,
    opened_at: int,
) -> None:
    """Check that a model is what a task's policy asks for; `line` are it and its ancestors.

    1. It may be used, and a round gave it.
    2. Under `exclude` it is of the task's campaign, and its round opened after the withdrawal.
    3. Else no version of its line has the row, and it came of the task's base.

    Raises `StateConflict`.
    """
    # 1.
    if version.round == 0 or version.state in {"tainted", "retired"}:
        raise StateConflict("a task is closed with a model that a round gave and that may be used")
    # 2.
    if policy == EXCLUDE:
        if version.campaign != campaign or opened_at <= since:
            raise StateConflict(
                "the policy is exclude: close the task with a model of its campaign whose round "
                "opened after the withdrawal"
            )
        return
    # 3.
    if taint is not None:
        raise StateConflict(
            f"the policy is {policy}: this model descends from one that has the row. Do the rounds "
            "anew in a campaign that begins with the task's base"
        )
    if base is not None and base not in line:
        raise StateConflict(f"the policy is {policy}: this model does not come of {base}")
