"""Unlearning tasks: which are open, and how one is closed."""

import json
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.domain.unlearning import USED, check_done, check_residual
from broker.store import campaigns, model_versions, registry, training_rounds, unlearning
from broker.store.model_versions import VersionRow
from broker.store.unlearning import TaintRow, UnlearningRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.model_lineage import lineage_of
from broker.usecases.unlearning import SECONDS, search
from federation.errors import FederationError

OPERATOR = "operator"
MEASURED_OF = ("before", "after", "reference")


@dataclass(frozen=True)
class Task:
    """A task, what it has tainted (each with the state that it has now), the model it ended with.

    `taint` is that model's.
    """

    row: UnlearningRow
    tainted: tuple[tuple[TaintRow, str], ...]
    taint: str | None


@dataclass(frozen=True)
class Residual:
    """Distances to a model that never saw the rows, decimals in text, as they were measured.

    `models` are those that it was measured of, by their files' hashes: before, after, reference.
    """

    before: str
    after: str
    models: tuple[str, str, str] | None = None


def tasks(
    ctx: Context,
    tenant_id: str,
    *,
    limit: int,
    campaign_id: str | None = None,
    state: str | None = None,
    after: str | None = None,
) -> tuple[list[Task], str | None]:
    """Tasks of a tenant, oldest first, and where the next page begins.

    `after` is the last task of the page before. Raises `NotFound` (tenant, campaign, `after`).
    """
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        if campaign_id is not None:
            campaigns.find(tx, tenant_id, campaign_id)
        behind = None if after is None else unlearning.find(tx, tenant_id, after)
        rows = unlearning.listed(
            tx, tenant_id, limit=limit + 1, campaign_id=campaign_id, state=state, after=behind
        )
        found = [_task(tx, row) for row in rows[:limit]]
    return found, rows[limit - 1].id if len(rows) > limit else None


def tasks_in(tx: Connection, tenant_id: str, campaign_id: str, *, limit: int) -> list[Task]:
    """The first tasks of a campaign, oldest first."""
    rows = unlearning.listed(tx, tenant_id, limit=limit, campaign_id=campaign_id)
    return [_task(tx, row) for row in rows]


def close_task(
    ctx: Context,
    tenant_id: str,
    task_id: str,
    *,
    model: str | None,
    residual: Residual | None = None,
    by: str = OPERATOR,
) -> Task:
    """Close a task: with the model that its policy asks for, or with none left in use.

    1. What was withdrawn by now is looked for: it may extend the task.
    2. A task that was closed with these very words is answered again.
    3. With a model: it is what the policy asks for (`domain.unlearning.check_done`).
    4. With none: each version that the task has tainted is retired, and so is whatever else of its
       campaign has such a row, and what came of that in campaigns that have no open task.

    The residual is the word of whoever measured; None says that nobody did. Where it names its
    models, they are one that the task has tainted and the one that it is closed with, and the task
    and the log name all three. Raises `NotFound`, `StateConflict`, `InvalidRequest`.
    """
    if residual is not None:
        check_residual(residual.before, residual.after)
    # 1.
    search(ctx, tenant_id, within=SECONDS)
    with ctx.db.transaction() as tx:
        campaign_id = unlearning.find(tx, tenant_id, task_id).campaign_id
        campaigns.find(tx, tenant_id, campaign_id, lock=True)
        row = unlearning.find(tx, tenant_id, task_id)
        changed = replace(row, state="done", model=model, **_kept(residual))
        # 2.
        if row.state == "done":
            if row != changed:
                raise StateConflict("the task was closed with another model or residual, or none")
            return _task(tx, row)
        if residual is not None and residual.models is not None:
            _check_measured(tx, row, model, residual.models)
        # 3.
        if model is not None:
            _check_model(tx, row, model)
        # 4.
        else:
            _check_none_left(tx, row)
        changed = replace(changed, closed_at=ctx.now(), closed_by=by)
        unlearning.change(tx, row.id, **vars(changed))
        closed = _task(tx, changed)
        body = {
            "task": row.id,
            "campaign": row.campaign_id,
            "policy": row.policy,
            "model": model,
            "base": row.base,
            "taint": closed.taint,
            "residual": _distances(changed),
            "measured": None if residual is None else residual.models,
            "by": by,
        }
        audit.record(ctx, tx, tenant_id=tenant_id, type="unlearning.closed", body=body)
    return closed


