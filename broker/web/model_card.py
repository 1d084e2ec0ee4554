"""A model card: what a model is and what it is not, as Markdown in both languages."""

from collections.abc import Mapping
from typing import Any

from broker.web.documents import document
from broker.web.training_report import (
    POLICIES,
    STAGES,
    STATES,
    TAINTS,
    business_lines,
    moment,
)

LINE_SHOWN = 50


def card(told: Mapping[str, Any]) -> str:
    """The card of what `usecases.model_card.export_model` tells."""
    campaign = told["campaign"]["document"]["campaign"]
    purpose, _, algorithm = campaign["purpose"].partition("#algo:")
    rows: dict[str, int] = {}
    for one in told["line"]:
        for member, bucket in one["buckets"].items():
            rows[member] = max(rows.get(member, 0), bucket)
    view = {
        "told": told,
        "model": told["model"],
        "campaign": campaign,
        "approvals": told["line"][0]["approvals"],
        "purpose": purpose,
        "algorithm": algorithm,
        "rows": sorted(rows.items()),
        "line": told["line"][:LINE_SHOWN],
        "residuals": [
            (version["id"], one)
            for version in told["line"][:LINE_SHOWN]
            for one in version.get("residuals", [])
        ],
        "more": max(0, len(told["line"]) - LINE_SHOWN),
        "business_line": business_lines(campaign).get(told["model"]["stage"]),
        "states": STATES,
        "stages": STAGES,
        "taints": TAINTS,
        "policies": POLICIES,
        "moment": moment,
    }
    return document("model_card.md", view) + "\n"
