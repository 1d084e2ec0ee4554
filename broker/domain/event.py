"""Events in the JSON form of CloudEvents 1.0: what partners are told.

`TYPES` may grow; a type keeps what its subject and its data are. A receiver passes over types and
members that it does not know, and fetches what it needs by the ids: no event holds an attribute, a
contact or anything else that two partners could hold against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

MEDIA_TYPE: Final = "application/cloudevents+json"
SPEC_VERSION: Final = "1.0"

TYPES: Final[Mapping[str, str]] = {
    "consent.granted": "A customer has signed a consent. Subject: the consent.",
    "consent.refused": "A customer does not give a consent. Subject: the consent.",
    "consent.withdrawn": "A consent is withdrawn: decisions deny. Subject: the consent.",
    "consent.expired": "A consent, or the time to give it, is over. Subject: the consent.",
    "consent.superseded": "A newer consent stands in its place. Subject: the consent.",
    "deletion.requested": "What a consent brought has to be deleted. Subject: the consent.",
    "proof.verified": "A wallet has proven what was asked for. Subject: the proof request.",
    "proof.refused": "A holder does not prove it. Subject: the proof request.",
    "agent.suspended": "The tenant has stopped an agent of yours. Subject: the agent.",
    "agent.resumed": "An agent of yours may act again. Subject: the agent.",
}
"""Every type that there is, and what it says."""


@dataclass(frozen=True)
class Event:
    """One event. `time` is Unix seconds, `source` the tenant's address, `data` plain JSON."""

    id: str
    source: str
    type: str
    subject: str
    time: int
    data: Mapping[str, Any]

    def to_json(self) -> bytes:
        """CloudEvents 1.0 JSON format, section 3: a structured event with data."""
        return orjson.dumps(
            {
                "specversion": SPEC_VERSION,
                "id": self.id,
                "source": self.source,
                "type": self.type,
                "subject": self.subject,
                "time": written(self.time),
                "datacontenttype": "application/json",
                "data": dict(self.data),
            }
        )


def written(time: int) -> str:
    """Unix seconds as RFC 3339 in UTC, as in `2026-11-27T12:00:00Z`."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
