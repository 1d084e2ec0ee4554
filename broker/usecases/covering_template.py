"""Which template asks for the consent that a denied use lacks, so that the denial can name it."""

from typing import Final

from sqlalchemy import Connection

from broker.domain.access import Question
from broker.domain.algorithm_versions import covers_version
from broker.domain.template import Template, TemplateItem
from broker.store import registry

KEPT_SECONDS: Final = 10
MOST_TENANTS: Final = 256


class CoveringTemplates:
    """Tenants' templates, each read again after ten seconds: a hint may be that old.

    Safe from several threads, which at worst read the same twice.
    """

    def __init__(self) -> None:
        self._of_tenant: dict[str, tuple[int, list[Template]]] = {}

    def find(
        self, tx: Connection, tenant_id: str, question: Question, attribute: str, now: int
    ) -> tuple[str, str] | None:
        """The id of a template with an item for this use, in its newest version, and the item."""
        for template in self._templates(tx, tenant_id, now):
            for item in template.items:
                if covers(item, question, attribute):
                    return template.id, item.item
        return None

    def _templates(self, tx: Connection, tenant_id: str, now: int) -> list[Template]:
        read_at, found = self._of_tenant.get(tenant_id, (0, []))
        if not read_at <= now < read_at + KEPT_SECONDS:
            if len(self._of_tenant) >= MOST_TENANTS:
                self._of_tenant.clear()
            found = registry.templates(tx, tenant_id)
            self._of_tenant[tenant_id] = (now, found)
        return found


def covers(item: TemplateItem, question: Question, attribute: str) -> bool:
    """Whether the item asks for consent to this use of the attribute (its canonical name)."""
    territories = {*item.territories.processing, *item.territories.access}
    return (
        (item.purpose, item.algorithm) == (question.purpose_id, question.algorithm_id)
        and covers_version(
            item.algorithm_version,
            question.algorithm_version,
            minor_versions=item.minor_versions,
        )
        and question.action in item.actions
        and (question.territory is None or question.territory in territories)
        and any(one.id == attribute for one in item.attributes)
    )
