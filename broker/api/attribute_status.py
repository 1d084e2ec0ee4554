"""Revocation of credentials of attributes, and status tokens for wallets, in whole shards."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from broker.api.deps import AnyCaller, Ctx, TenantId
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.usecases import attribute_status

router = APIRouter(tags=["attributes"])

SECONDS = 300


class StatusKeyOut(BaseModel):
    """A key by which tokens are signed."""

    id: str = Field(description="As addresses of shards have it.")
    key: str = Field(description="The BBS key, 96 bytes, base64url.")
    bits: int = Field(description="How many bits of a credential's tag name its shard.")


class StatusIndexOut(BaseModel):
    """Which shards of status tokens there are."""

    epoch: int
    ends_at: int = Field(description="Unix seconds.")
    keys: list[StatusKeyOut]


class RevokedOut(BaseModel):
    """A credential that was revoked."""

    id: str = Field(description="Of the offer that it was issued for.")
    revoked_at: int = Field(description="Unix seconds.")


@router.get("/attribute-status")
def get_status_index(ctx: Ctx, tenant_id: TenantId, response: Response) -> StatusIndexOut:
    """The epoch and the shards of status tokens, for proofs that nothing was revoked."""
    found = attribute_status.status_index(ctx, tenant_id)
    response.headers["Cache-Control"] = f"public, max-age={SECONDS}"
    return StatusIndexOut(
        epoch=found.epoch,
        ends_at=found.ends_at,
        keys=[StatusKeyOut(id=one.id, key=one.key, bits=one.bits) for one in found.keys],
    )


@router.get(
    "/attribute-status/{epoch}/{key_id}/{bits}/{shard}",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
)
def get_status_shard(
    ctx: Ctx, tenant_id: TenantId, epoch: int, key_id: str, bits: int, shard: int
) -> Response:
    """All tokens of a shard, the same bytes for everybody: fetch it on a schedule, not to present.

    Fetching one's own token just before presenting would tell the issuer who presents.
    """
    body = attribute_status.status_shard(ctx, tenant_id, epoch, key_id, bits, shard)
    headers = {"Cache-Control": f"public, max-age={SECONDS}", "Access-Control-Allow-Origin": "*"}
    return Response(body, media_type="application/json", headers=headers)


@router.post("/v1/attribute-offers/{offer_id}/revocation", response_model=RevokedOut)
def revoke_attributes(
    ctx: Ctx, caller: AnyCaller, offer_id: str, key: IdempotencyKey = None
) -> Response:
    """Revoke the credential that was issued for an offer: yours, or any for officers.

    It has no status token from now on; one that its wallet has holds until the epoch is over.
    """

    def work() -> Answer:
        at = attribute_status.revoke_attributes(
            ctx, caller.tenant_id, caller.client_id, caller.role, offer_id
        )
        return Answer(200, RevokedOut(id=offer_id, revoked_at=at).model_dump_json().encode())

    fingerprint = f"POST /v1/attribute-offers/{offer_id}/revocation".encode()
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")
