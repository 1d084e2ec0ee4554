"""Consent records and receipts by ISO/IEC TS 27560, as JSON-LD over the Data Privacy Vocabulary."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response

from broker.api.deps import AnyCaller, Ctx
from broker.domain.schemas import CONSENT_RECORD, RECORD_CONTEXT
from broker.usecases.record import record

router = APIRouter(tags=["consents"])

LD = "application/ld+json"
NO_STORE = {"Cache-Control": "no-store"}
PUBLIC = {"Cache-Control": "public, max-age=86400", "Access-Control-Allow-Origin": "*"}
_RECORD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "By the schema `/schemas/consent-record/1.json`.",
        "content": {LD: {"schema": {"type": "object"}}},
    }
}


@router.get("/v1/consents/{consent_id}/record", response_class=Response, responses=_RECORD)
def get_record(
    ctx: Ctx,
    caller: AnyCaller,
    consent_id: str,
    form: Annotated[
        Literal["record", "receipt"],
        Query(description="`receipt`: a copy for the customer, which does not identify them."),
    ] = "record",
) -> Response:
    """The record of a consent in any state, refusals too (ISO/IEC TS 27560, JSON-LD over DPV).

    What the customer signed is proven by the evidence; `/receipt` is the signed credential.
    """
    partner_id = caller.client_id if caller.role == "partner" else None
    found = record(
        ctx, caller.tenant_id, consent_id, partner_id=partner_id, receipt=form == "receipt"
    )
    return Response(orjson.dumps(found), media_type=LD, headers=NO_STORE)


@router.get(
    "/schemas/consent-record/1.json",
    response_class=Response,
    responses={200: {"content": {"application/schema+json": {}}}},
)
async def get_record_schema() -> Response:
    """The JSON Schema of consent records and receipts."""
    return Response(CONSENT_RECORD, media_type="application/schema+json", headers=PUBLIC)


@router.get(
    "/schemas/consent-record/1.jsonld",
    response_class=Response,
    responses={200: {"content": {LD: {}}}},
)
async def get_record_context() -> Response:
    """The JSON-LD context of consent records: what each member means."""
    return Response(RECORD_CONTEXT, media_type=LD, headers=PUBLIC)
