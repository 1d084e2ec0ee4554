"""Outside sources of data, for officers: the register, each with its checklist."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.domain.data_source import (
    LONGEST_REFERENCE,
    LONGEST_RETENTION,
    MOST_NAMED,
    Basis,
    Checklist,
)
from broker.usecases import data_source

router = APIRouter(tags=["registry"])

Names = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(min_length=1, max_length=MOST_NAMED),
]
_CHECKLIST: dict[str, Any] = {
    "purposes": ["dpv:ServicePersonalisation"],
    "attributes": ["purchase_count_12m"],
    "sole": False,
    "retention_days": 90,
    "recipients": ["p-4k2vq7r3w5x6y2z4a3b5"],
    "territories": ["CN"],
    "basis": "consent",
    "reference": "DS-2026-014",
}
_ENTRY: dict[str, Any] = {
    "name": "points-alliance",
    "title": "Points alliance Ltd",
    "partner": None,
    "checklist": _CHECKLIST,
}


class ChecklistBody(BaseModel):
    """What is agreed of a source; a use outside of it is denied."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_CHECKLIST]})
    purposes: Names = Field(description="What its data may be used for.")
    attributes: Names = Field(description="Which attributes of the dictionary it supplies.")
    sole: bool = Field(
        default=False,
        description="They come from it alone: a use that names no source is one of this source.",
    )
    retention_days: Annotated[int, Field(strict=True, ge=1, le=LONGEST_RETENTION)]
    recipients: Names = Field(description="Sharing scope: the partners that may get them.")
    territories: Names = Field(description="Sharing scope: where they may be used (ISO 3166-1).")
    basis: Basis = Field(description="On what lawful basis it has the data and hands them over.")
    reference: str = Field(
        min_length=1, max_length=LONGEST_REFERENCE, description="The contract, by its number."
    )

    def value(self) -> Checklist:
        """The checklist that was sent."""
        parts: dict[str, Any] = self.model_dump()
        for name, part in parts.items():
            if isinstance(part, list):
                parts[name] = tuple(dict.fromkeys(part))
        return Checklist(**parts)


class DataSourceRevision(BaseModel):
    """A source with another checklist."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{k: v for k, v in _ENTRY.items() if k != "name"}]},
    )
    title: str = Field(min_length=1, max_length=200, description="Who it is, for people.")
    partner: str | None = Field(
        default=None, max_length=64, description="Its client id, where it is a partner."
    )
    checklist: ChecklistBody


class DataSourceIn(DataSourceRevision):
    """A source to register."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_ENTRY]})
    name: str = Field(min_length=1, max_length=40, description="By which decisions name it.")


class DataSourceOut(BaseModel):
    """An entry; times are Unix seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "ds-4k2vq7r3w5x6y2z4a3b5",
                    **_ENTRY,
                    "state": "draft",
                    "signed_by": "o-4k2vq7r3w5x6y2z4a3b5",
                    "created_at": 1795478400,
                    "version": 1,
                }
            ]
        }
    )
    id: str
    name: str
    title: str
    partner: str | None
    state: str = Field(description="`draft`, `sandbox`, `open` or `closed`.")
    checklist: ChecklistBody
    signed_by: str = Field(description="The officer who signed the checklist.")
    created_at: int
    version: int


class DataSourcesOut(BaseModel):
    """The register, by name."""

    data_sources: list[DataSourceOut]


class CloseOut(BaseModel):
    """Whether it was closed by this call."""

    closed: bool = Field(description="False where it was closed before.")


@router.get("/v1/data-sources")
def get_data_sources(ctx: Ctx, caller: OfficerCaller) -> DataSourcesOut:
    """The outside sources of the tenant, whatever their state. Officers only."""
    found = data_source.listed(ctx, caller.tenant_id)
    return DataSourcesOut(data_sources=[DataSourceOut(**one.to_json()) for one in found])


@router.post("/v1/data-sources", status_code=201, response_model=DataSourceOut)
def post_data_source(
    ctx: Ctx, caller: OfficerCaller, body: DataSourceIn, key: IdempotencyKey = None
) -> Response:
    """Register an outside source with its checklist, which you sign by this. Officers only.

    It is a draft, and every use of it is denied, until it was tried (`POST /v1/sandbox`).
    """

    def work() -> Answer:
        made = data_source.register(
            ctx,
            caller.tenant_id,
            body.name,
            body.checklist.value(),
            title=body.title,
            partner=body.partner,
            by=caller.client_id,
        )
        return Answer(201, orjson.dumps(made.to_json()))

    fingerprint = b"POST /v1/data-sources\n" + canonical(body.model_dump())
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.put("/v1/data-sources/{name}")
def put_data_source(
    ctx: Ctx, caller: OfficerCaller, name: str, body: DataSourceRevision
) -> DataSourceOut:
    """Put another checklist in place: a draft again, denied until it was tried. Officers only."""
    made = data_source.revise(
        ctx,
        caller.tenant_id,
        name,
        body.checklist.value(),
        title=body.title,
        partner=body.partner,
        by=caller.client_id,
    )
    return DataSourceOut(**made.to_json())


@router.delete("/v1/data-sources/{name}")
def delete_data_source(ctx: Ctx, caller: OfficerCaller, name: str) -> CloseOut:
    """Close a source: the next decision on it is a denial; it stays listed. Officers only."""
    return CloseOut(closed=data_source.close(ctx, caller.tenant_id, name, by=caller.client_id))
