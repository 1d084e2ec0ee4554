"""Model versions: what a round that closes has made, and how they are told."""

import json
from collections.abc import Mapping
from typing import Any

from broker.domain.errors import StateConflict
from broker.domain.training_errors import TooFewMembers
from broker.domain.training_round import check_metrics, epsilon_of
from broker.domain.unlearning import DESCENDS, EXCLUDE
from broker.store import campaigns, model_versions, registry, training_rounds, unlearning
from broker.store.model_versions import VersionRow
from broker.store.unlearning import TaintRow
from broker.usecases import audit
from broker.usecases.campaign import signed_of
from broker.usecases.context import Context
from broker.usecases.refusal_log import refusals_logged
from broker.usecases.training_round import (
    NOTHING,
    check_switches,
    columns,
    finish_after,
    remarks_in,
)
from federation import reading
from federation.receipt import receipts_root
from federation.remarks import Remarks

CLOSING_REFUSED = "training.closing_refused"


def close_round(
    ctx: Context,
    tenant_id: str,
    campaign_id: str,
    stage: str,
    number: int,
    *,
    model_out: str,
    metrics: Mapping[str, str],
    epsilon: str | None,
    remarks: Remarks = NOTHING,
) -> VersionRow:
    """Close a round with the model that it gave: a version, a candidate so far.

    1. A round that was closed with this model gives its version again.
    2. The round is open, nothing switches the campaign off, and as many members as it asks for
       have told of the round.
    3. The model is a new one.
    4. The version is entered and logged, the round closed, and a campaign whose last round it was
       finished. What came of a model that has a withdrawn row descends from it, and is tainted
       unless the policy is to exclude the row from then on.

    Raises `NotFound`, `StateConflict`, `TooFewMembers`, `InvalidRequest`, `Malformed`.
    """
    reading.hash_bytes(model_out, "model_out")
    check_metrics(metrics)
    where = {"campaign": campaign_id, "stage": stage, "number": number}
    with (
        refusals_logged(ctx, tenant_id, CLOSING_REFUSED, where),
        ctx.db.transaction() as tx,
    ):
        campaign = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        # Behind the lock: a search that held it has looked at rounds that were over by then.
        now = ctx.now()
        row = training_rounds.find(tx, campaign.id, stage, number)
        # 1.
        if row.state == "closed" and row.model_out == model_out:
            return model_versions.find(tx, tenant_id, model_out)
        # 2.
        if row.state != "open":
            raise StateConflict(f"the round is {row.state}, with another model or none")
        signed = signed_of(campaign)
        check_switches(tx, tenant_id, signed)
        receipts = training_rounds.tokens(tx, row.id)
        if len(receipts) < signed.campaign.minimum_members:
            raise TooFewMembers(
                f"a round takes the receipts of {signed.campaign.minimum_members} members; there "
                f"are {len(receipts)}: wait for more, or give the round up"
            )
        # 3.
        if model_versions.known(tx, tenant_id, model_out) is not None:
            raise StateConflict(
                "this model is known already, so the round has taught it nothing: give the round up"
            )
        # 4.
        opened = len(training_rounds.of_campaign(tx, campaign.id))
        root = receipts_root(receipts)
        parent = model_versions.known(tx, tenant_id, row.model_in)
        taint = None if parent is None or parent.taint is None else DESCENDS
        policy = signed.campaign.unlearning
        version = VersionRow(
            tenant_id=tenant_id,
            id=model_out,
            parent=row.model_in,
            campaign_id=campaign.id,
            stage=stage,
            number=number,
            bundle_hash=signed.campaign.bundle_hash,
            parameters_hash=signed.campaign.parameters_hash,
            receipts_root=reading.encoded(root),
            members=json.dumps(list(receipts)),
            epsilon=epsilon_of(signed.campaign, opened, epsilon),
            metrics=json.dumps(dict(metrics), sort_keys=True),
            state="candidate" if taint is None or policy == EXCLUDE else "tainted",
            created_at=now,
            changed_at=now,
            taint=taint,
        )
        model_versions.add(tx, version)
        task = unlearning.open_of(tx, campaign.id) if version.state == "tainted" else None
        if task is not None:
            unlearning.taint(tx, [TaintRow(task.id, model_out, tenant_id, "candidate", used=False)])
        remarked = remarks_in(row, remarks)
        training_rounds.change(
            tx, row.id, state="closed", model_out=model_out, over_at=now, **columns(remarked)
        )
        body = {**told(version), **vars(remarked)}
        audit.record(ctx, tx, tenant_id=tenant_id, type="training.round_closed", body=body)
        finish_after(ctx, tx, campaign, signed)
    return version


def versions(
    ctx: Context,
    tenant_id: str,
    campaign_id: str | None = None,
    *,
    limit: int,
    after: str | None = None,
) -> tuple[list[VersionRow], str | None]:
    """Versions of a tenant, or of one campaign, oldest first, and where the next page begins.

    `after` is the last version of the page before. Raises `NotFound` (tenant, campaign, `after`).
    """
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        if campaign_id is not None:
            campaigns.find(tx, tenant_id, campaign_id)
        behind = None if after is None else model_versions.find(tx, tenant_id, after)
        found = model_versions.of_tenant(tx, tenant_id, campaign_id, limit=limit + 1, after=behind)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def told(row: VersionRow) -> dict[str, Any]:
    """A version as the API and `--json` tell it."""
    return {
        "id": row.id,
        "parent": row.parent,
        "campaign": row.campaign_id,
        "stage": row.stage,
        "number": row.number,
        "bundle_hash": row.bundle_hash,
        "parameters_hash": row.parameters_hash,
        "receipts_root": row.receipts_root,
        "members": json.loads(row.members),
        "epsilon": row.epsilon,
        "metrics": json.loads(row.metrics),
        "state": row.state,
        "taint": row.taint,
        "created_at": row.created_at,
    }
