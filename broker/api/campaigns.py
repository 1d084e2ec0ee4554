"""Campaigns of federated training, for coordinators and officers."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import CoordinatorCaller, Ctx, FederationReader
from broker.usecases import campaign

router = APIRouter(tags=["federation"])

HASH = "SHA-256, base64url."
MOST_CAMPAIGNS = 100


class MemberOut(BaseModel):
    """A member of a campaign that is registered."""

    member: str = Field(description="The partner's client id.")
    node_public_key: str = Field(description="Of its node: SPKI PEM, on P-256 or P-384.")
    receipt_key: dict[str, Any] = Field(description="The JWK that its receipts verify under.")
    state: Literal["invited", "admitted", "expired", "revoked"]
    since: int
    valid_until: int | None = Field(
        description="When the credential ends that it was admitted by; `expired` from then on."
    )


class RoundOut(BaseModel):
    """A round."""

    campaign: str = Field(description=f"The campaign's hash. {HASH}")
    stage: Literal["pilot", "consortium"]
    number: int
    state: Literal["open", "closed", "failed"]
    model_in: str = Field(description=HASH)
    model_out: str | None = Field(description=HASH)
    opened_at: int = Field(description="Unix seconds; lists are signed anew from then on.")
    taking_part: list[str] = Field(description="Members, by client id.")
    lists: list[str] = Field(description="Addresses of the status lists of their consents.")
    receipts: list[str] = Field(description="Members whose receipt is there.")
    code: str | None = Field(description="Why it failed.")
    left_out: dict[str, str] = Field(
        description="By member, why it is not in what came of the round, as the coordinator says."
    )
    notices: dict[str, str] = Field(
        description="By member, what the coordinator noticed of it: `far_out`, `wrong_shares`."
    )


class AcceptedOut(BaseModel):
    """The last round that gave a model."""

    stage: Literal["pilot", "consortium"]
    number: int
    model_out: str


class ProgressOut(BaseModel):
    """The rounds of the campaign's stage."""

    rounds: int = Field(description="So many are to give a model.")
    closed: int = Field(description="So many have.")
    failed: int = Field(description="So many never will: their numbers are used up.")
    spare_rounds: int = Field(description="So many more may be opened for ones that failed.")
    spare_used: int = Field(description="So many of these are used up.")


class PassedOut(BaseModel):
    """What the stage before ended with, as `pass_stage` of the library takes it."""

    stage: Literal["pilot"]
    model: str
    metrics: dict[str, str]
    approvals: list[str]


class CampaignOut(BaseModel):
    """A campaign and how far it is."""

    id: str
    hash: str = Field(description=HASH)
    state: Literal["draft", "running", "paused", "finished", "stopped"]
    reason: str | None = Field(
        description="Why it is in this state, where nobody chose that: `privacy_budget_spent`, "
        "`no_round_accepted`, `rounds_used_up` (fewer gave a model than were asked for, and no "
        "number is left), or what a later version adds."
    )
    stage: Literal["pilot", "consortium"]
    document: dict[str, Any] = Field(description="The campaign as its board signed it.")
    board: dict[str, Any] = Field(description="The board: `keys` (JWKs) and `threshold`.")
    members: list[MemberOut]
    passed: PassedOut | None
    progress: ProgressOut
    last_round: RoundOut | None
    last_accepted: AcceptedOut | None


class CampaignsOut(BaseModel):
    """Campaigns, oldest first; `next` goes into `after` for the page behind this one."""

    campaigns: list[CampaignOut]
    next: str | None


class PauseIn(BaseModel):
    """Why a coordinator pauses a campaign."""

    model_config = ConfigDict(extra="forbid")
    reason: Literal["no_round_accepted"]


State = Annotated[
    Literal["draft", "running", "paused", "finished", "stopped"] | None,
    Query(description="Those in this state alone."),
]


@router.get("/v1/federation/campaigns")
def get_campaigns(
    ctx: Ctx,
    caller: FederationReader,
    state: State = None,
    limit: Annotated[int, Query(ge=1, le=MOST_CAMPAIGNS)] = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> CampaignsOut:
    """Campaigns of the tenant. Coordinators and officers."""
    found, behind = campaign.every_progress(
        ctx, caller.tenant_id, limit=limit, state=state, after=after
    )
    told = [CampaignOut(**campaign.told(ctx, one)) for one in found]
    return CampaignsOut(campaigns=told, next=behind)


@router.get("/v1/federation/campaigns/{campaign_id}")
def get_campaign(ctx: Ctx, caller: FederationReader, campaign_id: str) -> CampaignOut:
    """One campaign. Coordinators and officers."""
    found = campaign.progress(ctx, caller.tenant_id, campaign_id)
    return CampaignOut(**campaign.told(ctx, found))


@router.post("/v1/federation/campaigns/{campaign_id}/pause")
def post_pause(ctx: Ctx, caller: CoordinatorCaller, campaign_id: str, body: PauseIn) -> CampaignOut:
    """Pause a running campaign whose runs get nowhere. Coordinators only.

    It goes on when an operator starts it again; one that is paused stays as it is.
    """
    found = campaign.pause_for(ctx, caller.tenant_id, campaign_id, body.reason)
    return CampaignOut(**campaign.told(ctx, found))
