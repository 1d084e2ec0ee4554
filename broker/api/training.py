"""Rounds of federated training: what a coordinator does, and the key that a member fetches."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from broker.api.campaigns import HASH, RoundOut
from broker.api.deps import CoordinatorCaller, Ctx, FederationReader, PartnerCaller
from broker.domain.training_round import receipt_hash
from broker.store.training_rounds import KeptReceipt
from broker.usecases import (
    campaign,
    model_version,
    training_opening,
    training_receipt,
    training_round,
)
from broker.usecases.training_receipt import RefusedReceipt, Sent
from credentials.jcs import b64url
from federation.remarks import Remarks

router = APIRouter(tags=["federation"])

NO_STORE = "no-store"
MOST_ROUNDS = 100_000
MOST_MODELS = 500
MOST_RECEIPTS = 1_000
_ROUND = "/v1/federation/campaigns/{campaign_id}/rounds/{stage}/{number}"
_HASH_PATTERN = r"^[A-Za-z0-9_-]{43}$"
StageName = Literal["pilot", "consortium"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,128}$", description="Its client id.")]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Remarked = Annotated[dict[Name, Code], Field(max_length=MOST_RECEIPTS)]
LEFT_OUT: dict[str, str] = Field(
    default_factory=dict, description="By member, why it is not in what came of the round."
)
NOTICES: dict[str, str] = Field(
    default_factory=dict, description="By member, what else was noticed: `far_out`."
)
Number = Annotated[int, Path(ge=1, le=MOST_ROUNDS, description="Of its stage, from 1.")]


class RoundIn(BaseModel):
    """A round to open."""

    model_config = ConfigDict(extra="forbid")
    stage: StageName
    number: int = Field(ge=1, le=MOST_ROUNDS, description="One more than the stage's last.")
    model_in: str = Field(pattern=_HASH_PATTERN, description=f"What it begins with. {HASH}")


class KeyOut(BaseModel):
    """The key of a member's own leaves in one round."""

    campaign: str = Field(description=f"The campaign's hash. {HASH}")
    stage: StageName
    number: int
    member: str
    opened_at: int
    key: str = Field(description="32 bytes, base64url: keep it until the receipt is signed.")


class ReceiptIn(BaseModel):
    """A member's receipt, as it came, and the leaves that its root covers."""

    model_config = ConfigDict(extra="forbid")
    member: Name
    receipt: str = Field(min_length=1, max_length=131_072, description="A compact JWS.")
    leaves: str = Field(description="All leaves one after the other, base64url without padding.")


class ReceiptOut(BaseModel):
    """A receipt that is kept."""

    member: str
    receipt_hash: str = Field(description=f"Over what it signs. {HASH}")
    received_at: int
    entry: str = Field(description="Its entry in the log.")


class ReceiptsIn(BaseModel):
    """Receipts of several members in one round."""

    model_config = ConfigDict(extra="forbid")
    receipts: list[ReceiptIn] = Field(
        min_length=1, max_length=MOST_RECEIPTS, description="Of each member one."
    )


class RefusedOut(BaseModel):
    """A receipt that is not kept."""

    member: str
    code: str
    detail: str


class ReceiptsOut(BaseModel):
    """What came of several: those that are kept, and those that are refused."""

    receipts: list[ReceiptOut]
    refused: list[RefusedOut]


class ClosingIn(BaseModel):
    """What a round gave."""

    model_config = ConfigDict(extra="forbid")
    model_out: str = Field(pattern=_HASH_PATTERN, description=HASH)
    metrics: dict[str, str] = Field(default_factory=dict, description="Decimals in text by name.")
    epsilon: str | None = Field(
        default=None, max_length=40, description="What is spent so far, a decimal in text."
    )
    left_out: Remarked = LEFT_OUT
    notices: Remarked = NOTICES


class FailureIn(BaseModel):
    """Why a round is given up."""

    model_config = ConfigDict(extra="forbid")
    code: Code
    left_out: Remarked = LEFT_OUT
    notices: Remarked = NOTICES


class ModelOut(BaseModel):
    """A model version."""

    id: str = Field(description=f"The model's hash. {HASH}")
    parent: str | None
    campaign: str = Field(description="The campaign's id.")
    stage: StageName
    number: int = Field(description="Of the round that gave it; 0 for a model to begin with.")
    bundle_hash: str
    parameters_hash: str
    receipts_root: str | None
    members: list[str]
    epsilon: str | None
    metrics: dict[str, str]
    state: Literal["candidate", "pilot", "active", "tainted", "retired"] = Field(
        description="`tainted`: a withdrawn row is in it, and it is not to be used."
    )
    taint: Literal["used", "descends"] | None = Field(
        description="Where a withdrawn row is in it, whatever its state: its own round `used` the "
        "row, or it `descends` from a model that did. Nothing takes it back."
    )
    created_at: int


class ModelsOut(BaseModel):
    """Model versions, oldest first; `next` goes into `after` for the page behind this one."""

    models: list[ModelOut]
    next: str | None


