"""Outside sources of data: an officer registers and signs a checklist, without which none is used.

Every act is in the log, and the next decision follows it: each changes the tenant's version first,
which a decision reads, and reads again as it is written.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection

from broker.domain.data_source import (
    CLOSED,
    DRAFT,
    NAME,
    SANDBOX,
    Checklist,
    DataSource,
    check_checklist,
)
from broker.domain.errors import InvalidRequest, StateConflict
from broker.domain.ids import new_id
from broker.store import data_sources as store
from broker.store import partners, registry
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.tenant import require_country, require_text

OPERATOR = "operator"
MOST_SOURCES = 1_000


def register(
    ctx: Context,
    tenant_id: str,
    name: str,
    checklist: Checklist,
    *,
    title: str,
    partner: str | None = None,
    by: str = OPERATOR,
) -> DataSource:
    """Register a source as a draft; `by` signs its checklist.

    Raises `InvalidRequest`, `StateConflict` (the name, or a sole source, is taken), `NotFound`
    (tenant), `UnknownPartner`.
    """
    if NAME.fullmatch(name) is None:
        raise InvalidRequest("a data source's name is of a-z, 0-9 and -, 40 at most")
    require_text(title)
    with ctx.db.transaction() as tx:
        store.touch(tx, tenant_id)
        if len(store.every(tx, tenant_id)) >= MOST_SOURCES:
            raise InvalidRequest(f"a tenant registers at most {MOST_SOURCES} data sources")
        _check(tx, tenant_id, checklist, partner)
        made = DataSource(
            new_id("ds"), name, title, partner, DRAFT, checklist, by, ctx.now(), version=1
        )
        store.add(tx, tenant_id, made)
        _record(ctx, tx, tenant_id, made, "registered", by)
    return made


def revise(
    ctx: Context,
    tenant_id: str,
    name: str,
    checklist: Checklist,
    *,
    title: str,
    partner: str | None = None,
    by: str = OPERATOR,
) -> DataSource:
    """Put another checklist in place, signed by `by`: the source is a draft again, used by nobody.

    Raises `InvalidRequest`, `StateConflict` (it is in the sandbox), `NotFound`, `UnknownPartner`.
    """
    require_text(title)
    with ctx.db.transaction() as tx:
        store.touch(tx, tenant_id)
        was = store.find(tx, tenant_id, name)
        _check(tx, tenant_id, checklist, partner)
        _not_tried(was)
        made = replace(
            was,
            checklist=checklist,
            title=title,
            partner=partner,
            state=DRAFT,
            signed_by=by,
            version=was.version + 1,
        )
        store.revise(tx, tenant_id, was, made)
        _record(ctx, tx, tenant_id, made, "revised", by)
    return made


def close(ctx: Context, tenant_id: str, name: str, *, by: str = OPERATOR) -> bool:
    """Use a source no more, from the next decision on; whether that changed anything.

    Raises `StateConflict` (it is in the sandbox), `NotFound`.
    """
    with ctx.db.transaction() as tx:
        store.touch(tx, tenant_id)
        was = store.find(tx, tenant_id, name)
        if was.state == CLOSED:
            return False
        _not_tried(was)
        store.set_state(tx, was, CLOSED)
        body = {"data_source": was.id, "name": name, "by": by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="data_source.closed", body=body)
    return True


def listed(ctx: Context, tenant_id: str) -> Sequence[DataSource]:
    """The register of a tenant, by name; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return store.every(tx, tenant_id)


def _check(tx: Connection, tenant_id: str, checklist: Checklist, partner: str | None) -> None:
    for named in (*checklist.recipients, *([] if partner is None else [partner])):
        partners.find(tx, tenant_id, named)
    known = registry.registry(tx, tenant_id)
    check_checklist(
        checklist,
        purposes=frozenset(known.purposes),
        attributes=frozenset(known.attributes),
    )
    for code in checklist.territories:
        require_country(code)


def _not_tried(was: DataSource) -> None:
    if was.state == SANDBOX:
        raise StateConflict("the data source is in the sandbox: end its trial first")


def _record(
    ctx: Context, tx: Connection, tenant_id: str, made: DataSource, act: str, by: str
) -> None:
    body = {
        "data_source": made.id,
        "name": made.name,
        "version": made.version,
        "partner": made.partner,
        "checklist": asdict(made.checklist),
        "by": by,
    }
    audit.record(ctx, tx, tenant_id=tenant_id, type=f"data_source.{act}", body=body)
