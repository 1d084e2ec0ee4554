"""The states of a consent and what may lead from one to the next."""

from dataclasses import dataclass
from enum import StrEnum

from broker.domain.errors import StateConflict


class ConsentState(StrEnum):
    """Where a consent stands (ISO/IEC TS 27560 event states, with `superseded`)."""

    REQUESTED = "requested"
    GRANTED = "granted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


NEXT: dict[ConsentState, frozenset[ConsentState]] = {
    ConsentState.REQUESTED: frozenset(
        {ConsentState.GRANTED, ConsentState.REFUSED, ConsentState.EXPIRED}
    ),
    ConsentState.GRANTED: frozenset(
        {ConsentState.WITHDRAWN, ConsentState.EXPIRED, ConsentState.SUPERSEDED}
    ),
    ConsentState.REFUSED: frozenset(),
    ConsentState.WITHDRAWN: frozenset(),
    ConsentState.EXPIRED: frozenset(),
    ConsentState.SUPERSEDED: frozenset(),
}


class BindingGrade(StrEnum):
    """How surely a contact is the person who holds the wallet, weakest first."""

    NONE = "none"
    LINK = "link"
    CODE = "code"
    VERIFIED_PERSON = "verified_person"


class SignatureGrade(StrEnum):
    """What the customer's signature proves (architecture: evidence)."""

    SIGNED_AND_DISPLAYED = "signed_and_displayed"
    BOUND_NOT_DISPLAYED = "bound_not_displayed"


class WithdrawalGrade(StrEnum):
    """By what a withdrawal is shown to be the customer's."""

    SAME_KEY = "same_key"
    BOUND_KEY = "bound_key"
    GUARDIAN = "guardian"
    TENANT_CHANNEL = "tenant_channel"


@dataclass(frozen=True)
class Transition:
    """A change of state, to be written by compare-and-swap on `before`."""

    before: ConsentState
    after: ConsentState


def transition(before: ConsentState, after: ConsentState) -> Transition:
    """The change from `before` to `after`; raises `StateConflict` where it is not allowed."""
    if after not in NEXT[before]:
        raise StateConflict(f"a consent that is {before} cannot become {after}")
    return Transition(before, after)
