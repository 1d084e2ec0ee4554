"""Which models learnt from a withdrawn row, what is to be done, and what is left in them.

A model version has one parent, the model that its round began with, so what a row went into it
stays in all its descendants. A withdrawal taints every version whose receipts show the row, and
all that descend from one. The campaign's policy says what follows:

    exclude          later rounds leave the row out; what it did fades, and is still there
    rollback_replay  back to the newest version before the row; the rounds since are done anew
    retrain          from the campaign's first model, all rounds anew

Only a model whose every version was trained without the row is without it. `Residual` reports the
measured distance to such a model; it is never called erased while there is a distance.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

from federation.errors import LineageInvalid

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

    `round` is 0 for a campaign's first model; `receipts_root` the root over its round's receipts
    (`receipt.receipts_root`), base64url; `epsilon` what was spent up to it, None without privacy;
    `metrics` decimals in text.
    """

    id: str
    parent: str | None
    campaign: str
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

    def _check(self, version: ModelVersion) -> None:
        if version.parent is None:
            if version.round != 0:
                raise LineageInvalid(f"model version {version.id} has a round and no parent")
            return
        parent = self.versions.get(version.parent)
        if parent is None:
            raise LineageInvalid(f"the parent of model version {version.id} is not known")
        # Rounds ascend along a line, so no circle is possible. A campaign may begin with a model
        # of another one.
        if version.campaign == parent.campaign and version.round <= parent.round:
            raise LineageInvalid(f"model version {version.id} is no later than its parent")
        if version.campaign != parent.campaign and self._in_a_circle(version):
            raise LineageInvalid(f"model version {version.id} is its own ancestor")

    def _in_a_circle(self, version: ModelVersion) -> bool:
        seen, at = {version.id}, version.parent
        while at is not None:
            if at in seen:
                return True
            seen.add(at)
            above = self.versions.get(at)
            at = None if above is None else above.parent
        return False

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
    `replay` the rounds to do anew, oldest first, without the row.
    """

    policy: Policy
    model: str
    tainted: frozenset[str]
    base: str
    replay: tuple[int, ...]

    @property
    def leaves_nothing(self) -> bool:
        """Whether, done, the row is in no step of the model: never so by exclusion."""
        return self.policy != "exclude" or not self.tainted


def versions_using(leaf: bytes, leaves: Mapping[str, Sequence[Sequence[bytes]]]) -> frozenset[str]:
    """The versions in whose round a consent was used.

    `leaves` are the checked leaves (`receipt.check_leaves`), ascending, of each member's receipt,
    by model version; `leaf` is the consent's (`presence.leaf_of`).
    """
    return frozenset(
        version
        for version, members in leaves.items()
        if any(_holds(sorted_leaves, leaf) for sorted_leaves in members)
    )


def unlearning_task(
    lineage: Lineage, model: str, used: Collection[str], policy: Policy
) -> UnlearningTask:
    """What a withdrawal asks of `model`, where its row was used in the versions `used`.

    Raises `LineageInvalid` for a version that is not known.
    """
    tainted = lineage.tainted(used)
    line = lineage.line(model)
    if policy == "exclude" or model not in tainted:
        return UnlearningTask(policy, model, tainted, model, ())
    clean = [version for version in line if version.id not in tainted]
    if not clean:
        raise LineageInvalid("no version of this line is without the row: start a new campaign")
    base = clean[0] if policy == "rollback_replay" else clean[-1]
    newer = line[: line.index(base)]
    return UnlearningTask(
        policy, model, tainted, base.id, tuple(version.round for version in reversed(newer))
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
