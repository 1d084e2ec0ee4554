"""Which models learnt from a withdrawn row, what is to be done, and what is left in them.

A model version has one parent, the model that its round began with, so what a row went into it
stays in all its descendants. A withdrawal taints every version whose receipts show the row, and
all that descend from one. The campaign's policy says what follows:

    exclude          later rounds leave the row out; what it did fades, and is still there
    rollback_replay  back to the newest version before the row; the rounds since are done anew
    retrain          from the model that the campaign began with, all rounds anew

Rounds are done anew in a campaign of their own, which the board signs, and whose members take what
they keep into it (`gate.Before.into`, and what is spent of their privacy).

Only a model whose every version was trained without the row is without it. `Residual` reports the
measured distance to such a model; it is never called erased while there is a distance.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

from federation.errors import LineageInvalid
from federation.presence import CampaignSalt
from federation.receipt import Receipt, leaf_in
from federation.rollout import STAGES

State = Literal["candidate", "pilot", "active", "tainted", "retired"]
Policy = Literal["exclude", "rollback_replay", "retrain"]

_NEXT: Final[Mapping[State, frozenset[State]]] = {
    "candidate": frozenset({"pilot", "active", "tainted", "retired"}),
    "pilot": frozenset({"active", "tainted", "retired"}),
    "active": frozenset({"tainted", "retired"}),
    "tainted": frozenset({"retired"}),
    "retired": frozenset(),
}


@dataclass(frozen=True)
class ModelVersion:
    """A version of a model. `id` is its hash, base64url SHA-256; `parent` None for the first.

    `campaign` is its campaign's hash; `stage` and `round` those that gave it, where each stage
    counts its rounds anew; `round` 0 for a first model, which no row went into;
    `members` those who gave a receipt for its round; `receipts_root` the root over these
    (`receipt.receipts_root`), base64url; `epsilon` what was spent up to it, None without privacy;
    `metrics` decimals in text.
    """

    id: str
    parent: str | None
    campaign: str
    stage: str
    round: int
    bundle_hash: str
    parameters_hash: str
    receipts_root: str | None
    members: tuple[str, ...]
    epsilon: float | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    state: State = "candidate"

    def become(self, state: State) -> Self:
        """The version in another state. Raises `LineageInvalid` if it cannot come to it."""
        if state not in _NEXT[self.state]:
            raise LineageInvalid(f"a model that is {self.state} does not become {state}")
        return replace(self, state=state)

    def taint(self) -> Self:
        """The version as tainted. One that is so, or retired, stays as it is."""
        return self if self.state in {"tainted", "retired"} else self.become("tainted")


def _place(version: ModelVersion) -> tuple[int, int]:
    """Where in its campaign a version was made. Raises `LineageInvalid`."""
    if version.stage not in STAGES:
        raise LineageInvalid(f"model version {version.id} is of no stage")
    return STAGES.index(version.stage), version.round


class Lineage:
    """Model versions, each after its parent. Immutable."""

    def __init__(self, versions: Iterable[ModelVersion]) -> None:
        """Take versions in any order.

        Raises `LineageInvalid` for one that is there twice, that has no parent among them, that is
        its own ancestor, or that is no later than its parent.
        """
        self.versions: dict[str, ModelVersion] = {}
        for version in versions:
            if version.id in self.versions:
                raise LineageInvalid(f"model version {version.id} is there twice")
            self.versions[version.id] = version
        self._children: dict[str, list[str]] = {}
        for version in self.versions.values():
            self._check(version)
            if version.parent is not None:
                self._children.setdefault(version.parent, []).append(version.id)
        reached = {one.id for one in self.ordered()}
        for one in self.versions:
            if one not in reached:
                raise LineageInvalid(f"model version {one} is its own ancestor, or one of it is")

    def _check(self, version: ModelVersion) -> None:
        if version.parent is None:
            if version.round != 0:
                raise LineageInvalid(f"model version {version.id} has a round and no parent")
            return
        parent = self.versions.get(version.parent)
        if parent is None:
            raise LineageInvalid(f"the parent of model version {version.id} is not known")
        # A campaign may begin with a model of another one.
        if version.campaign == parent.campaign and _place(version) <= _place(parent):
            raise LineageInvalid(f"model version {version.id} is no later than its parent")

    def check_known(self, versions: Iterable[str]) -> None:
        """Raise `LineageInvalid` for a version that is not known."""
        for one in versions:
            if one not in self.versions:
                raise LineageInvalid(f"model version {one} is not known")

    def ordered(self) -> list[ModelVersion]:
        """Every version, each behind its parent."""
        found = [one for one in self.versions.values() if one.parent is None]
        for version in found:
            found += (self.versions[one] for one in self._children.get(version.id, ()))
        return found

    def tainted(self, used: Collection[str]) -> frozenset[str]:
        """Every version that learnt from what the versions `used` were trained on.

        Raises `LineageInvalid` for a version that is not known.
        """
        reached: set[str] = set()
        waiting = list(used)
        while waiting:
            at = waiting.pop()
            if at not in self.versions:
                raise LineageInvalid(f"model version {at} is not known")
            if at not in reached:
                reached.add(at)
                waiting += self._children.get(at, ())
        return frozenset(reached)

    def line(self, version: str) -> tuple[ModelVersion, ...]:
        """A version and its ancestors, itself first. Raises `LineageInvalid`."""
        found: list[ModelVersion] = []
        at: str | None = version
        while at is not None:
            if at not in self.versions:
                raise LineageInvalid(f"model version {at} is not known")
            found.append(self.versions[at])
            at = found[-1].parent
        return tuple(found)


@dataclass(frozen=True)
class UnlearningTask:
    """What is to be done about one model, the newest of its line, after a withdrawal.

    `tainted` are the versions to mark; `base` is the version from which training goes on, and
    `replay` the versions whose rounds are done anew, oldest first, without the row.
    """

    policy: Policy
    model: str
    tainted: frozenset[str]
    base: str
    replay: tuple[str, ...]

    @property
    def leaves_nothing(self) -> bool:
        """Whether, done, the row is in no step of the model: never so by exclusion."""
        return self.policy != "exclude" or not self.tainted


@dataclass(frozen=True)
class Told:
    """What one member told of a round: its receipt, and the leaves that `check_leaves` took."""

    receipt: Receipt
    leaves: Sequence[bytes]


def versions_using(
    lineage: Lineage,
    consents: Collection[str],
    told: Mapping[str, Sequence[Told]],
    salts: Mapping[str, CampaignSalt],
) -> frozenset[str]:
    """The versions in whose round a customer's row was used, by what the members say.

    `consents` are all ids that the customer's consent to the purpose has had: one that superseded
    another has a new id, and rounds before that name the old. `told` has, by model version, what
    each of its members told; `salts` are by campaign hash. Raises `LineageInvalid` where anything
    is missing: a gap is no sign that the row was not used.
    """
    if not consents:
        raise LineageInvalid("name the customer's consents, those that were superseded too")
    return frozenset(
        version.id
        for version in lineage.versions.values()
        if version.round and _uses(version, consents, told.get(version.id, ()), salts)
    )


def _uses(
    version: ModelVersion,
    consents: Collection[str],
    told: Sequence[Told],
    salts: Mapping[str, CampaignSalt],
) -> bool:
    members = sorted(one.receipt.member for one in told)
    if not members or members != sorted(version.members):
        raise LineageInvalid(
            f"model version {version.id} takes one receipt with its leaves of each of "
            f"{', '.join(version.members) or 'its members'}: a gap is no absence"
        )
    salt = salts.get(version.campaign)
    if salt is None:
        raise LineageInvalid(f"the salt of the campaign of model version {version.id} is missing")
    for one in told:
        receipt = one.receipt
        told_of = (receipt.campaign, receipt.stage, receipt.round)
        if told_of != (version.campaign, version.stage, version.round):
            raise LineageInvalid(f"model version {version.id} has a receipt of another round")
        if len(one.leaves) != receipt.size:
            raise LineageInvalid(f"model version {version.id} has leaves of another receipt")
    return any(
        _holds(one.leaves, leaf_in(one.receipt, salt, consent))
        for one in told
        for consent in consents
    )


def unlearning_task(
    lineage: Lineage, model: str, used: Collection[str], policy: Policy
) -> UnlearningTask:
    """What a withdrawal asks of `model`, where its row was used in the versions `used`.

    It stays within the model's own campaign: where the model that this began with is tainted, that
    one's campaign comes first. Raises `LineageInvalid` then, and for a version that is not known.
    """
    tainted = lineage.tainted(used)
    line = lineage.line(model)
    if policy == "exclude" or model not in tainted:
        return UnlearningTask(policy, model, tainted, model, ())
    own = [version for version in line if version.round and version.campaign == line[0].campaign]
    start = line[len(own)] if len(own) < len(line) else own[-1]
    if start.id in tainted:
        raise LineageInvalid(
            f"the campaign began with model version {start.id}, which the row is in: unlearn that "
            "one first, then start a new campaign from what comes of it"
        )
    clean = next(version for version in line if version.id not in tainted)
    base = clean if policy == "rollback_replay" else start
    newer = line[: line.index(base)]
    return UnlearningTask(
        policy, model, tainted, base.id, tuple(version.id for version in reversed(newer))
    )


@dataclass(frozen=True)
class Residual:
    """How far a model is from one that never saw the row, before and after unlearning.

    Distances are |w - w*| / |w*| (Euclidean, over all weights), w* trained by the same procedure
    without the row.
    """

    before: float
    after: float

    @property
    def erased(self) -> bool:
        """Whether nothing is left: the very same weights, and nothing less."""
        return self.after == 0


def residual(
    before: Sequence[float], after: Sequence[float], never_saw: Sequence[float]
) -> Residual:
    """Measure a residual. Raises `LineageInvalid` for models that cannot be compared."""
    return Residual(_distance(before, never_saw), _distance(after, never_saw))


def _distance(model: Sequence[float], reference: Sequence[float]) -> float:
    size = math.hypot(*reference)
    if len(model) != len(reference) or not size > 0 or not math.isfinite(size):
        raise LineageInvalid("models are compared weight by weight, with one that is not zero")
    distance = math.dist(model, reference) / size
    if not math.isfinite(distance):
        raise LineageInvalid("a model with infinite weights is compared with nothing")
    # Division must not make a difference vanish.
    return max(distance, math.ulp(0.0)) if list(model) != list(reference) else 0.0


def _holds(leaves: Sequence[bytes], leaf: bytes) -> bool:
    at = bisect_left(leaves, leaf)
    return at < len(leaves) and leaves[at] == leaf
