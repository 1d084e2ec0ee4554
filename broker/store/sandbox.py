"""Rows of trials in the sandbox, and which contacts they may be made on."""

from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict
from broker.domain.sandbox import Figures, Trial
from broker.store import tables
from broker.store.contacts import CONTACT
from broker.store.data_sources import SOURCE
from broker.store.prepared import Prepared

TRIAL = tables.Trial.__table__  # type: ignore[attr-defined]

_COUNT = Prepared(
    update(TRIAL)
    .where(TRIAL.c.tenant_id == bindparam("of_tenant"), TRIAL.c.ended_at.is_(None))
    .values(uses=TRIAL.c.uses + 1)
)


def count_use(tx: Connection, tenant_id: str) -> None:
    """Count a permit in the trial that runs."""
    _COUNT.changed(tx, {"of_tenant": tenant_id})


def start(tx: Connection, tenant_id: str, trial: Trial, of: str) -> None:
    """Begin the trial of a source or a partner, whose id is `of`.

    Of several at once exactly one begins; raises `StateConflict` while another runs.
    """
    values = {
        "id": trial.id,
        "tenant_id": tenant_id,
        f"{trial.kind}_id": of,
        "opened_by": trial.opened_by,
        "opened_at": trial.opened_at,
        "uses": 0,
    }
    try:
        with tx.begin_nested():
            tx.execute(insert(TRIAL).values(**values))
    except IntegrityError:
        raise StateConflict(
            "another source or partner is in the sandbox: sign it off or end its trial first"
        ) from None


def find(tx: Connection, tenant_id: str, trial_id: str) -> Trial:
    """A trial of the tenant, held until the end of `tx`; raises `NotFound`."""
    chosen = _trials(tenant_id).where(TRIAL.c.id == trial_id).with_for_update(of=TRIAL)
    row = tx.execute(chosen).one_or_none()
    if row is None:
        raise NotFound("there is no such trial in the sandbox")
    return _trial(row)


def end(
    tx: Connection, trial: Trial, *, outcome: str, figures: Figures | None, by: str, now: int
) -> None:
    """End a trial; raises `StateConflict` where it is over."""
    told: dict[str, Any] = {}
    if figures is not None:
        told = {"quality": figures.quality, "value": figures.value, "report": figures.report}
    done = tx.execute(
        update(TRIAL)
        .where(TRIAL.c.id == trial.id, TRIAL.c.ended_at.is_(None))
        .values(ended_at=now, ended_by=by, outcome=outcome, **told)
    )
    if done.rowcount != 1:
        raise StateConflict("the trial is over already")


def every(tx: Connection, tenant_id: str) -> list[Trial]:
    """The tenant's trials, oldest first."""
    return [_trial(row) for row in tx.execute(_trials(tenant_id))]


def mark(tx: Connection, tenant_id: str, contact_id: str, *, on: bool) -> bool:
    """Make a contact a test subject, or none; whether that changed anything."""
    done = tx.execute(
        update(CONTACT)
        .where(
            CONTACT.c.tenant_id == tenant_id,
            CONTACT.c.id == contact_id,
            func.coalesce(CONTACT.c.test_subject, False).is_not(on),
        )
        .values(test_subject=on)
    )
    return done.rowcount == 1


def _trials(tenant_id: str) -> Any:  # noqa: ANN401 (a select of many columns)
    return (
        select(TRIAL, SOURCE.c.name.label("source_name"))
        .outerjoin(SOURCE, SOURCE.c.id == TRIAL.c.source_id)
        .where(TRIAL.c.tenant_id == tenant_id)
        .order_by(TRIAL.c.opened_at, TRIAL.c.id)
    )


def _trial(row: Any) -> Trial:  # noqa: ANN401 (a row)
    figures = None
    if row.quality is not None:
        figures = Figures(row.quality, row.value, row.report)
    return Trial(
        id=row.id,
        kind="partner" if row.source_id is None else "source",
        name=row.source_name if row.partner_id is None else row.partner_id,
        opened_by=row.opened_by,
        opened_at=row.opened_at,
        uses=row.uses,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        outcome=row.outcome,
        figures=figures,
    )
