"""Rollout of models: a candidate passes its stage's gates and goes on, or a model is retired."""

import json
from collections.abc import Sequence

from sqlalchemy import Connection

from broker.domain.campaign import BUDGET_SPENT, read_board
from broker.domain.errors import StateConflict
from broker.domain.model_card import PASSED
from broker.store import campaigns, model_versions, training_rounds, unlearning
from broker.store.campaigns import CampaignRow
from broker.store.model_versions import VersionRow
from broker.usecases import audit
from broker.usecases.campaign import signed_of
from broker.usecases.context import Context
from broker.usecases.model_lineage import as_library, line_of
from broker.usecases.training_round import check_switches
from broker.usecases.unlearning import SECONDS, search
from federation.board import approvals, pass_stage
from federation.errors import FederationError


def promote(
    ctx: Context, tenant_id: str, model_id: str, given: Sequence[str], *, by: str = "operator"
) -> VersionRow:
    """Have a candidate pass the stage that it was trained in.

    1. Models that used rows withdrawn by now are tainted.
    2. It is a candidate that a round of its campaign gave, and where it descends from a tainted one
       the unlearning tasks of its whole line are closed, those of earlier campaigns too.
    3. Its campaign was not stopped and nothing switches it off, and by the candidate's metrics and
       the approvals `given` (JWS of the board) the stage's gates hold
       (`federation.board.pass_stage`).
    4. From the pilot on it is in state `pilot`, and the campaign goes on with it in stage
       `consortium`, which opens no round where the privacy budget is spent; from there on it is
       `active`. The approvals that hold are kept with it, and the
       log names their keys (thumbprints).

    Raises `NotFound`, `StateConflict`, `SearchNotOver`, and leaves of `FederationError` such as
    `StageShut`, which names what does not hold.
    """
    with ctx.db.reading() as tx:
        campaign_id = model_versions.find(tx, tenant_id, model_id).campaign_id
    # 1.
    search(ctx, tenant_id, within=SECONDS)
    with ctx.db.transaction() as tx:
        campaign = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        row = model_versions.find(tx, tenant_id, model_id)
        # 2.
        _check_candidate(tx, row)
        # 3.
        if campaign.state == "stopped":
            raise StateConflict(
                "the campaign was stopped, so nothing comes of it any more: begin another campaign "
                "with this model, and have the board sign that"
            )
        signed, metrics = signed_of(campaign), json.loads(row.metrics)
        check_switches(tx, tenant_id, signed)
        board = read_board(campaign.board.encode())
        pass_stage(signed, row.stage, row.id, metrics=metrics, given=given, board=board)
        approved = approvals(signed, row.stage, row.id, given, board)
        kept = list(approved.values())
        # 4.
        if row.stage == "pilot":
            # What a pilot that has spent the whole budget gave passes all the same.
            ended = campaign.state == "finished" and campaign.reason == BUDGET_SPENT
            goes_on = campaign.state in {"running", "paused"} or ended
            if campaign.stage != "pilot" or not goes_on:
                raise StateConflict(f"the campaign is {campaign.state} in stage {campaign.stage}")
            if any(one.state == "open" for one in training_rounds.of_campaign(tx, campaign.id)):
                raise StateConflict("a round of the pilot is open: close it or give it up")
            passed = {
                "stage": row.stage,
                "model": row.id,
                "metrics": metrics,
                "approvals": kept,
            }
            campaigns.change(
                tx,
                campaign.id,
                stage="consortium",
                passed=json.dumps(passed),
                changed_at=ctx.now(),
            )
        changed = _become(ctx, campaign, row, PASSED[row.stage])
        model_versions.change(
            tx,
            tenant_id,
            row.id,
            state=changed.state,
            changed_at=changed.changed_at,
            approvals=json.dumps(kept),
        )
        body = {
            "model": row.id,
            "campaign": campaign.id,
            "stage": row.stage,
            "state": changed.state,
            "approvals": sorted(approved),
            "by": by,
        }
        audit.record(ctx, tx, tenant_id=tenant_id, type="model.promoted", body=body)
    return changed


def retire(ctx: Context, tenant_id: str, model_id: str, *, by: str = "operator") -> VersionRow:
    """Take a model out of use, for good; raises `NotFound`, `StateConflict`."""
    with ctx.db.reading() as tx:
        campaign_id = model_versions.find(tx, tenant_id, model_id).campaign_id
    with ctx.db.transaction() as tx:
        campaign = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        row = model_versions.find(tx, tenant_id, model_id)
        changed = _become(ctx, campaign, row, "retired")
        model_versions.change(
            tx, tenant_id, row.id, state=changed.state, changed_at=changed.changed_at
        )
        body = {"model": row.id, "campaign": campaign.id, "from": row.state, "by": by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="model.retired", body=body)
    return changed


def _check_candidate(tx: Connection, row: VersionRow) -> None:
    if row.state == "tainted":
        raise StateConflict("the model is tainted: a row that was withdrawn is in it")
    if row.number == 0 or row.state != "candidate":
        raise StateConflict("only a candidate that a round has given passes a stage")
    if row.taint is None:
        return
    for campaign_id in sorted({one.campaign_id for one in line_of(tx, row)}):
        task = unlearning.open_of(tx, campaign_id)
        if task is not None:
            raise StateConflict(
                f"the model descends from a tainted one: close the unlearning task {task.id} "
                "first, and say what was measured of what is left (consent-broker federation task "
                "close)"
            )


def _become(ctx: Context, campaign: CampaignRow, row: VersionRow, state: str) -> VersionRow:
    try:
        changed = as_library(row, campaign.hash).become(state)  # type: ignore[arg-type]
    except FederationError as error:
        raise StateConflict(str(error)) from None
    return VersionRow(**{**vars(row), "state": changed.state, "changed_at": ctx.now()})
