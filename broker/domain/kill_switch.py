"""Kill switches: what can be stopped at once, whatever customers have agreed to.

A switch is a column of the row that it stops (a row that a decision reads anyway), so the next
decision denies. It is on or off, and says nothing of why: the reason belongs to whoever set it.
"""

from dataclasses import dataclass
from typing import Literal

from broker.domain.errors import InvalidRequest

Kind = Literal["tenant", "partner", "purpose", "algorithm"]
KINDS: tuple[Kind, ...] = ("tenant", "partner", "purpose", "algorithm")


@dataclass(frozen=True)
class KillSwitch:
    """What one switch stops within a tenant: all of it, a partner, a purpose, an algorithm.

    `id` is the tenant's or partner's id, a purpose's identifier, or `<algorithm>@<version>`.
    """

    kind: Kind
    id: str

    @property
    def algorithm(self) -> tuple[str, str]:
        """The algorithm's id and version; raises `InvalidRequest` when there is no version."""
        name, _, version = self.id.partition("@")
        if not name or not version:
            raise InvalidRequest("name an algorithm with its version, like churn-v3@1")
        return name, version
