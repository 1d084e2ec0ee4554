"""Model versions as the library's lineage takes them."""

import json

from sqlalchemy import Connection

from broker.store import campaigns, model_versions
from broker.store.model_versions import VersionRow
from federation.unlearning import Lineage, ModelVersion


def lineage_of(tx: Connection, tenant_id: str) -> Lineage:
    """All versions of a tenant; raises `LineageInvalid`."""
    hashes = {one.id: one.hash for one in campaigns.of_tenant(tx, tenant_id)}
    versions = model_versions.of_tenant(tx, tenant_id)
    return Lineage(as_library(one, hashes[one.campaign_id]) for one in versions)


def line_of(tx: Connection, row: VersionRow) -> list[VersionRow]:
    """A version and its ancestors, itself first."""
    line = [row]
    while line[-1].parent is not None:
        above = model_versions.known(tx, row.tenant_id, line[-1].parent)
        if above is None:
            break
        line.append(above)
    return line


def as_library(row: VersionRow, campaign_hash: str) -> ModelVersion:
    """A version as the library's lineage takes it."""
    return ModelVersion(
        id=row.id,
        parent=row.parent,
        campaign=campaign_hash,
        stage=row.stage,
        round=row.number,
        bundle_hash=row.bundle_hash,
        parameters_hash=row.parameters_hash,
        receipts_root=row.receipts_root,
        members=tuple(json.loads(row.members)),
        epsilon=None if row.epsilon is None else float(row.epsilon),
        metrics=json.loads(row.metrics),
        state=row.state,  # type: ignore[arg-type]
    )
