"""What a model card says: what a model is, what it was trained on, what is left of whom in it."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.campaign import read_board
from broker.domain.errors import StateConflict
from broker.domain.model_card import CARD, vouch
from broker.domain.model_facts import FACTS, SCHEMA, facts_file
from broker.domain.word import file_hash
from broker.store import campaigns, model_versions, training_rounds, unlearning
from broker.store.campaigns import CampaignRow
from broker.store.model_versions import VersionRow
from broker.usecases import audit
from broker.usecases.campaign import signed_of
from broker.usecases.context import Context
from broker.usecases.model_lineage import line_of
from broker.usecases.model_version import told
from broker.usecases.unlearning import SECONDS, search
from broker.usecases.unlearning_task import residuals_of
from federation.board import approvals

OPERATOR = "operator"


def export_model(
    ctx: Context, tenant_id: str, model_id: str, *, weights: bool = False, by: str = OPERATOR
) -> dict[str, Any]:
    """All that a model's card says; that it was handed out enters the log.

    What was withdrawn by now is looked for first; `looked_through` is false while some of it waits,
    such as for an open round. It is what `domain.model_card` writes. `weights`: they go along.
    Raises `NotFound`, and `StateConflict` for the weights of a model that is not to be used.
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
        line = line_of(tx, row)
        made_by = {
            one: campaigns.find(tx, tenant_id, one) for one in {one.campaign_id for one in line}
        }
        found = {
            "schema": SCHEMA,
            "iss": tenant_url(ctx.settings.public_url, tenant_id),
            "made_at": ctx.now(),
            "model": told(row),
            "campaign": {
                "id": campaign.id,
                "hash": campaign.hash,
                "document": json.loads(campaign.document),
                "board": json.loads(campaign.board),
            },
            "line": [_in_line(tx, one, made_by[one.campaign_id]) for one in line],
            "looked_through": unlearning.waiting(tx, tenant_id) == 0,
        }
        body = {
            "model": row.id,
            "state": row.state,
            "weights": weights,
            "sha256": file_hash(facts_file(found)),
            "by": by,
        }
        audit.record(ctx, tx, tenant_id=tenant_id, type="model.exported", body=body)
    return found


def word_of(ctx: Context, tenant_id: str, facts: Mapping[str, Any], card: bytes) -> str:
    """The broker's word on a model with these facts and this card, a compact JWS."""
    key = ctx.keys.issuer(tenant_id)
    files = {FACTS: facts_file(facts), CARD: card}
    return vouch(facts, files, signer=key.signer, x5c=key.x5c)


def _in_line(tx: Connection, row: VersionRow, campaign: CampaignRow) -> dict[str, Any]:
    residuals = residuals_of(tx, row)
    return {
        **told(row),
        "buckets": _buckets(tx, row),
        "approvals": _approvals(row, campaign),
        **({"residuals": residuals} if residuals else {}),
    }


def _approvals(row: VersionRow, campaign: CampaignRow) -> list[str]:
    """The approvals that hold: older brokers kept others too, and a pilot's with its campaign."""
    given = json.loads(row.approvals or "[]")
    if row.approvals is None and campaign.passed is not None:
        passed = json.loads(campaign.passed)
        given = passed["approvals"] if passed["model"] == row.id else []
    if not given:
        return []
    board = read_board(campaign.board.encode())
    return list(approvals(signed_of(campaign), row.stage, row.id, given, board).values())


def _buckets(tx: Connection, row: VersionRow) -> dict[str, int]:
    if row.number == 0:
        return {}
    one = training_rounds.find(tx, row.campaign_id, row.stage, row.number)
    return training_rounds.buckets(tx, one.id)
