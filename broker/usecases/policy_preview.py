"""Try policies on decisions that the log holds: what would a switch have changed?

Each decision is judged twice over the same facts, by what is in force and by what is tried, so
that nothing but the policies makes a difference. Nothing is recorded and no consent is read but
for its terms.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from broker.domain.access import GrantedTerms, stored_terms
from broker.domain.conditions import OF_NO_POLICY, STATE_CHANGED
from broker.domain.entry import Entry
from broker.domain.errors import InvalidRequest, NotFound
from broker.domain.policy import policies_with
from broker.domain.replay import Recorded, own_numbers, recorded
from broker.store import audit, consents, own_attributes, policy_sets
from broker.store.audit import LoggedEntry
from broker.usecases.context import Context
from broker.usecases.loaded_policies import Policies
from broker.usecases.policy_set import declared_in, in_force

MOST: Final = 1_000_000
BATCH: Final = 500
EXAMPLES: Final = 20


@dataclass(frozen=True)
class Change:
    """A decision that the policies that are tried would have made in another way."""

    entry_id: str
    time: int
    partner: str
    action: str
    attribute: str
    purpose: str
    was: tuple[str, ...]
    becomes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The change as commands and the API tell it; conditions are empty for a permit."""
        return {
            "id": self.entry_id,
            "time": self.time,
            "partner": self.partner,
            "action": self.action,
            "attribute": self.attribute,
            "purpose": self.purpose,
            "was": list(self.was),
            "becomes": list(self.becomes),
        }


@dataclass
class Preview:
    """What came of trying `candidate`; both versions are those that decisions name.

    `otherwise` counts decisions that the policies in force, too, judge in another way than was
    decided then: those of the time were others. `skipped` counts those that could not be asked
    again: too old to have kept their facts, about somebody erased, or of no partner of their own.
    """

    in_force: str
    candidate: str
    tried: int = 0
    skipped: int = 0
    otherwise: int = 0
    now_denied: int = 0
    now_permitted: int = 0
    other_reasons: int = 0
    by_condition: Counter[str] = field(default_factory=Counter)
    turned: list[Change] = field(default_factory=list)
    reasoned: list[Change] = field(default_factory=list)

    @property
    def examples(self) -> list[Change]:
        """Some of what changes, newest first: before the rest those with another answer."""
        return [*self.turned, *self.reasoned][:EXAMPLES]

    def to_json(self) -> dict[str, Any]:
        """The preview as commands and the API tell it."""
        return {
            "in_force": self.in_force,
            "candidate": self.candidate,
            "tried": self.tried,
            "skipped": self.skipped,
            "decided_otherwise": self.otherwise,
            "now_denied": self.now_denied,
            "now_permitted": self.now_permitted,
            "other_reasons": self.other_reasons,
            "by_condition": dict(self.by_condition.most_common()),
            "examples": [one.to_json() for one in self.examples],
        }


def preview(
    ctx: Context,
    tenant_id: str,
    text: str,
    *,
    last: int,
    progress: Callable[[int], None] = lambda _done: None,
) -> Preview:
    """Judge the tenant's `last` decisions again, by what is in force and by a set's `text`.

    An empty text stands for the broker's policies alone. Raises `InvalidPolicies`,
    `InvalidRequest`, `NotFound` (tenant).
    """
    if not 0 < last <= MOST:
        raise InvalidRequest(f"between 1 and {MOST} decisions can be tried")
    candidate = policies_with(declared_in(ctx, tenant_id, text))
    with ctx.db.reading() as tx:
        stands = in_force(ctx, tx, tenant_id, policy_sets.in_force(tx, tenant_id))
    result = Preview(stands.version, candidate.version)
    for entries in _batches(ctx, tenant_id, last):
        with ctx.db.reading() as tx:
            asked = list(_readable(ctx, tx, tenant_id, entries))
        result.skipped += len(entries) - len(asked)
        for entry, case in asked:
            _try(result, entry, case, stands, candidate)
        progress(len(entries))
    return result


def _batches(ctx: Context, tenant_id: str, last: int) -> Iterator[list[LoggedEntry]]:
    before: int | None = None
    while last > 0:
        with ctx.db.reading() as tx:
            found = audit.latest_of_type(
                tx, tenant_id, "decision", before=before, limit=min(BATCH, last)
            )
        if not found:
            return
        yield found
        before = found[-1].index
        last -= len(found)


def _readable(
    ctx: Context, tx: Connection, tenant_id: str, entries: Sequence[LoggedEntry]
) -> Iterator[tuple[Entry, Recorded]]:
    named = {entry.sealed.consent_id for entry in entries} - {None}
    terms = {
        consent_id: stored_terms(text)
        for consent_id, text in consents.terms_of(tx, [name for name in named if name]).items()
        if text
    }
    opened = list(_opened(ctx, tx, entries))
    numbers = {number for entry in opened for number in own_numbers(entry.body)}
    own = own_attributes.numbered(tx, tenant_id, numbers)
    for entry in opened:
        case = recorded(entry.body, _terms(entry.consent_id, terms), own)
        if case is not None:
            yield entry, case


def _opened(ctx: Context, tx: Connection, entries: Sequence[LoggedEntry]) -> Iterator[Entry]:
    for logged in entries:
        sealed = logged.sealed
        try:
            key = ctx.keys.log_key(tx, sealed.tenant_id, sealed.subject_id)
        except NotFound:
            continue  # erased
        yield key.open(sealed)


def _terms(consent_id: str | None, terms: dict[str, GrantedTerms]) -> GrantedTerms | None:
    return None if consent_id is None else terms.get(consent_id)


def _try(
    result: Preview, entry: Entry, case: Recorded, stands: Policies, candidate: Policies
) -> None:
    result.tried += 1
    was = _conditions(stands, case)
    becomes = _conditions(candidate, case)
    decided = tuple(one for one in case.conditions if one not in OF_NO_POLICY)
    if decided != was and STATE_CHANGED.id not in case.conditions:
        result.otherwise += 1
    if was == becomes:
        return
    if not was:
        result.now_denied += 1
    elif not becomes:
        result.now_permitted += 1
    else:
        result.other_reasons += 1
    result.by_condition.update(set(was) ^ set(becomes))
    some = result.reasoned if was and becomes else result.turned
    if len(some) < EXAMPLES:
        some.append(_change(entry, was, becomes))


def _change(entry: Entry, was: tuple[str, ...], becomes: tuple[str, ...]) -> Change:
    return Change(
        entry_id=entry.id,
        time=entry.time,
        partner=entry.body["partner"],
        action=entry.body["action"],
        attribute=entry.body["attribute"],
        purpose=entry.body["purpose"],
        was=was,
        becomes=becomes,
    )


def _conditions(policies: Policies, case: Recorded) -> tuple[str, ...]:
    verdict = policies.judge(case.question, case.facts, case.now)
    return tuple(reason.id for reason in verdict.reasons)
