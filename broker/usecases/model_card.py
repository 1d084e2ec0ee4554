"""What a model card says: what a model is, what it was trained on, what is left of whom in it."""

from typing import Any

from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.store import campaigns, model_versions, training_rounds, unlearning
from broker.store.model_versions import VersionRow
from broker.usecases import audit
from broker.usecases.campaign import signed_of
from broker.usecases.context import Context
from broker.usecases.model_lineage import line_of
from broker.usecases.model_version import told
from broker.usecases.unlearning import SECONDS, search

OPERATOR = "operator"


def export_model(
    ctx: Context, tenant_id: str, model_id: str, *, weights: bool = False, by: str = OPERATOR
) -> dict[str, Any]:
    """All that a model's card says; that it was handed out enters the log.

    What was withdrawn by now is looked for first; `looked_through` is false while some of it waits,
    such as for an open round. `campaign` is the signed document, `line` the model and its
    ancestors, itself first, each with `buckets`: by member, how many rows its receipt covers,
    rounded up. `weights`: they go along. Raises `NotFound`, and `StateConflict` for the weights of
    a model that is not to be used.
    """
    with ctx.db.reading() as tx:
        campaign_id = model_versions.find(tx, tenant_id, model_id).campaign_id
    search(ctx, tenant_id, within=SECONDS)
    with ctx.db.transaction() as tx:
        # Whatever taints a model holds its campaign.
        campaign = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        row = model_versions.find(tx, tenant_id, model_id)
        if weights and row.state in {"tainted", "retired"}:
            raise StateConflict(
                f"the model is {row.state} and not to be used: its weights are not exported, "
                "its card is"
            )
        found = {
            "model": told(row),
            "campaign_hash": campaign.hash,
            "campaign": signed_of(campaign).campaign.to_json(),
            "line": [{**told(one), "buckets": _buckets(tx, one)} for one in line_of(tx, row)],
            "looked_through": unlearning.waiting(tx, tenant_id) == 0,
            "made_at": ctx.now(),
        }
        body = {"model": row.id, "state": row.state, "weights": weights, "by": by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="model.exported", body=body)
    return found


def _buckets(tx: Connection, row: VersionRow) -> dict[str, int]:
    if row.number == 0:
        return {}
    one = training_rounds.find(tx, row.campaign_id, row.stage, row.number)
    return training_rounds.buckets(tx, one.id)
