"""What may be asked to be proven through the broker: statements that say something, and not all.

The broker keeps no attribute and hands none on. A statement that would show one, or that holds of
one single value, is for a verifier of the partner's own.
"""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Final

from broker.domain.errors import InvalidRequest, StatementShows
from zkp import Between, MemberOf, OlderThan, Place, Reveal, Statement

# Somewhere on earth it is tomorrow already.
AHEAD_SECONDS = 14 * 3_600
ANSWER_SECONDS = 900
"""How long a proof request is open."""


CONTACT_ID: Final = "contact_id"
"""The attribute (an identifier) of a kind of credential that is for one contact of a partner."""
_CONTACT: Final = b"consent-broker contact v1"
_CONTACT_BYTES: Final = 16


def contact_number(contact_id: str) -> str:
    """The value of that attribute: 128 bits of SHA-256 over the contact's own random id, decimal.

    Another partner's contact of the same customer has another one, so it joins nothing.
    """
    digest = hashlib.sha256(_CONTACT + contact_id.encode()).digest()
    return str(int.from_bytes(digest[:_CONTACT_BYTES]))


def is_of_contact(statement: Statement) -> bool:
    """Whether it says that a credential is for the contact of its request.

    Partners cannot ask for one value (`check_statements`), so whatever does is the broker's.
    """
    place = statement.place
    return (
        place.attribute == CONTACT_ID
        and isinstance(statement, MemberOf)
        and _of_one_value(statement)
    )


def of_contact(credential: str, contact_id: str) -> MemberOf:
    """The statement that a credential was issued for this contact."""
    return MemberOf(Place(credential, CONTACT_ID), (contact_number(contact_id),))


def check_statements(statements: Sequence[Statement], now: int) -> None:
    """Raise `StatementShows` or `InvalidRequest` for what may not be asked at `now`.

    An age is of a day that has come: "18 or older in ten years" would be said of children.
    """
    for statement in statements:
        if isinstance(statement, Reveal):
            raise StatementShows(
                "a statement of type reveal shows the attribute: the broker keeps and passes on "
                "none; ask what follows from it, such as at_least or member_of"
            )
        if _of_one_value(statement):
            raise StatementShows(
                "a statement that holds of one value alone shows the attribute: leave more than "
                "one possible"
            )
        if isinstance(statement, OlderThan) and not _has_come(statement.on, now):
            raise InvalidRequest(
                "older_than: `on` is a day that has come, written like 2026-11-26: an age in the "
                "future is none"
            )


def _of_one_value(statement: Statement) -> bool:
    if isinstance(statement, MemberOf):
        return len(statement.values) == 1
    return isinstance(statement, Between) and statement.low == statement.high


def _has_come(day: str, now: int) -> bool:
    try:
        named = dt.date.fromisoformat(day)
    except ValueError:
        return False
    return named <= dt.datetime.fromtimestamp(now + AHEAD_SECONDS, dt.UTC).date()
