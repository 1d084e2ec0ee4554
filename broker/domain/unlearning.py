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
from federation.unlearning import Lineage, ModelVersion

EXCLUDE: Final = "exclude"
RETRAIN: Final = "retrain"
USED: Final = "used"
DESCENDS: Final = "descends"
_DISTANCE = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")


@dataclass(frozen=True)
class Marks:
    """What a walk of the lineage marks: versions by their taint, and those of them to be tainted.

    `tainted` leaves out what was trained without the rows, under `exclude`, since they were
    withdrawn. `since` tells by version when the last of its rows was withdrawn, `reaches` by
    version the campaigns (hashes) that it or what came of it is of.
    """

    taints: Mapping[str, str]
    tainted: frozenset[str]
    since: Mapping[str, int]
    reaches: Mapping[str, frozenset[str]]


def marks(
    lineage: Lineage,
    used: Mapping[str, int],
    *,
    opened_at: Mapping[str, int],
    policies: Mapping[str, str],
) -> Marks:
    """Walk from the versions that used rows to all that came of them.

    `used` tells by version from when on lists show the last withdrawal of a row that its own round
    used, `opened_at` when a version's round opened, `policies` by campaign hash its policy. A later
    version is measured by the rows of its own line alone. Raises `LineageInvalid`.
    """
    lineage.check_known(used)
    ordered = [one for one in lineage.ordered() if one.parent is not None or one.id in used]
    since: dict[str, int] = {}
    for one in ordered:
        found = [since.get(one.parent or ""), used.get(one.id)]
        ended = [at for at in found if at is not None]
        if ended:
            since[one.id] = max(ended)
    reaches: dict[str, frozenset[str]] = {}
    for one in reversed(ordered):
        if one.id in since:
            below = reaches.get(one.id, frozenset()) | {one.campaign}
            reaches[one.id] = below
            if one.parent is not None:
                reaches[one.parent] = reaches.get(one.parent, frozenset()) | below

    def left_out(version: ModelVersion) -> bool:
        later = opened_at.get(version.id, 0) > since[version.id]
        return later and version.id not in used and policies[version.campaign] == EXCLUDE

    taints = {one: USED if one in used else DESCENDS for one in since}
    tainted = {one for one in since if not left_out(lineage.versions[one])}
    return Marks(taints, frozenset(tainted), since, reaches)


def ends_of(
    own: Mapping[str, int | None], ended: Mapping[str, int], pending: Mapping[str, int]
) -> dict[str, tuple[str, int]]:
    """By consent id which withdrawal ended what its row may be used for, and from when on.

    `own` are the ids that one consent had, each with when it ended; `ended` those of them that were
    withdrawn, `pending` those looked for now, each with when lists show it. What was withdrawn
    ended by itself, also where the customer consented again later. What was replaced or ran out
    ended with the first withdrawal since then.
    """
    known = {**ended, **pending}
    found: dict[str, tuple[str, int]] = {}
    for one, at in own.items():
        if one in ended:
            found[one] = (one, known[one])
            continue
        later = [(when, each) for each, when in known.items() if when >= (at or 0)]
        when, each = min(later or [(when, each) for each, when in pending.items()])
        found[one] = (each, when)
    return found


def base_of(lineage: Lineage, model: str, used: Collection[str], policy: str) -> str | None:
    """The version from which rounds are done anew; None where they go on from the newest.

    Under `rollback_replay` the newest of the model's line without the row, under `retrain` the
    newest that a campaign began with: where the row is in what its own campaign began with, one of
    an earlier campaign. Nothing is trained from a retired model. None too where no such is left.
    """
    if policy == EXCLUDE:
        return None
    tainted, line = lineage.tainted(used), lineage.line(model)
    for place, version in enumerate(line):
        began = version.round == 0 or (place > 0 and line[place - 1].campaign != version.campaign)
        chosen = policy != RETRAIN or began or model not in tainted
        if chosen and version.id not in tainted and version.state != "retired":
            return version.id
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
    same_purpose: bool,
    since: int,
    opened_at: int,
) -> None:
    """Check that a model is what a task's policy asks for; `line` are it and its ancestors.

    1. It may be used, and a round gave it.
    2. Under `exclude` it is of the task's campaign, and its round opened after the withdrawal.
    3. Else no version of its line has the row, it came of the task's base, and its campaign is to
       the same purpose as the task's.

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
    if base is None:
        raise StateConflict(
            f"the policy is {policy}, and no model without the row is left to begin with: retire "
            "every version that has it, and close the task without a model"
        )
    if base not in line or not same_purpose:
        raise StateConflict(
            f"the policy is {policy}: this model does not come of {base} in a campaign to the same "
            "purpose"
        )
