"""Wire types of invitations."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

SubjectRef = Annotated[str, StringConstraints(min_length=1, max_length=200)]
PartnerId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class InvitationIn(BaseModel):
    """Whom to invite, and how surely the wallet will be theirs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"subject_ref": "crm-000381", "grade": "code"}]},
    )
    subject_ref: SubjectRef = Field(
        description="Your own opaque contact; never a name, phone number or address."
    )
    grade: Literal["link", "code", "verified_person"] = Field(
        default="code",
        description=(
            "`link`: whoever has the offer. `code`: who also has the code that you send them. "
            "`verified_person`: a person whom an officer has recognised, or still has to."
        ),
    )
    rebind: bool = Field(
        default=False,
        description="Officers only: replace the wallet that the contact is bound to.",
    )
    partner: PartnerId | None = Field(
        default=None, description="Officers only: the partner whose contact it is."
    )


class InvitationOut(BaseModel):
    """An invitation, shown once: whoever has it can redeem it within ten minutes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "iv-a2c4e6g2i4k6m2o4q6s2",
                    "grade": "code",
                    "offer_uri": "openid-credential-offer://?credential_offer_uri=https...",
                    "offer_by_value": "openid-credential-offer://?credential_offer=%7B...",
                    "tx_code": "493817",
                    "expires_at": 1795478400,
                }
            ]
        }
    )
    id: str
    grade: str
    offer_uri: str = Field(description="Starts a wallet; short enough for a QR code.")
    offer_by_value: str = Field(description="Starts a wallet; holds the whole offer.")
    tx_code: str | None = Field(description="Send it to the customer by another way.")
    expires_at: int = Field(description="Unix seconds.")
    approval: str = Field(
        default="none", description="`waiting` while an officer has to approve; else `none`."
    )


class ApprovalIn(BaseModel):
    """An officer's word on an invitation that waits for it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"approve": True}]})
    approve: bool


class ApprovalOut(BaseModel):
    """The approval of an invitation: `given` or `refused`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "iv-a2c4e6g2i4k6m2o4q6s2", "approval": "given"}]}
    )
    id: str
    approval: str
