"""Evidence of training for one customer, for compliance officers."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from broker.api.deps import Ctx, OfficerCaller
from broker.api.subjects import NO_STORE, SubjectIn
from broker.usecases.training_evidence import training_evidence

router = APIRouter(tags=["federation"])


@router.post(
    "/v1/federation/evidence",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def post_training_evidence(
    ctx: Ctx,
    caller: OfficerCaller,
    body: SubjectIn,
    campaign: Annotated[
        str | None, Query(max_length=64, description="Look through this one alone, by its id.")
    ] = None,
) -> Response:
    """In which rounds a customer's consents were used, with proofs. Officers only; it is logged.

    `consent-broker federation verify` checks the answer offline.
    """
    found = training_evidence(
        ctx, caller.tenant_id, body.named(), campaign_id=campaign, by=caller.client_id
    )
    return Response(orjson.dumps(found), media_type="application/json", headers=NO_STORE)
