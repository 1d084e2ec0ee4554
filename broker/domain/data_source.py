"""Outside sources of data: the checklist that each is used by, and what a decision sees of it.

A source is a supplier outside of the tenant, a partner or a third party. Its entry goes through
states: `draft` (registered and signed, not used), `sandbox` (tried on marked test subjects alone,
one source or partner of a tenant at a time), `open` (signed off with figures), `closed`.
A changed checklist is a new draft. The checklist is kept as JSON:

    purposes        what its data may be used for, of the tenant's registry
    attributes      which attributes of the dictionary it supplies
    sole            whether these come from it alone: a use that names no source then is one of it
    retention_days  how long its data may be kept; a shorter consent goes first
    recipients      the partners that may get them (client ids)
    territories     where they may be used (ISO 3166-1), the recipients' own countries among them
    basis           the lawful basis on which it has and hands over the data
    reference       the contract, by number or file name

Not to be mixed up with sources of events (`domain/incoming.py`), which send no data.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import orjson

from broker.domain.errors import InvalidRequest

State = Literal["draft", "sandbox", "open", "closed"]
Basis = Literal[
    "consent",
    "contract",
    "human_resources",
    "legal_duty",
    "emergency",
    "news",
    "made_public",
    "legitimate_interest",
    "public_task",
]
DRAFT: Final = "draft"
SANDBOX: Final = "sandbox"
OPEN: Final = "open"
CLOSED: Final = "closed"
ENDED: Final = "ended"
"""Of a partner whose trial ended without a sign-off."""

NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
MOST_NAMED: Final = 64
LONGEST_RETENTION: Final = 3_650
LONGEST_REFERENCE: Final = 200
_LISTS: Final = ("purposes", "attributes", "recipients", "territories")


@dataclass(frozen=True, slots=True)
class Checklist:
    """What is agreed of a source; lists are in order and without repetitions."""

    purposes: tuple[str, ...]
    attributes: tuple[str, ...]
    retention_days: int
    recipients: tuple[str, ...]
    territories: tuple[str, ...]
    basis: Basis
    reference: str
    sole: bool = False

    def dump(self) -> str:
        """As it is kept."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def load(cls, text: str) -> "Checklist":
        """One that `dump` wrote."""
        parts = orjson.loads(text)
        return cls(**parts | {name: tuple(parts[name]) for name in _LISTS})


@dataclass(frozen=True, slots=True)
class DataSource:
    """An entry of the register; `partner` is its client id where the supplier is a partner."""

    id: str
    name: str
    title: str
    partner: str | None
    state: State
    checklist: Checklist
    signed_by: str
    created_at: int
    version: int

    def to_json(self) -> dict[str, Any]:
        """The entry as the API and commands tell it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The source that a question names, as its entry stands; without one nothing is covered."""

    name: str
    registered: bool
    state: str = ""
    purposes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    territories: tuple[str, ...] = ()
    retention_days: int | None = None

    @classmethod
    def of(cls, name: str, state: str, listed: Checklist) -> "SourceFacts":
        """The facts of an entry."""
        return cls(
            name,
            registered=True,
            state=state,
            purposes=listed.purposes,
            attributes=listed.attributes,
            recipients=listed.recipients,
            territories=listed.territories,
            retention_days=listed.retention_days,
        )


def check_checklist(
    listed: Checklist, *, purposes: frozenset[str], attributes: frozenset[str]
) -> None:
    """Raise `InvalidRequest` for a checklist that is not complete or names what is not registered.

    Recipients and territories are looked up by the caller.
    """
    for name in _LISTS:
        found = getattr(listed, name)
        if not 0 < len(found) <= MOST_NAMED or len(set(found)) != len(found):
            raise InvalidRequest(f"{name}: 1 to {MOST_NAMED} of them, each once")
    known: Mapping[str, frozenset[str]] = {"purposes": purposes, "attributes": attributes}
    for name, registered in known.items():
        unknown = sorted(set(getattr(listed, name)) - registered)
        if unknown:
            raise InvalidRequest(f"{name}: {unknown[0][:100]} is not registered, register it first")
    if not 0 < listed.retention_days <= LONGEST_RETENTION:
        raise InvalidRequest(f"retention_days is between 1 and {LONGEST_RETENTION}")
    text = listed.reference
    if not text.strip() or len(text) > LONGEST_REFERENCE or not text.isprintable():
        raise InvalidRequest(f"reference: name the contract, in {LONGEST_REFERENCE} letters")