@router.post("/v1/federation/campaigns/{campaign_id}/rounds")
def post_round(ctx: Ctx, caller: CoordinatorCaller, campaign_id: str, body: RoundIn) -> RoundOut:
    """Open a round. Coordinators only; the same call again gives the same round.

    Status lists are signed anew from `opened_at` on, the next second: download them then.
    """
    opened = training_opening.open_round(
        ctx,
        caller.tenant_id,
        campaign_id,
        stage=body.stage,
        number=body.number,
        model_in=body.model_in,
    )
    told = campaign.told_round(ctx, opened.campaign, opened.row, opened.receipts)
    return RoundOut(**told)


@router.get(_ROUND + "/key")
async def get_round_key(
    ctx: Ctx,
    caller: PartnerCaller,
    response: Response,
    campaign_id: str,
    stage: StageName,
    number: Number,
) -> KeyOut:
    """The key of one's own leaves in a round that is open. Partners that take part in it only."""
    own = await training_round.round_key(
        ctx, caller.tenant_id, campaign_id, stage, number, caller.client_id
    )
    response.headers["Cache-Control"] = NO_STORE
    return KeyOut(
        campaign=own.campaign.hash,
        stage=stage,
        number=number,
        member=caller.client_id,
        opened_at=own.row.opened_at,
        key=b64url(own.key),
    )


@router.post(_ROUND + "/receipts")
def post_training_receipt(
    ctx: Ctx,
    caller: CoordinatorCaller,
    campaign_id: str,
    stage: StageName,
    number: Number,
    body: ReceiptIn,
) -> ReceiptOut:
    """Hand in a member's receipt: one is kept for each member and round. Coordinators only."""
    sent = Sent(body.member, body.receipt, body.leaves)
    kept = training_receipt.accept_receipt(ctx, caller.tenant_id, campaign_id, stage, number, sent)
    return _kept(kept)


@router.post(_ROUND + "/receipts/batch")
def post_training_receipts(
    ctx: Ctx,
    caller: CoordinatorCaller,
    campaign_id: str,
    stage: StageName,
    number: Number,
    body: ReceiptsIn,
) -> ReceiptsOut:
    """Hand in the receipts of several members at once. Coordinators only.

    Each is checked by itself: one that is refused takes nothing from the others. All that are
    kept are written in one transaction, which is durable before the answer.
    """
    sent = [Sent(one.member, one.receipt, one.leaves) for one in body.receipts]
    told = training_receipt.accept_receipts(ctx, caller.tenant_id, campaign_id, stage, number, sent)
    refused = [one for one in told if isinstance(one, RefusedReceipt)]
    return ReceiptsOut(
        receipts=[_kept(one) for one in told if not isinstance(one, RefusedReceipt)],
        refused=[
            RefusedOut(member=one.member, code=one.error.code, detail=str(one.error))
            for one in refused
        ],
    )


def _kept(kept: KeptReceipt) -> ReceiptOut:
    return ReceiptOut(
        member=kept.member,
        receipt_hash=receipt_hash(kept.token),
        received_at=kept.received_at,
        entry=kept.entry,
    )


@router.post(_ROUND + "/close")
def post_close(
    ctx: Ctx,
    caller: CoordinatorCaller,
    campaign_id: str,
    stage: StageName,
    number: Number,
    body: ClosingIn,
) -> ModelOut:
    """Close a round with the model that it gave. Coordinators only."""
    version = model_version.close_round(
        ctx,
        caller.tenant_id,
        campaign_id,
        stage,
        number,
        model_out=body.model_out,
        metrics=body.metrics,
        epsilon=body.epsilon,
        remarks=Remarks(body.left_out, body.notices),
    )
    return ModelOut(**model_version.told(version))


@router.post(_ROUND + "/fail")
def post_fail(
    ctx: Ctx,
    caller: CoordinatorCaller,
    campaign_id: str,
    stage: StageName,
    number: Number,
    body: FailureIn,
) -> RoundOut:
    """Give up a round that is open; its number is used up. Coordinators only."""
    remarks = Remarks(body.left_out, body.notices)
    failed = training_round.fail_round(
        ctx, caller.tenant_id, campaign_id, stage, number, body.code, remarks=remarks
    )
    return RoundOut(**campaign.told_round(ctx, failed.campaign, failed.row, failed.receipts))


@router.get("/v1/federation/models")
def get_models(
    ctx: Ctx,
    caller: FederationReader,
    of: Annotated[
        str | None, Query(alias="campaign", max_length=64, description="A campaign's id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_MODELS)] = MOST_MODELS,
    after: Annotated[str | None, Query(pattern=_HASH_PATTERN)] = None,
) -> ModelsOut:
    """Model versions of the tenant, or of one campaign. Coordinators and officers."""
    found, behind = model_version.versions(ctx, caller.tenant_id, of, limit=limit, after=after)
    told = [ModelOut(**model_version.told(one)) for one in found]
    return ModelsOut(models=told, next=behind)
