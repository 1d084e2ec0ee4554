"""All of a campaign in one piece: members, rounds, receipts, models, what is to be unlearnt."""

from typing import Any

from sqlalchemy import Connection

from broker.store import campaigns, model_versions, registry, training_rounds
from broker.store.campaigns import CampaignRow
from broker.usecases import model_version
from broker.usecases.campaign import progress_in, told, told_round
from broker.usecases.context import Context
from broker.usecases.unlearning_task import tasks_in
from broker.usecases.unlearning_task import told as told_task

TASKS_TOLD = 500


def reports(
    ctx: Context, tenant_id: str, campaign_id: str | None = None, *, state: str | None = None
) -> list[dict[str, Any]]:
    """Each campaign of a tenant, or one, as the API tells it, with `rounds`, `models`, `tasks`.

    Of tasks the first 500. Raises `NotFound` (tenant, campaign).
    """
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        rows = (
            campaigns.of_tenant(tx, tenant_id, state)
            if campaign_id is None
            else [campaigns.find(tx, tenant_id, campaign_id)]
        )
        return [_report(ctx, tx, row) for row in rows]


def _report(ctx: Context, tx: Connection, row: CampaignRow) -> dict[str, Any]:
    receipts = training_rounds.who_told(tx, row.id)
    return {
        **told(ctx, progress_in(tx, row)),
        "rounds": [
            told_round(ctx, row, one, receipts.get(one.id, []))
            for one in training_rounds.of_campaign(tx, row.id)
        ],
        "models": [
            model_version.told(one) for one in model_versions.of_tenant(tx, row.tenant_id, row.id)
        ],
        "tasks": [told_task(one) for one in tasks_in(tx, row.tenant_id, row.id, limit=TASKS_TOLD)],
    }
