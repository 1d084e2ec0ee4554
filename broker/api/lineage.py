"""Lineage, for compliance officers: from a use to what was signed, from a consent to its uses."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.domain.schemas import DECISIONS_FACET
from broker.usecases import lineage
from broker.usecases.lineage import MOST_USES, Lineage

router = APIRouter(tags=["lineage"])

PUBLIC = {"Cache-Control": "public, max-age=86400", "Access-Control-Allow-Origin": "*"}


class NodeOut(BaseModel):
    """One thing of the graph."""

    id: str = Field(description="An entry of the log, a consent, a notice, a proof, an algorithm.")
    kind: str = Field(
        description="`request`, `notice`, `signature`, `consent`, `use`, `denial`, `proof`, "
        "`algorithm`, `action` (of an agent), `end` (withdrawn, expired, superseded, refused) or "
        "`act`."
    )
    time: int | None = Field(description="Unix seconds; of acts.")
    log_index: int | None = Field(description="The act's place in the log; null while it waits.")
    facts: dict[str, Any]


class EdgeOut(BaseModel):
    """That one thing rests on another."""

    model_config = ConfigDict(populate_by_name=True)
    source: str = Field(alias="from")
    target: str = Field(alias="to", description="What rests on it.")
    kind: str


class LineageOut(BaseModel):
    """A graph; `next` goes into `after` where there may be more uses."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "consent": "c-b3d5f7h2j4l6n3p5r7t2",
                    "nodes": [
                        {
                            "id": "c-b3d5f7h2j4l6n3p5r7t2",
                            "kind": "consent",
                            "time": None,
                            "log_index": None,
                            "facts": {"state": "granted"},
                        },
                        {
                            "id": "e-7m3xk2p5qz4vt6nw8y2b",
                            "kind": "use",
                            "time": 1795478400,
                            "log_index": 42,
                            "facts": {"type": "decision", "attribute": "home_city"},
                        },
                    ],
                    "edges": [
                        {
                            "from": "c-b3d5f7h2j4l6n3p5r7t2",
                            "to": "e-7m3xk2p5qz4vt6nw8y2b",
                            "kind": "permits",
                        }
                    ],
                    "next": None,
                }
            ]
        }
    )
    consent: str
    nodes: list[NodeOut]
    edges: list[EdgeOut]
    next: int | None


@router.get("/v1/consents/{consent_id}/lineage")
def get_consent_lineage(
    ctx: Ctx,
    officer: OfficerCaller,
    consent_id: str,
    limit: Annotated[int, Query(ge=1, le=MOST_USES)] = 100,
    after: Annotated[int, Query(ge=-1, le=2**62, description="`next` of the page before.")] = -1,
) -> LineageOut:
    """What led to a consent, and every use of it, page by page. Officers only."""
    return lineage_out(
        lineage.of_consent(ctx, officer.tenant_id, consent_id, limit=limit, after=after)
    )


@router.get("/v1/uses/{entry_id}/lineage")
def get_use_lineage(ctx: Ctx, officer: OfficerCaller, entry_id: str) -> LineageOut:
    """One use (a decision by its entry, `context.id`) back to what was signed. Officers only."""
    return lineage_out(lineage.of_use(ctx, officer.tenant_id, entry_id))


@router.get(
    "/schemas/openlineage-decisions-facet/1.json",
    response_class=Response,
    responses={200: {"content": {"application/schema+json": {}}}},
)
async def get_facet_schema() -> Response:
    """The JSON Schema of the facet that OpenLineage events of decisions carry."""
    return Response(DECISIONS_FACET, media_type="application/schema+json", headers=PUBLIC)


def lineage_out(found: Lineage) -> LineageOut:
    """The wire form of a lineage."""
    return LineageOut.model_validate(
        {"consent": found.consent_id, "next": found.behind, **found.graph.to_json()}
    )