def residuals_of(tx: Connection, model: VersionRow) -> list[dict[str, Any]]:
    """The residuals of a model: of each task that was closed with it and has one, oldest first."""
    found = ((row, told_residual(row)) for row in unlearning.closed_with(tx, model))
    return [{"task": row.id, **told} for row, told in found if told is not None]


def told(task: Task, *, withdrawals: bool = True) -> dict[str, Any]:
    """A task as the API and `--json` tell it; coordinators: not how many withdrew, nor when."""
    row = task.row
    return {
        "id": row.id,
        "campaign": row.campaign_id,
        "policy": row.policy,
        "state": row.state,
        "opened_at": row.opened_at,
        "since": row.since if withdrawals else None,
        "withdrawals": row.withdrawals if withdrawals else None,
        "base": row.base,
        "tainted": [
            {
                "model": one.model_id,
                "taint": USED if one.used else "descends",
                "state_before": one.state_before,
                "state": state,
            }
            for one, state in task.tainted
        ],
        "model": row.model,
        "taint": task.taint,
        "residual": told_residual(row),
        "closed_at": row.closed_at,
        "closed_by": row.closed_by,
    }


def told_residual(row: UnlearningRow) -> dict[str, Any] | None:
    """The residual as it is told; None where nobody gave one.

    `measured` are the hashes of the three files that it was measured from; None: as was said.
    """
    distances = _distances(row)
    if distances is None:
        return None
    of = row.residual_models
    measured = None if of is None else dict(zip(MEASURED_OF, json.loads(of), strict=True))
    return {**distances, "measured": measured}


def _distances(row: UnlearningRow) -> dict[str, str] | None:
    if row.residual_before is None or row.residual_after is None:
        return None
    return {"before": row.residual_before, "after": row.residual_after}


def _kept(residual: Residual | None) -> dict[str, Any]:
    """The columns of a residual."""
    if residual is None:
        return dict.fromkeys(("residual_before", "residual_after", "residual_models"))
    return {
        "residual_before": residual.before,
        "residual_after": residual.after,
        "residual_models": None if residual.models is None else json.dumps(residual.models),
    }


def _task(tx: Connection, row: UnlearningRow) -> Task:
    model = None if row.model is None else model_versions.known(tx, row.tenant_id, row.model)
    tainted = tuple(unlearning.tainted_by(tx, row.id))
    return Task(row, tainted, None if model is None else model.taint)


def _check_measured(
    tx: Connection, row: UnlearningRow, model: str | None, models: tuple[str, str, str]
) -> None:
    before, after, _ = models
    if before not in {one.model_id for one, _ in _task(tx, row).tainted}:
        raise StateConflict("the weights before are of no model that the task has tainted")
    if after != model:
        raise StateConflict("the weights after are not of the model that the task is closed with")


def _check_none_left(tx: Connection, row: UnlearningRow) -> None:
    versions = model_versions.of_tenant(tx, row.tenant_id)
    own = [one.id for one in versions if one.campaign_id == row.campaign_id and one.taint]
    try:
        touched = lineage_of(tx, row.tenant_id).tainted(own)
    except FederationError as error:
        raise StateConflict(str(error)) from None
    for one in versions:
        if one.id not in touched or one.state == "retired":
            continue
        if one.campaign_id == row.campaign_id or unlearning.open_of(tx, one.campaign_id) is None:
            raise StateConflict(
                f"without a model in its place, retire {one.id} first, and every version that has "
                "such a row or comes of one (consent-broker federation model retire)"
            )


def _check_model(tx: Connection, row: UnlearningRow, model: str) -> None:
    found = model_versions.find(tx, row.tenant_id, model)
    held = {one.id: one for one in campaigns.of_tenant(tx, row.tenant_id)}
    opened_at = 0
    if found.number:
        opened_at = training_rounds.find(tx, found.campaign_id, found.stage, found.number).opened_at
    try:
        lineage = lineage_of(tx, row.tenant_id)
        line = {one.id for one in lineage.line(model)}
    except FederationError as error:
        raise StateConflict(str(error)) from None
    purposes = {held[one].purpose for one in (row.campaign_id, found.campaign_id)}
    check_done(
        lineage.versions[model],
        line,
        taint=found.taint,
        policy=row.policy,
        campaign=held[row.campaign_id].hash,
        base=row.base,
        # Another version of the algorithm is another way to the same purpose.
        same_purpose=len({one.partition("#algo:")[0] for one in purposes}) == 1,
        since=row.since,
        opened_at=opened_at,
    )
