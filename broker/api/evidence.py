"""The evidence of a consent, as one zip."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from broker.api.deps import AnyCaller, Ctx
from broker.usecases import evidence

router = APIRouter(tags=["evidence"])

Time = Annotated[int | None, Query(ge=0, le=2**53, description="Unix seconds.")]


@router.get(
    "/v1/consents/{consent_id}/evidence",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
)
def get_evidence(
    ctx: Ctx, caller: AnyCaller, consent_id: str, since: Time = None, until: Time = None
) -> Response:
    """What was signed, the credential, every decision of the period, all with proofs, in one zip.

    Check it with `consent-broker evidence verify FILE --trust TRUST`: no server, no network.
    Officers get all of it; a partner gets that of its own consents, with the customer's signatures
    as hashes. Without `since` and `until` the period is the consent's whole life so far.
    """
    data = evidence.assemble(
        ctx,
        caller.tenant_id,
        consent_id,
        copy="officer" if caller.role == "officer" else "partner",
        partner_id=None if caller.role == "officer" else caller.client_id,
        since=since,
        until=until,
    )
    headers = {
        "Content-Disposition": f'attachment; filename="evidence-{consent_id}.zip"',
        "Cache-Control": "no-store",
    }
    return Response(data, media_type="application/zip", headers=headers)
