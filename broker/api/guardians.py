"""Minors among a partner's contacts, and whose signature their consents need."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import AnyCaller, Ctx, PartnerCaller
from broker.usecases import guardian
from broker.usecases.guardian import Marked

router = APIRouter(tags=["guardians"])

LONGEST_REF = 200
Ref = Annotated[str, Field(min_length=1, max_length=LONGEST_REF)]
Band = Literal["under_13", "under_14", "under_15", "under_16"]


class GuardianIn(BaseModel):
    """The guardian of a minor, a contact of its own with a wallet of its own."""

    model_config = ConfigDict(extra="forbid")
    subject_ref: Ref = Field(description="Your reference to the guardian, whom you invite too.")
    relation: Literal["parent", "legal_guardian"]
    alone: bool = Field(
        default=False,
        description="The child has no wallet and signs nothing; the guardian signs alone.",
    )


class MinorIn(BaseModel):
    """That a contact is a minor."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "subject_ref": "crm-1",
                    "age_band": "under_14",
                    "guardian": {"subject_ref": "crm-2", "relation": "parent", "alone": False},
                    "of_age_at": 1827014400,
                }
            ]
        },
    )
    subject_ref: Ref = Field(description="Your reference to the minor.")
    age_band: Band = Field(description="The lowest that holds; never send a birth date.")
    guardian: GuardianIn
    of_age_at: int | None = Field(
        default=None,
        description="Where known: from when on (Unix seconds) the customer is asked in person.",
    )


class MinorOut(BaseModel):
    """A contact that is a minor, and its guardian's contact."""

    id: str = Field(description="The minor's contact.")
    partner: str
    age_band: Band
    guardian: str = Field(description="The guardian's contact.")
    relation: str
    alone: bool
    of_age_at: int | None


@router.put("/v1/minors")
def put_minor(ctx: Ctx, caller: PartnerCaller, body: MinorIn) -> MinorOut:
    """Say that a contact is a minor, and who the guardian is; again, to say something else.

    Where the law asks for it (PIPL 31: under 14; GDPR 8: under 13 to 16, by country), consent
    requests from now on take two signatures, the minor's and the guardian's, and decisions deny
    until there is one of the guardian.
    """
    marked = guardian.mark(
        ctx,
        caller.tenant_id,
        caller.client_id,
        body.subject_ref,
        age_band=body.age_band,
        guardian_ref=body.guardian.subject_ref,
        relation=body.guardian.relation,
        alone=body.guardian.alone,
        of_age_at=body.of_age_at,
    )
    return minor_out(marked)


@router.get("/v1/minors/{contact_id}")
def get_minor(ctx: Ctx, caller: AnyCaller, contact_id: str) -> MinorOut:
    """What was said of a minor: your own contact's, as a partner; anybody's, as an officer."""
    own = caller.client_id if caller.role == "partner" else None
    return minor_out(guardian.find(ctx, caller.tenant_id, own, contact_id))


@router.delete("/v1/minors/{contact_id}", status_code=204)
def delete_minor(ctx: Ctx, caller: PartnerCaller, contact_id: str) -> Response:
    """Say that a contact is no minor (any more): what a guardian signed for it is good no longer.

    The customer is asked again in person.
    """
    guardian.unmark(ctx, caller.tenant_id, caller.client_id, contact_id)
    return Response(status_code=204)


def minor_out(marked: Marked) -> MinorOut:
    """The wire form of a minor."""
    minor = marked.minor
    return MinorOut.model_validate(
        {
            "id": marked.contact.id,
            "partner": marked.contact.partner_id,
            "age_band": minor.age_band,
            "guardian": minor.guardian,
            "relation": minor.relation,
            "alone": minor.alone,
            "of_age_at": minor.of_age_at,
        }
    )
