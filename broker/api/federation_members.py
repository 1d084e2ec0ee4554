"""Members of federated training: joining by the membership of a node, and its revocation."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from broker.api.campaigns import MemberOut
from broker.api.deps import Ctx, OfficerCaller, PartnerCaller
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.usecases import federation_member, joining
from broker.usecases.campaign import told_member

router = APIRouter(tags=["federation"])

NO_STORE = {"Cache-Control": "no-store"}
JSON = "application/json"
MemberId = Annotated[str, Path(max_length=128, description="The partner's client id.")]


class JoinIn(BaseModel):
    """By which key the member's receipts will verify."""

    model_config = ConfigDict(extra="forbid")
    receipt_key: dict[str, Any] = Field(
        max_length=16, description="The public JWK for its receipts: ES256 or Ed25519."
    )


class JoinOut(BaseModel):
    """A request that the member's node presents its membership."""

    id: str
    state: Literal["open"]
    wallet_link: str = Field(description="`openid4vp://...`: the node answers it (OpenID4VP 1.0).")
    expires_at: int = Field(description="Unix seconds.")


class RevokedOut(BaseModel):
    """What was ended."""

    member: MemberOut | None = Field(description="Null where it had not joined yet.")
    memberships: list[str] = Field(description="The credentials whose status says so, by `jti`.")
    offers: list[str] = Field(description="The offers that nobody can take any more.")


@router.post("/v1/federation/join-requests", status_code=201, response_model=JoinOut)
def post_join_request(
    ctx: Ctx, caller: PartnerCaller, body: JoinIn, key: IdempotencyKey = None
) -> Response:
    """Begin to join: the node then presents its membership credential, and is admitted.

    The credential is bound to the node's key, whose signature covers the receipt key given here.
    One's earlier requests that are still open are closed: a call that is repeated without an
    Idempotency-Key begins anew. Partners only; open for ten minutes.
    """

    def work() -> Answer:
        opened = joining.open_join(
            ctx, caller.tenant_id, caller.client_id, orjson.dumps(body.receipt_key)
        )
        out = JoinOut(
            id=opened.row.id,
            state="open",
            wallet_link=opened.asked.wallet_link,
            expires_at=opened.row.expires_at,
        )
        return Answer(201, out.model_dump_json().encode())

    fingerprint = b"POST /v1/federation/join-requests\n" + canonical(body.receipt_key)
    answer = run(ctx, caller, fingerprint, key, work, required=False)
    return Response(answer.body, answer.status, NO_STORE, JSON)


@router.post("/v1/federation/members/{member}/revocation", response_model=RevokedOut)
def post_member_revocation(
    ctx: Ctx, caller: OfficerCaller, member: MemberId, key: IdempotencyKey = None
) -> Response:
    """End a membership at once, in mid-round too. Officers only.

    Its credentials are revoked in the status list, and what it was offered is over. 404 for a
    partner that is no member and has neither credential nor offer, 409 for one that was revoked
    before and has got neither since.
    """

    def work() -> Answer:
        ended = federation_member.revoke_member(ctx, caller.tenant_id, member)
        row = ended.member
        out = RevokedOut(
            member=None if row is None else MemberOut(**told_member(row, ctx.now())),
            memberships=list(ended.memberships),
            offers=list(ended.offers),
        )
        return Answer(200, out.model_dump_json().encode())

    fingerprint = f"POST /v1/federation/members/{member}/revocation".encode()
    answer = run(ctx, caller, fingerprint, key, work, required=False)
    return Response(answer.body, answer.status, NO_STORE, JSON)
