"""OpenLineage events of decisions: one run for each batch of a partner's decisions for a purpose.

A batch is what a stretch of the log holds of one partner for one purpose and algorithm. It is a run
of the job that is named by partner and purpose, with a START and a COMPLETE event; the attributes
are its inputs. A custom facet (`/schemas/openlineage-decisions-facet/1.json`) names each decision:
its consent, its entry, whether it permitted, its index in the log. The same batch always has the
same run id, so that a receiver that gets it twice knows it.

Written as JSON after the specification 2-0-2; `openlineage-python` reads it back in the tests.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from broker.domain.lineage import Act

SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACET: Final = "consentBroker_decisions"
FACET_PATH: Final = "/schemas/openlineage-decisions-facet/1.json"


@dataclass(frozen=True)
class Batch:
    """Decisions of one partner for one purpose and algorithm, in the order of the log; not none."""

    partner: str
    purpose: str
    acts: tuple[Act, ...]


def batches(acts: Iterable[Act]) -> list[Batch]:
    """The decisions of a stretch of the log by partner and purpose."""
    found: dict[tuple[str, str], list[Act]] = {}
    for act in acts:
        body = act.entry.body
        found.setdefault((str(body["partner"]), str(body["purpose"])), []).append(act)
    return [Batch(partner, purpose, tuple(some)) for (partner, purpose), some in found.items()]


def events(batch: Batch, address: str) -> Iterator[dict[str, Any]]:
    """The two events of a batch; `address`, the tenant's, is their producer and namespace."""
    name = f"{address}\n{batch.partner}\n{batch.purpose}\n{batch.acts[0].entry.id}"
    # Names alone go in, none of them secret: an identifier and no proof of anything.
    run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    attributes = sorted({str(act.entry.body["attribute"]) for act in batch.acts})
    times = [act.entry.time for act in batch.acts]
    purpose, _, algorithm = batch.purpose.partition("#algo:")
    facet = {
        "_producer": address,
        "_schemaURL": f"{address}{FACET_PATH}",
        "partner": batch.partner,
        "purpose": purpose,
        "algorithm": algorithm,
        "decisions": [_decision(act) for act in batch.acts],
    }
    for kind, time in (("START", min(times)), ("COMPLETE", max(times))):
        yield {
            "eventType": kind,
            "eventTime": datetime.fromtimestamp(time, UTC).isoformat(),
            "producer": address,
            "schemaURL": SCHEMA,
            "run": {"runId": run_id, "facets": {FACET: facet} if kind == "COMPLETE" else {}},
            "job": {
                "namespace": address,
                "name": f"{batch.partner}/{batch.purpose}",
                "facets": {},
            },
            "inputs": [
                {"namespace": address, "name": f"attributes/{one}", "facets": {}, "inputFacets": {}}
                for one in attributes
            ],
            "outputs": [],
        }


def _decision(act: Act) -> dict[str, Any]:
    entry = act.entry
    # Without one the member is left out: receivers drop null.
    consent = {} if entry.consent_id is None else {"consent": entry.consent_id}
    return {
        "id": entry.id,
        **consent,
        "permit": entry.body.get("decision") is True,
        "action": entry.body["action"],
        "attribute": entry.body["attribute"],
        "logIndex": act.index,
    }
